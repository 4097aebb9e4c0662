//! How much memory a model will take, how much there is, and the refusal when the one exceeds the other.
//!
//! Linux gives memory out before it has it and ends a process by its own choice when the pages are touched, so asking first is
//! the only way to an error that says something. Elsewhere an allocation that cannot be kept is refused by the system, and
//! becomes `EngineError::OutOfMemory` where it is made: there `available` is `None` and nothing is refused beforehand.
use crate::EngineError;
use std::path::Path;

/// Bytes that a loaded model and one session of `context` tokens will take. Kept snapshots come on top, up to the budget that
/// the session has for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Packed matrices, norms and other vectors.
    pub weights: u64,
    /// Recurrent states and convolution windows: the same for any number of tokens.
    pub state: u64,
    /// Keys and values of `context` tokens.
    pub kv: u64,
    /// Buffers of a pass, positions, logits, threads.
    pub scratch: u64,
    pub tokenizer: u64,
}

impl MemoryEstimate {
    pub fn total(&self) -> u64 {
        self.weights + self.state + self.kv + self.scratch + self.tokenizer
    }
}

/// `Err(NotEnoughMemory)` if `needed` bytes are more than `limit` or than the system can give.
pub(crate) fn check(needed: u64, limit: Option<u64>) -> Result<(), EngineError> {
    let available = [limit, available()].into_iter().flatten().min().unwrap_or(u64::MAX);
    if needed <= available { Ok(()) } else { Err(EngineError::NotEnoughMemory { needed, available }) }
}

/// Bytes that this process can still take without another one being ended or swapped out, as far as the system tells.
#[cfg(target_os = "linux")]
pub(crate) fn available() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let system = read("/proc/meminfo").and_then(|text| meminfo_available(&text));
    let group = read("/proc/self/cgroup").and_then(|own| group_available(Path::new("/sys/fs/cgroup"), &own));
    [system, group].into_iter().flatten().min()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn available() -> Option<u64> {
    None
}

/// `MemAvailable` of /proc/meminfo: what can be had without swapping, in bytes.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn meminfo_available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The least that any control group around this process leaves. `own` is /proc/self/cgroup; `root` the mounted tree.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn group_available(root: &Path, own: &str) -> Option<u64> {
    own.lines().filter_map(|line| line_available(root, line)).min()
}

/// One line `id:controllers:path`. Without controllers it is version 2; a container may show a path from outside of it, and
/// its own group is then at the root.
fn line_available(root: &Path, line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let (root, names) = match controllers {
        "" => (root.to_owned(), ["memory.max", "memory.current", "inactive_file"]),
        _ if controllers.split(',').any(|c| c == "memory") => {
            (root.join("memory"), ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"])
        }
        _ => return None,
    };
    let inside = Path::new(path.trim_start_matches('/'));
    inside.ancestors().filter_map(|group| left_in(&root.join(group), names)).min()
}

/// Limit - usage + pages of files that the system drops first. No limit ("max"): `None`.
fn left_in(group: &Path, [limit, usage, inactive]: [&str; 3]) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(group.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let (limit, usage) = (number(limit)?, number(usage)?);
    let stat = read("memory.stat").unwrap_or_default();
    let field = |line: &str| line.split_once(' ').filter(|(key, _)| *key == inactive)?.1.trim().parse().ok();
    let droppable: u64 = stat.lines().find_map(field).unwrap_or(0);
    Some(limit.saturating_sub(usage.saturating_sub(droppable)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(group: &Path, files: &[(&str, &str)]) {
        std::fs::create_dir_all(group).unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(group.join(name), text).unwrap());
    }

    #[test]
    fn meminfo_is_read_in_bytes() {
        let text = "MemTotal:  16 kB\nMemFree: 1 kB\nMemAvailable:   22001756 kB\n";
        assert_eq!(meminfo_available(text), Some(22_001_756 * 1024));
        assert_eq!(meminfo_available("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn the_tightest_group_above_a_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let current = |bytes: &'static str| ("memory.current", bytes);
        write(&root.path().join("a/b"), &[("memory.max", "max\n"), current("100\n")]);
        let stat = ("memory.stat", "anon 5\ninactive_file 300\nactive_file 7\n");
        write(&root.path().join("a"), &[("memory.max", "5000\n"), current("4000\n"), stat]);
        assert_eq!(group_available(root.path(), "0::/a/b\n"), Some(1300));
        assert_eq!(group_available(root.path(), "0::/\n"), None);
        write(root.path(), &[("memory.max", "1200\n"), current("1100\n")]);
        assert_eq!(group_available(root.path(), "0::/a/b\n"), Some(100));
        // A path that only the host knows.
        assert_eq!(group_available(root.path(), "0::/elsewhere\n"), Some(100));
    }

    #[test]
    fn version_1_has_names_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let files = [
            ("memory.limit_in_bytes", "1000"),
            ("memory.usage_in_bytes", "900"),
            ("memory.stat", "inactive_file 1\ntotal_inactive_file 50\n"),
        ];
        write(&root.path().join("memory/job"), &files);
        assert_eq!(group_available(root.path(), "9:pids:/job\n4:cpu,memory:/job\n0::/\n"), Some(150));
    }

    #[test]
    fn more_than_there_is_is_refused_with_both_numbers() {
        assert!(check(10, Some(10)).is_ok());
        let refused = check(11, Some(10));
        assert!(matches!(refused, Err(EngineError::NotEnoughMemory { needed: 11, available: 10 })));
        assert!(check(u64::MAX, None).is_err() == available().is_some());
    }
}
