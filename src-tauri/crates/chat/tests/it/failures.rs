//! What the engine, the model file, the disk and a second instance can do to a turn.
use crate::scripted::{Load, Step};
use crate::world::{Setup, World, fact, texts};
use chimera_chat::LoadError;
use chimera_chat::locate::LocateError;
use chimera_chat::wire::{ErrorCode, MessageStatus, ModelStatus};
use chimera_engine::{EngineError, FinishReason};
use std::path::PathBuf;

#[tokio::test]
async fn an_engine_error_fails_the_turn_and_keeps_the_partial_answer() {
    let world = World::new().await;
    let id = world.id();
    world.step([Step::Text("half"), Step::Fail(EngineError::NonFiniteLogits { position: 7 })]);
    let (_, mut window) = world.send(&id, "q").await.unwrap();
    let (error, message) = window.failed().await;
    assert!(fact(&error, ErrorCode::EngineFailed, "reason").contains('7'));
    assert_eq!(message.unwrap().status, MessageStatus::Failed);
    assert_eq!(texts(&world.service.conversation(&id).await.unwrap()), ["q", "half"]);
    world.turn(&id, "next", "works").await;
}

#[tokio::test]
async fn a_panic_in_the_engine_fails_that_turn_and_the_next_one_has_a_rebuilt_session() {
    let world = World::new().await;
    let id = world.id();
    world.step([Step::Text("half"), Step::Panic]);
    let (_, mut window) = world.send(&id, "q").await.unwrap();
    let (error, message) = window.failed().await;
    assert_eq!(fact(&error, ErrorCode::EngineFailed, "reason"), "scripted panic");
    assert_eq!(message.unwrap().text, "half");
    let next = world.turn(&id, "next", "works").await;
    assert_eq!(next.stats.unwrap().reused_tokens, 1, "the scripted engine counts its rebuilds here");
}

#[tokio::test]
async fn out_of_memory_is_told_with_its_bytes() {
    let world = World::new().await;
    world.step([Step::Fail(EngineError::OutOfMemory { bytes: 99 })]);
    let (_, mut window) = world.send(&world.id(), "q").await.unwrap();
    assert_eq!(fact(&window.failed().await.0, ErrorCode::OutOfMemory, "needed_bytes"), "99");
}

#[tokio::test]
async fn a_refusal_for_memory_is_told_with_both_numbers() {
    let world = World::new().await;
    world.step([Step::Fail(EngineError::NotEnoughMemory { needed: 99, available: 7 })]);
    let (_, mut window) = world.send(&world.id(), "q").await.unwrap();
    let error = window.failed().await.0;
    assert_eq!(fact(&error, ErrorCode::OutOfMemory, "needed_bytes"), "99");
    assert_eq!(fact(&error, ErrorCode::OutOfMemory, "available_bytes"), "7");
}

