//! Looks at a database file through a read-only connection before anything may write to it.
use crate::HistoryError;
use crate::error::At;
use crate::files::with_suffix;
use crate::open::MIGRATIONS;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use std::path::Path;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// No file, or one in which nothing was ever stored.
    Absent,
    /// Sound; `pending` migrations are not applied yet.
    Sound {
        pending: bool,
    },
    Damaged {
        reason: String,
    },
    /// Has migrations that this version does not know.
    Newer {
        found: i64,
        known: i64,
    },
}

/// SQLite's and the disk's refusals are errors; what is wrong with the content is the answer.
pub(crate) async fn inspect(path: &Path) -> Result<Health, HistoryError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Health::Absent),
        Err(error) => return Err(HistoryError::io(path, error)),
        Ok(meta) if meta.len() == 0 => return Ok(Health::Absent),
        Ok(_) => {}
    }
    match look_inside(path).await {
        Err(HistoryError::Corrupt { reason, .. }) => Ok(Health::Damaged { reason }),
        other => other,
    }
}

async fn look_inside(path: &Path) -> Result<Health, HistoryError> {
    // Without a log there is nothing to replay, and `immutable` keeps SQLite from making a new one to look at the file.
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .immutable(!with_suffix(path, "-wal").exists())
        .pragma("cell_size_check", "ON");
    let mut connection = options.connect().await.at(path)?;
    let health = judge(&mut connection).await.at(path);
    connection.close().await.at(path)?;
    health
}

async fn judge(connection: &mut SqliteConnection) -> Result<Health, sqlx::Error> {
    let faults: Vec<String> = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_all(&mut *connection).await?;
    if faults != ["ok"] {
        return Ok(Health::Damaged { reason: faults.join("; ") });
    }
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(&mut *connection)
        .await?;
    if tables.is_empty() {
        return Ok(Health::Absent);
    }
    if !tables.iter().any(|name| name == "_sqlx_migrations") {
        return Ok(Health::Damaged { reason: "a database of another application".into() });
    }
    let applied: Vec<i64> = sqlx::query_scalar("SELECT version FROM _sqlx_migrations ORDER BY version")
        .fetch_all(connection)
        .await?;
    Ok(compare(&applied))
}

fn compare(applied: &[i64]) -> Health {
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    match applied.iter().rev().find(|version| !MIGRATIONS.version_exists(**version)) {
        Some(&found) => Health::Newer { found, known },
        None => Health::Sound { pending: applied.len() < MIGRATIONS.iter().count() },
    }
}
