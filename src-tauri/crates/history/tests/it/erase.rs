//! Deleting a conversation erases it.
use crate::world::{World, files};
use chimera_history::HistoryError;

const SECRET: &str = "मेरा रहस्य पीला-हाथी-4711 है";

/// Every file of the directory and of the backups that still holds the secret.
fn traces(world: &World) -> Vec<std::path::PathBuf> {
    let all = files(&world.dir()).into_iter().chain(files(&world.dir().join("backups")));
    let holds = |path: &std::path::PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
    };
    all.filter(holds).collect()
}

#[tokio::test]
async fn a_deleted_conversation_leaves_no_byte_in_any_file() {
    let world = World::new();
    let history = world.open().await;
    let (secret, other) = (world.id(), world.id());
    world.turn(&history, other, "stays", "here").await;
    world.turn(&history, secret, SECRET, &SECRET.repeat(300)).await;
    history.backup_if_due().await.unwrap().unwrap();
    assert!(traces(&world).len() >= 2, "the file or its log, and the backup");

    history.delete(secret).await.unwrap();
    assert_eq!(traces(&world), Vec::<std::path::PathBuf>::new());
    assert!(matches!(history.conversation(secret).await, Err(HistoryError::NotFound { .. })));
    assert_eq!(history.conversation(other).await.unwrap().messages.len(), 2);
    assert!(matches!(history.delete(secret).await, Err(HistoryError::NotFound { .. })));
}

/// SQLite's cascades recurse at most 1000 deep: the parent's key must not be one of them.
#[tokio::test]
async fn a_conversation_of_more_than_a_thousand_messages_can_be_deleted() {
    let world = World::new();
    let history = world.open().await;
    let id = world.id();
    for _ in 0..520 {
        world.ask(&history, id, "q").await.unwrap();
    }
    assert_eq!(history.conversation(id).await.unwrap().messages.len(), 1040);
    history.delete(id).await.unwrap();
    assert!(history.conversations().await.unwrap().is_empty());
}
