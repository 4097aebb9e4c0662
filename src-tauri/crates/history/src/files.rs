//! The files beside the database: names, the lock, and renames that survive a power cut.
use crate::HistoryError;
use crate::error::At;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// Where everything of one history stands.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub dir: PathBuf,
    pub db: PathBuf,
    pub backups: PathBuf,
}

impl Layout {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), db: dir.join("history.db"), backups: dir.join("backups") }
    }

    /// A replacement on its way to become `history.db`.
    pub fn replacement(&self) -> PathBuf {
        self.dir.join("history.db.replacement")
    }

    pub fn create(&self) -> Result<(), HistoryError> {
        let is_new = !self.dir.exists();
        std::fs::create_dir_all(&self.backups).at(&self.backups)?;
        if is_new { keep_private(&self.dir) } else { Ok(()) }
    }
}

/// What people wrote is for their own eyes: other accounts of the machine get no access.
#[cfg(unix)]
fn keep_private(dir: &Path) -> Result<(), HistoryError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).at(dir)
}

#[cfg(not(unix))]
fn keep_private(_: &Path) -> Result<(), HistoryError> {
    Ok(())
}

/// Held as long as the history is open; the system drops it with the process, however that ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

impl Lock {
    pub fn acquire(layout: &Layout) -> Result<Self, HistoryError> {
        let path = layout.dir.join("history.lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path).at(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(HistoryError::Locked { path: layout.db.clone() }),
            Err(TryLockError::Error(source)) => Err(HistoryError::io(&path, source)),
        }
    }
}

/// `history.db` + `-wal` = `history.db-wal`.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(crate) fn remove_if_there(path: &Path) -> Result<(), HistoryError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(HistoryError::io(path, error)),
        _ => Ok(()),
    }
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), HistoryError> {
    std::fs::rename(from, to).at(from)?;
    sync_dir(to.parent().unwrap_or(Path::new(".")))
}

pub(crate) fn sync_file(path: &Path) -> Result<(), HistoryError> {
    File::options().write(true).open(path).and_then(|file| file.sync_all()).at(path)
}

/// A rename is durable only when its directory is.
#[cfg(unix)]
pub(crate) fn sync_dir(dir: &Path) -> Result<(), HistoryError> {
    File::open(dir).and_then(|dir| dir.sync_all()).at(dir)
}

#[cfg(not(unix))]
pub(crate) fn sync_dir(_: &Path) -> Result<(), HistoryError> {
    Ok(())
}
