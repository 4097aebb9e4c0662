//! A damaged file is put aside under a dated name, and the newest sound backup (or nothing) takes its place.
use crate::error::At;
use crate::files::{Layout, remove_if_there, rename, sync_file, with_suffix};
use crate::inspect::{Health, inspect};
use crate::{HistoryError, backup, calendar};
use std::path::{Path, PathBuf};

/// What was done about a damaged file. Nothing was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    pub reason: String,
    pub kept_at: PathBuf,
    /// The backup that is now in use; `None`: none was sound, the history starts empty.
    pub restored_from: Option<PathBuf>,
}

/// The replacement is complete on disk before the damaged file moves, so a power cut between the two renames leaves
/// either file, never neither; [`finish_interrupted`] does the second rename at the next start.
pub(crate) async fn recover(layout: &Layout, reason: String, now_ms: i64) -> Result<Recovered, HistoryError> {
    let restored_from = newest_sound_backup(layout).await?;
    if let Some(backup) = &restored_from {
        std::fs::copy(backup, layout.replacement()).at(&layout.replacement())?;
        sync_file(&layout.replacement())?;
    }
    let kept_at = put_aside(layout, now_ms)?;
    if restored_from.is_some() {
        rename(&layout.replacement(), &layout.db)?;
    }
    Ok(Recovered { reason, kept_at, restored_from })
}

/// Ends a recovery that a power cut broke off; a replacement beside a present file was never needed.
pub(crate) fn finish_interrupted(layout: &Layout) -> Result<(), HistoryError> {
    if !layout.replacement().exists() {
        return Ok(());
    }
    if layout.db.exists() {
        remove_if_there(&layout.replacement())
    } else {
        rename(&layout.replacement(), &layout.db)
    }
}

async fn newest_sound_backup(layout: &Layout) -> Result<Option<PathBuf>, HistoryError> {
    for path in backup::newest_first(layout)? {
        if matches!(inspect(&path).await, Ok(Health::Sound { .. })) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Moves the file and its write-ahead log (which may hold the newest messages) together, so that
/// `sqlite3 FILE .recover` sees both. The log goes first: alone it would be taken for the replacement's.
fn put_aside(layout: &Layout, now_ms: i64) -> Result<PathBuf, HistoryError> {
    let kept_at = free_name(&layout.dir, &calendar::second(now_ms));
    let log = with_suffix(&layout.db, "-wal");
    if log.exists() {
        rename(&log, &with_suffix(&kept_at, "-wal"))?;
    }
    remove_if_there(&with_suffix(&layout.db, "-shm"))?;
    rename(&layout.db, &kept_at)?;
    Ok(kept_at)
}

fn free_name(dir: &Path, stamp: &str) -> PathBuf {
    let name = |n: u32| match n {
        0 => dir.join(format!("history.damaged-{stamp}.db")),
        n => dir.join(format!("history.damaged-{stamp}-{n}.db")),
    };
    (0..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0))
}