#[tokio::test]
async fn a_missing_model_is_told_with_the_places_and_no_message_is_taken() {
    let looked_in = vec![PathBuf::from("/a"), PathBuf::from("/b")];
    let load = Load::Fail(LoadError::Locate(LocateError::Nowhere { looked_in }));
    let world = Setup { load, ..Setup::default() }.start().await;
    let ModelStatus::Failed { error } = world.service.model_loaded().await else { panic!("no model") };
    assert_eq!(fact(&error, ErrorCode::ModelMissing, "looked_in"), "/a\n/b");
    assert_eq!(world.refused(&world.id(), "q").await, error);
    assert!(world.service.conversations().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_unreadable_model_is_told_with_its_path() {
    let source = EngineError::ModelUnreadable {
        path: "/m.gguf".into(),
        source: std::io::ErrorKind::UnexpectedEof.into(),
    };
    let load = Load::Fail(LoadError::Engine { path: "/m.gguf".into(), source: source.into() });
    let world = Setup { load, ..Setup::default() }.start().await;
    let ModelStatus::Failed { error } = world.service.model_loaded().await else { panic!("no model") };
    assert_eq!(fact(&error, ErrorCode::ModelInvalid, "path"), "/m.gguf");
}

#[tokio::test]
async fn a_panic_while_loading_is_a_failed_model() {
    let world = Setup { load: Load::Panic, ..Setup::default() }.start().await;
    let ModelStatus::Failed { error } = world.service.model_loaded().await else { panic!("no model") };
    assert_eq!(fact(&error, ErrorCode::EngineFailed, "reason"), "scripted panic at load");
}

#[tokio::test]
async fn a_full_disk_refuses_the_message_and_earlier_ones_stay() {
    let world = Setup { max_pages: Some(60), context_length: 1 << 20, ..Setup::default() }.start().await;
    world.service.model_loaded().await;
    let id = world.id();
    world.turn(&id, "before", "kept").await;
    let refused = world.refused(&id, &"अ".repeat(90_000)).await;
    assert!(fact(&refused, ErrorCode::DiskFull, "path").ends_with("history.db"));
    assert_eq!(texts(&world.service.conversation(&id).await.unwrap()), ["before", "kept"]);
    world.turn(&id, "smaller", "works").await;
}

#[tokio::test]
async fn a_disk_that_fills_while_the_answer_is_written_fails_the_turn_and_the_window_keeps_the_text() {
    let world = Setup { max_pages: Some(60), ..Setup::default() }.start().await;
    world.service.model_loaded().await;
    let id = world.id();
    let long: &'static str = "अ".repeat(100_000).leak();
    world.step([Step::Text(long), Step::End(FinishReason::Stop)]);
    let (_, mut window) = world.send(&id, "q").await.unwrap();
    let (error, message) = window.failed().await;
    assert_eq!(error.code, ErrorCode::DiskFull);
    assert_eq!(message.unwrap().text, long);
    world.turn(&id, "smaller", "works").await;
    let statuses: Vec<MessageStatus> = world
        .service
        .conversation(&id)
        .await
        .unwrap()
        .messages
        .iter()
        .map(|message| message.status)
        .collect();
    assert_eq!(statuses[1], MessageStatus::Interrupted);
}

#[cfg(unix)] // the second one comes through a link
#[tokio::test]
async fn a_second_instance_opens_without_history_and_says_why() {
    let first = World::new().await;
    let dir = tempfile::TempDir::with_prefix("second").unwrap();
    std::fs::remove_dir(dir.path()).unwrap();
    std::os::unix::fs::symlink(first.dir.path(), dir.path()).unwrap();
    let second = Setup { dir, ..Setup::default() }.start().await;
    second.service.model_loaded().await;
    let notice = second.service.status().notice.unwrap();
    assert!(fact(&notice, ErrorCode::HistoryLocked, "path").ends_with("history.db"));
    assert_eq!(second.refused(&second.id(), "q").await, notice);
    assert_eq!(second.service.settings().await.unwrap().theme, "system");
    std::fs::remove_file(second.dir.path()).unwrap();
    first.turn(&first.id(), "q", "still works").await;
}

#[tokio::test]
async fn a_damaged_history_is_told_with_where_it_was_kept() {
    let setup = Setup::default();
    std::fs::create_dir_all(setup.dir.path().join("history")).unwrap();
    std::fs::write(setup.dir.path().join("history/history.db"), "no database").unwrap();
    let world = setup.start().await;
    let notice = world.service.status().notice.unwrap();
    let kept_at = fact(&notice, ErrorCode::HistoryCorrupt, "kept_at");
    assert_eq!(std::fs::read(kept_at).unwrap(), b"no database");
    assert!(!notice.details.contains_key("restored_from"));
    world.turn(&world.id(), "q", "works").await;
}

#[tokio::test]
async fn closing_stops_the_answer_and_keeps_it_for_the_next_start() {
    let world = World::new().await;
    let id = world.id();
    let (_, mut window) = world.send(&id, "q").await.unwrap();
    world.step([Step::Text("half")]);
    window.until_text("half").await;
    world.service.shutdown().await;
    assert_eq!(window.finished().await.text, "half");
    let World { dir, service, .. } = world;
    drop(service);

    let world = Setup { dir, ..Setup::default() }.start().await;
    let kept = world.service.conversation(&id).await.unwrap();
    assert_eq!(texts(&kept), ["q", "half"]);
    assert_eq!(kept.messages[1].status, MessageStatus::Stopped);
}
