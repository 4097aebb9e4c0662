//! Opening: version, lock, health, migrations, what a crash left behind; and the connections.
use crate::error::At;
use crate::files::{Layout, Lock};
use crate::inspect::{Health, inspect};
use crate::recover::{Recovered, finish_interrupted, recover};
use crate::{HistoryError, SQLITE_NEEDED, backup, calendar, sqlite_version};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqlitePool};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Milliseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Each migration and the note of its being done are one transaction.
pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!();

const READERS: u32 = 2;
const BUSY: Duration = Duration::from_secs(5);
/// The write-ahead log is cut back to this after a checkpoint.
const LOG_BYTES: &str = "8388608";

#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The directory that holds `history.db`, its lock and `backups/`; made when it is not there.
    pub dir: PathBuf,
    /// Upper bound of the file in pages of 4096 bytes; the tests meet a full disk with it.
    pub max_pages: Option<u32>,
}

impl OpenOptions {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), max_pages: None }
    }
}

pub struct History {
    pub(crate) layout: Layout,
    pub(crate) clock: Clock,
    /// One connection: SQLite allows one writer at a time, so waiting happens here and not in its busy loop.
    pub(crate) writer: SqlitePool,
    pub(crate) readers: SqlitePool,
    lock: Mutex<Option<Lock>>,
}

pub struct Opened {
    pub history: History,
    /// Set when the file was damaged.
    pub recovered: Option<Recovered>,
}

impl History {
    pub async fn open(options: OpenOptions, clock: Clock) -> Result<Opened, HistoryError> {
        let found = sqlite_version();
        if found < SQLITE_NEEDED {
            return Err(HistoryError::SqliteTooOld { found, needed: SQLITE_NEEDED });
        }
        let layout = Layout::new(&options.dir);
        layout.create()?;
        let lock = Lock::acquire(&layout)?;
        finish_interrupted(&layout)?;
        let recovered = make_sound(&layout, clock()).await?;
        let (writer, readers) = connect(&layout.db, options.max_pages).await?;
        let history = Self { layout, clock, writer, readers, lock: Mutex::new(Some(lock)) };
        history.end_interrupted_answers().await?;
        Ok(Opened { history, recovered })
    }

    /// Ends the connections in order, so the log is folded into the file, and lets the next instance in; later calls
    /// on this one fail. (Dropping loses nothing either.)
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// A crash or a power cut left these as they were being written.
    async fn end_interrupted_answers(&self) -> Result<(), HistoryError> {
        sqlx::query("UPDATE messages SET status = 'interrupted' WHERE status = 'streaming'")
            .execute(&self.writer)
            .await
            .at(&self.layout.db)
            .map(drop)
    }

    pub fn path(&self) -> &Path {
        &self.layout.db
    }
}

/// After this the file is absent or sound; what was damaged has been put aside.
async fn make_sound(layout: &Layout, now_ms: i64) -> Result<Option<Recovered>, HistoryError> {
    match inspect(&layout.db).await? {
        Health::Newer { found, known } => Err(HistoryError::Newer { path: layout.db.clone(), found, known }),
        Health::Damaged { reason } => recover(layout, reason, now_ms).await.map(Some),
        Health::Absent if emptied(layout)? => {
            recover(layout, "the file is empty".into(), now_ms).await.map(Some)
        }
        Health::Sound { pending: true } => {
            let target = layout.backups.join(format!("history-{}.before-update.db", calendar::day(now_ms)));
            backup::write(layout, &target).await.map(|()| None)
        }
        Health::Absent | Health::Sound { pending: false } => Ok(None),
    }
}

/// An empty file where backups tell that there was something.
fn emptied(layout: &Layout) -> Result<bool, HistoryError> {
    Ok(layout.db.exists() && !backup::newest_first(layout)?.is_empty())
}

async fn connect(db: &Path, max_pages: Option<u32>) -> Result<(SqlitePool, SqlitePool), HistoryError> {
    let mut options = base(db).journal_mode(SqliteJournalMode::Wal).create_if_missing(true);
    if let Some(pages) = max_pages {
        options = options.pragma("max_page_count", pages.to_string());
    }
    let writer = pool(1).connect_with(options).await.at(db)?;
    MIGRATIONS.run(&writer).await.map_err(|source| migration_error(db, source))?;
    let readers = pool(READERS).connect_with(base(db).read_only(true)).await.at(db)?;
    Ok((writer, readers))
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        // SQLite itself rolls back when the disk is full; sqlx's own ROLLBACK then fails and its count of open
        // transactions stays wrong, so such a connection is replaced.
        .before_acquire(|connection, _| {
            let clean = !connection.is_in_transaction();
            Box::pin(async move { Ok(clean) })
        })
}

fn base(db: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(db)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        .synchronous(SqliteSynchronous::Full)
        .pragma("secure_delete", "ON") // what is deleted is overwritten
        .pragma("cell_size_check", "ON")
        .pragma("trusted_schema", "OFF")
        .pragma("temp_store", "MEMORY") // no copy of a text in a temporary file
        .pragma("journal_size_limit", LOG_BYTES)
        .pragma("fullfsync", "ON") // macOS: fsync alone stops at the drive's cache
        .pragma("checkpoint_fullfsync", "ON")
}

fn migration_error(db: &Path, source: sqlx::migrate::MigrateError) -> HistoryError {
    use sqlx::migrate::MigrateError::{Execute, ExecuteMigration};
    match source {
        Execute(source) | ExecuteMigration(source, _) => HistoryError::sql(db, source),
        source => HistoryError::Migration { path: db.to_owned(), source },
    }
}
