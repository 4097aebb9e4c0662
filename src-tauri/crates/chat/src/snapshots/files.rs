//! The files of the store: their names, whole writing, erasing, the budget, the remembered hash of the model.
use std::fs::File;
use std::io::{ErrorKind, Result, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use uuid::Uuid;

const EXTENSION: &str = "state";
const UNFINISHED: &str = "tmp";
/// Stamp of the model file and its SHA-256, a line each.
const MODEL: &str = "model";

pub(super) struct Files {
    dir: PathBuf,
    budget: u64,
}

struct Entry {
    path: PathBuf,
    bytes: u64,
    written: SystemTime,
}

impl Files {
    pub fn new(dir: PathBuf, budget: u64) -> Self {
        Self { dir, budget }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn budget(&self) -> u64 {
        self.budget
    }

    pub fn path(&self, conversation: Uuid) -> PathBuf {
        self.dir.join(format!("{conversation}.{EXTENSION}"))
    }

    /// Writes a file whole or not at all. `wanted` is asked last: nothing appears under the name if it says no.
    pub fn replace(
        &self,
        path: &Path,
        fill: impl FnOnce(&mut dyn Write) -> Result<()>,
        wanted: impl FnOnce() -> bool,
    ) -> Result<()> {
        self.create_dir()?;
        let unfinished = path.with_extension(UNFINISHED);
        let done = write_synced(&unfinished, fill).and_then(|()| {
            if wanted() {
                std::fs::rename(&unfinished, path)?;
                return sync_dir(&self.dir);
            }
            erase(&unfinished)
        });
        if done.is_err() {
            self.erase(&unfinished);
        }
        done
    }

    fn create_dir(&self) -> Result<()> {
        if self.dir.is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.dir)?;
        keep_private(&self.dir)
    }

    /// Overwrites and removes; what cannot be removed is told in the log.
    pub fn erase(&self, path: &Path) {
        match erase(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "a snapshot cannot be removed");
            }
            _ => {}
        }
    }

    /// What a process left behind that ended while it wrote.
    pub fn remove_unfinished(&self) {
        self.with_extension(UNFINISHED).iter().for_each(|entry| self.erase(&entry.path));
    }

    pub fn conversations(&self) -> Vec<Uuid> {
        let id = |entry: &Entry| Uuid::parse_str(entry.path.file_stem()?.to_str()?).ok();
        self.with_extension(EXTENSION).iter().filter_map(id).collect()
    }

    /// Removes the least recently written files until all together fit the budget. `spared` goes last.
    pub fn fit_budget(&self, spared: &Path) {
        let mut entries = self.with_extension(EXTENSION);
        entries.sort_by_key(|entry| (entry.path == *spared, entry.written));
        let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
        for entry in entries {
            if total <= self.budget {
                return;
            }
            self.erase(&entry.path);
            total -= entry.bytes;
        }
    }

    /// Removes the files for which `keep` says no.
    pub fn retain(&self, keep: impl Fn(&Path) -> bool) {
        let entries = self.with_extension(EXTENSION);
        entries.iter().filter(|entry| !keep(&entry.path)).for_each(|entry| self.erase(&entry.path));
    }

    fn with_extension(&self, extension: &str) -> Vec<Entry> {
        let Ok(dir) = std::fs::read_dir(&self.dir) else { return Vec::new() };
        let entry = |path: PathBuf| {
            let metadata = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
            let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            Some(Entry { path, bytes: metadata.len(), written })
        };
        let paths = dir.flatten().map(|entry| entry.path());
        paths.filter(|path| path.extension().is_some_and(|e| e == extension)).filter_map(entry).collect()
    }

    /// The hash remembered for a model file of this stamp.
    pub fn digest(&self, stamp: &str) -> Option<[u8; 32]> {
        let text = std::fs::read_to_string(self.dir.join(MODEL)).ok()?;
        let (remembered, hex) = text.trim_end().rsplit_once('\n')?;
        (remembered == stamp).then(|| from_hex(hex)).flatten()
    }

    pub fn remember_digest(&self, stamp: &str, hex: &str) -> Result<()> {
        let fill = |out: &mut dyn Write| writeln!(out, "{stamp}\n{hex}");
        self.replace(&self.dir.join(MODEL), fill, || true)
    }
}

fn from_hex(hex: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(out)
}

fn write_synced(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut file = File::create(path)?;
    fill(&mut file)?;
    file.sync_all()
}

/// Zeros over the content, on the disk, before the name goes. A link is only removed.
fn erase(path: &Path) -> Result<()> {
    if path.symlink_metadata()?.is_file() {
        // A file that cannot be overwritten is at least removed.
        drop(overwrite(path));
    }
    std::fs::remove_file(path)
}

fn overwrite(path: &Path) -> Result<()> {
    let mut file = File::options().write(true).open(path)?;
    let mut left = file.metadata()?.len();
    file.seek(SeekFrom::Start(0))?;
    let zeros = vec![0; 1 << 20];
    while left > 0 {
        let part = left.min(zeros.len() as u64);
        file.write_all(&zeros[..part as usize])?;
        left -= part;
    }
    file.sync_data()
}

/// A rename is durable only when its directory is.
#[cfg(unix)]
fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
fn sync_dir(_: &Path) -> Result<()> {
    Ok(())
}

/// What people wrote is for their own eyes.
#[cfg(unix)]
fn keep_private(dir: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn keep_private(_: &Path) -> Result<()> {
    Ok(())
}
