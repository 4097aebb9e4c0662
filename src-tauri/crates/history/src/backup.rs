//! One backup a day by `VACUUM INTO`, in `backups/` beside the database; the newest seven are kept.
use crate::error::At;
use crate::files::{Layout, remove_if_there, rename, sync_file};
use crate::inspect::{Health, inspect};
use crate::{History, HistoryError, calendar};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use std::path::{Path, PathBuf};
use uuid::Uuid;

const KEPT: usize = 7;

impl History {
    /// Makes today's backup if there is none yet and there is something to keep. Returns its path when made.
    pub async fn backup_if_due(&self) -> Result<Option<PathBuf>, HistoryError> {
        let target = self.layout.backups.join(format!("history-{}.db", calendar::day((self.clock)())));
        if target.exists() || self.conversations().await?.is_empty() {
            return Ok(None);
        }
        write(&self.layout, &target).await?;
        prune(&self.layout)?;
        Ok(Some(target))
    }
}

/// Copies what is committed, without stopping the writer; the copy gets its name only when it is sound and on disk.
pub(crate) async fn write(layout: &Layout, target: &Path) -> Result<(), HistoryError> {
    let partial = layout.backups.join("partial");
    remove_if_there(&partial)?;
    let made = vacuum_into(&layout.db, &partial).await;
    if made.is_err() {
        remove_if_there(&partial)?;
    }
    made?;
    sync_file(&partial)?;
    match inspect(&partial).await? {
        Health::Sound { .. } => rename(&partial, target),
        other => Err(HistoryError::Corrupt { path: partial, reason: format!("the backup is {other:?}") }),
    }
}

async fn vacuum_into(db: &Path, partial: &Path) -> Result<(), HistoryError> {
    let mut connection = SqliteConnectOptions::new().filename(db).connect().await.at(db)?;
    let made = sqlx::query("VACUUM INTO ?").bind(partial.to_string_lossy()).execute(&mut connection).await;
    connection.close().await.at(db)?;
    made.at(partial).map(drop)
}

/// The backups by date, newest first.
pub(crate) fn newest_first(layout: &Layout) -> Result<Vec<PathBuf>, HistoryError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&layout.backups).at(&layout.backups)? {
        let path = entry.at(&layout.backups)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("history-") && name.ends_with(".db") {
            found.push(path);
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

fn prune(layout: &Layout) -> Result<(), HistoryError> {
    newest_first(layout)?.iter().skip(KEPT).try_for_each(|path| remove_if_there(path))
}

/// A deleted conversation leaves the backups too: they would otherwise keep it for a week.
pub(crate) async fn erase(layout: &Layout, conversation: Uuid) -> Result<(), HistoryError> {
    for path in newest_first(layout)? {
        if matches!(inspect(&path).await?, Health::Sound { .. }) {
            erase_from(&path, conversation).await?;
        }
    }
    Ok(())
}

async fn erase_from(path: &Path, conversation: Uuid) -> Result<(), HistoryError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Delete)
        .synchronous(SqliteSynchronous::Full)
        .pragma("secure_delete", "ON");
    let mut connection = options.connect().await.at(path)?;
    let erased = sqlx::query("DELETE FROM conversations WHERE id = ?")
        .bind(conversation.to_string())
        .execute(&mut connection)
        .await;
    connection.close().await.at(path)?;
    erased.at(path).map(drop)
}
