//! What the system says about this process and machine (Linux; elsewhere it says nothing).
use std::path::Path;

/// The kernel's high-water mark of resident memory.
pub fn peak_rss() -> Option<u64> {
    kib("/proc/self/status", "VmHWM:")
}

/// Memory that could be had without swapping.
pub fn available() -> Option<u64> {
    kib("/proc/meminfo", "MemAvailable:")
}

fn kib(file: &str, label: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(label))?;
    value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Processor time of all living threads of this process, in seconds.
pub fn cpu_seconds() -> Option<f64> {
    let threads = std::fs::read_dir("/proc/self/task").ok()?.flatten();
    let nanoseconds: u64 = threads.filter_map(|thread| run_time(&thread.path())).sum();
    (nanoseconds > 0).then_some(nanoseconds as f64 / 1e9)
}

/// The first number of `schedstat`: nanoseconds on a processor.
fn run_time(thread: &Path) -> Option<u64> {
    std::fs::read_to_string(thread.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
}

/// Runnable processes of the last minute, on average.
pub fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

pub fn cpu_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = text.lines().find(|line| line.starts_with("model name"))?;
    Some(name.split_once(':')?.1.trim().to_owned())
}
