//! No space left: a typed error, and what was stored stays.
use crate::world::{World, last, texts};
use chimera_history::{HistoryError, OpenOptions};
use std::path::PathBuf;
use std::process::Command;

#[tokio::test]
async fn a_full_file_is_told_as_disk_full_and_loses_nothing() {
    let world = World::new();
    let options = OpenOptions { max_pages: Some(60), ..OpenOptions::new(world.dir()) };
    let history = world.try_open_with(options).await.unwrap().history;
    let id = world.id();
    world.turn(&history, id, "before", "kept").await;
    let refused = world.ask(&history, id, &"x".repeat(400_000)).await;
    assert!(matches!(refused, Err(HistoryError::DiskFull { path }) if path == world.db()));
    assert_eq!(texts(&history.conversation(id).await.unwrap()), ["before", "kept"]);
    world.turn(&history, id, "small still fits", "yes").await;
}

#[tokio::test]
async fn an_answer_that_no_longer_fits_keeps_its_last_checkpoint() {
    let world = World::new();
    let options = OpenOptions { max_pages: Some(60), ..OpenOptions::new(world.dir()) };
    let history = world.try_open_with(options).await.unwrap().history;
    let id = world.id();
    let answer = last(&world.ask(&history, id, "q").await.unwrap());
    history.checkpoint(answer, "as far as it went", "").await.unwrap();
    let refused = history.checkpoint(answer, &"x".repeat(400_000), "").await;
    assert!(matches!(refused, Err(HistoryError::DiskFull { .. })));
    assert_eq!(history.conversation(id).await.unwrap().messages[1].text, "as far as it went");
}

/// A real file system without space, where the test may mount one (root); elsewhere the page limit above stands alone.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_file_system_is_told_as_disk_full_and_loses_nothing() {
    let world = World::new();
    std::fs::create_dir_all(world.dir()).unwrap();
    let Some(_mounted) = Mounted::tmpfs(world.dir(), "size=1m") else { return };
    let history = world.open().await;
    let id = world.id();
    world.turn(&history, id, "before", "kept").await;
    let refused = world.ask(&history, id, &"x".repeat(2_000_000)).await;
    assert!(matches!(refused, Err(HistoryError::DiskFull { .. })), "{refused:?}");
    assert_eq!(texts(&history.conversation(id).await.unwrap()), ["before", "kept"]);
    assert!(matches!(fill_with_backup(&world, &history).await, Err(HistoryError::DiskFull { .. })));
    history.close().await;
    drop(history);
    let history = world.open().await;
    assert_eq!(texts(&history.conversation(id).await.unwrap()), ["before", "kept"]);
    history.close().await;
}

#[cfg(target_os = "linux")]
async fn fill_with_backup(world: &World, history: &chimera_history::History) -> Result<(), HistoryError> {
    let filler = world.dir().join("filler");
    let _ = std::fs::write(&filler, vec![0; 2 << 20]); // fails when the space is gone, as it should
    let backup = history.backup_if_due().await.map(drop);
    std::fs::remove_file(filler).unwrap();
    assert!(!world.dir().join("backups/partial").exists());
    backup
}

#[cfg(target_os = "linux")]
struct Mounted(PathBuf);

#[cfg(target_os = "linux")]
impl Mounted {
    fn tmpfs(dir: PathBuf, options: &str) -> Option<Self> {
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&dir).output().ok()?;
        mount.status.success().then_some(Self(dir))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
