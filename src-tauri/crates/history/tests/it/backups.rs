//! One backup a day, seven kept.
use crate::world::{DAY, World, files, texts};

#[tokio::test]
async fn a_day_has_one_backup_and_it_opens_as_a_history() {
    let world = World::new();
    let history = world.open().await;
    let id = world.id();
    world.turn(&history, id, "q", "a").await;
    let made = history.backup_if_due().await.unwrap().unwrap();
    assert_eq!(made, world.dir().join("backups/history-2026-11-25.db"));
    assert_eq!(history.backup_if_due().await.unwrap(), None);

    let other = World::new();
    std::fs::create_dir_all(other.dir()).unwrap();
    std::fs::copy(made, other.db()).unwrap();
    assert_eq!(texts(&other.open().await.conversation(id).await.unwrap()), ["q", "a"]);
}

#[tokio::test]
async fn seven_days_are_kept() {
    let world = World::new();
    let history = world.open().await;
    world.turn(&history, world.id(), "q", "a").await;
    for _ in 0..10 {
        history.backup_if_due().await.unwrap().unwrap();
        world.advance(DAY);
    }
    let names: Vec<_> = files(&world.dir().join("backups"))
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), 7);
    assert_eq!(names[0], "history-2026-11-28.db");
    assert_eq!(names[6], "history-2026-12-04.db");
}

#[tokio::test]
async fn an_empty_history_never_pushes_out_a_backup() {
    let world = World::new();
    assert_eq!(world.open().await.backup_if_due().await.unwrap(), None);
}

#[tokio::test]
async fn a_turn_can_be_written_while_a_backup_is_made() {
    let world = World::new();
    let history = world.open().await;
    let id = world.id();
    world.turn(&history, id, &"long ".repeat(200_000), "a").await;
    let (backup, _) = tokio::join!(history.backup_if_due(), world.turn(&history, id, "meanwhile", "b"));
    assert!(backup.unwrap().is_some());
    assert_eq!(history.conversation(id).await.unwrap().messages.len(), 4);
}
