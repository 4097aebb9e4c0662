//! Everything that can go wrong with the history: a closed list, with the facts in fields.
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("SQLite {found} is linked in; {needed} is the oldest without the WAL-reset corruption")]
    SqliteTooOld { found: i32, needed: i32 },
    #[error("another instance has {} open", path.display())]
    Locked { path: PathBuf },
    #[error("{} was written by a newer version (schema {found}, known {known})", path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("{} is damaged: {reason}", path.display())]
    Corrupt { path: PathBuf, reason: String },
    #[error("no space left for {}", path.display())]
    DiskFull { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// SQLite's own report of a file that cannot be read or written.
    #[error("{}: {reason}", path.display())]
    Storage { path: PathBuf, reason: String },
    #[error("no conversation or message {id}")]
    NotFound { id: Uuid },
    #[error("{id} is in use already")]
    DuplicateId { id: Uuid },
    #[error("{id} is not an answer")]
    NotAnAnswer { id: Uuid },
    #[error("{id} is not a message of the person")]
    NotAQuestion { id: Uuid },
    /// The answer has ended already: nothing more may be written to it.
    #[error("the answer {id} is not being written")]
    NotStreaming { id: Uuid },
    #[error("the schema of {} cannot be brought up to date: {source}", path.display())]
    Migration { path: PathBuf, source: sqlx::migrate::MigrateError },
    #[error("a statement on {} failed: {source}", path.display())]
    Sql { path: PathBuf, source: sqlx::Error },
}

// Primary result codes (https://www.sqlite.org/rescode.html), the low byte of an extended one.
const PERM: i32 = 3;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const NOTADB: i32 = 26;
/// The shared-memory file could not be grown: in practice, no space.
const IOERR_SHMSIZE: i32 = IOERR | (19 << 8);

impl HistoryError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        match source.kind() {
            StorageFull | QuotaExceeded => Self::DiskFull { path: path.to_owned() },
            _ => Self::Io { path: path.to_owned(), source },
        }
    }

    pub(crate) fn sql(path: &Path, source: sqlx::Error) -> Self {
        let path = path.to_owned();
        match (sqlite_code(&source), source) {
            (_, sqlx::Error::Io(source)) => Self::io(&path, source),
            (Some(FULL | IOERR_SHMSIZE), _) => Self::DiskFull { path },
            (Some(code), source) => match code & 0xff {
                CORRUPT | NOTADB => Self::Corrupt { path, reason: source.to_string() },
                PERM | READONLY | IOERR | CANTOPEN => Self::Storage { path, reason: source.to_string() },
                _ => Self::Sql { path, source },
            },
            (None, source) => Self::Sql { path, source },
        }
    }
}

fn sqlite_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// Names the file that a failed statement or file operation was about.
pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T, HistoryError>;
}

impl<T> At<T> for Result<T, sqlx::Error> {
    fn at(self, path: &Path) -> Result<T, HistoryError> {
        self.map_err(|source| HistoryError::sql(path, source))
    }
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, HistoryError> {
        self.map_err(|source| HistoryError::io(path, source))
    }
}
