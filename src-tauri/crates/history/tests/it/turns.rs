//! Turns, versions, titles, settings, the lock.
use crate::world::{World, complete, last, texts};
use chimera_history::{AnswerStats, Ending, HistoryError, Outcome, Role, Status, UserTurn};

#[tokio::test]
async fn a_turn_is_there_after_reopening() {
    let world = World::new();
    let history = world.open().await;
    let id = world.id();
    let stats =
        AnswerStats { completion_tokens: 7, model: "starter".into(), seed: u64::MAX, ..Default::default() };
    let asked = world.ask(&history, id, "What is a rainbow?").await.unwrap();
    assert_eq!(asked.messages[1].status, Status::Streaming);
    let outcome = Outcome {
        ending: Ending::Complete,
        text: "इंद्रधनुष प्रकाश है।".into(),
        thinking: "light".into(),
        stats: Some(stats.clone()),
    };
    history.finish(last(&asked), &outcome).await.unwrap();
    history.close().await;
    drop(history);

    let reopened = world.open().await.conversation(id).await.unwrap();
    assert_eq!(texts(&reopened), ["What is a rainbow?", "इंद्रधनुष प्रकाश है।"]);
    assert_eq!(reopened.messages[1].thinking, "light");
    assert_eq!(reopened.messages[1].stats, Some(stats));
    assert_eq!(reopened.messages[1].status, Status::Complete);
}

#[tokio::test]
async fn what_was_begun_is_on_disk_before_the_call_returns() {
    let world = World::new();
    let history = world.open().await;
    world.ask(&history, world.id(), "durable before it is shown").await.unwrap();
    let log = std::fs::read(world.dir().join("history.db-wal")).unwrap();
    assert!(log.windows(26).any(|w| w == b"durable before it is shown"));
}

#[tokio::test]
async fn a_used_id_is_refused_and_nothing_of_the_turn_is_stored() {
    let world = World::new();
    let history = world.open().await;
    let id = world.id();
    let answer = world.turn(&history, id, "one", "two").await;
    let twice =
        UserTurn { conversation: world.id(), user: world.id(), text: "again".into(), assistant: answer };
    let refused = history.begin_turn(&twice).await;
    assert!(matches!(refused, Err(HistoryError::DuplicateId { id }) if id == answer));
    assert_eq!(history.conversations().await.unwrap().len(), 1);
}

#[tokio::test]
async fn regenerating_makes_a_sibling_and_shows_it() {
    let world = World::new();
    let history = world.open().await;
    let id = world.id();
    let first = world.turn(&history, id, "q", "first").await;
    let second = world.id();
    let shown = history.begin_version(id, first, second).await.unwrap();
    assert_eq!(shown.messages[1].versions, [first, second]);
    let (message, _) = history.finish(second, &complete("second")).await.unwrap();
    assert_eq!(message.versions, [first, second]);
    assert_eq!(texts(&history.conversation(id).await.unwrap()), ["q", "second"]);
}

#[tokio::test]
async fn an_edited_message_begins_a_branch_beside_what_it_replaces() {
    let world = World::new();
    let history = world.open().await;
    let id = world.id();
    let first = world.turn(&history, id, "q", "a").await;
    world.turn(&history, id, "typo", "more").await;
    let before = history.conversation(id).await.unwrap();
    let [question, _, typo, _] = [0, 1, 2, 3].map(|at| before.messages[at].id);

    let again = |text: &str| UserTurn {
        conversation: id,
        user: world.id(),
        text: text.into(),
        assistant: world.id(),
    };
    let edited = history.begin_edit(typo, &again("said well")).await.unwrap();
    assert_eq!(texts(&edited), ["q", "a", "said well", ""]);
    history.finish(last(&edited), &complete("better")).await.unwrap();
    let other = history.begin_edit(question, &again("another start")).await.unwrap();
    assert_eq!(texts(&other), ["another start", ""], "the first message has a sibling too");

    let refused = history.begin_edit(first, &again("x")).await;
    assert!(matches!(refused, Err(HistoryError::NotAQuestion { id }) if id == first));
    let missing = world.id();
    assert!(
        matches!(history.begin_edit(missing, &again("x")).await, Err(HistoryError::NotFound { id }) if id == missing)
    );
    assert_eq!(texts(&history.show_version(typo).await.unwrap()), ["q", "a", "typo", "more"]);
}

#[tokio::test]
async fn showing_a_version_brings_back_what_followed_it() {
    let world = World::new();
    let history = world.open().await;
    let id = world.id();
    let first = world.turn(&history, id, "q", "first").await;
    world.turn(&history, id, "follow-up", "more").await;
    let second = world.id();
    history.begin_version(id, first, second).await.unwrap();
    history.finish(second, &complete("second")).await.unwrap();

    let shown = history.show_version(first).await.unwrap();
    assert_eq!(texts(&shown), ["q", "first", "follow-up", "more"]);
    let shown = history.show_version(second).await.unwrap();
    assert_eq!(texts(&shown), ["q", "second"]);
    drop(history);
    assert_eq!(texts(&world.open().await.conversation(id).await.unwrap()), ["q", "second"]);
}

#[tokio::test]
async fn only_an_answer_can_be_regenerated() {
    let world = World::new();
    let history = world.open().await;
    let id = world.id();
    let asked = world.ask(&history, id, "q").await.unwrap();
    let question = asked.messages[0].id;
    assert_eq!(asked.messages[0].role, Role::User);
    let refused = history.begin_version(id, question, world.id()).await;
    assert!(matches!(refused, Err(HistoryError::NotAnAnswer { id }) if id == question));
    let unknown = history.begin_version(id, world.id(), world.id()).await;
    assert!(matches!(unknown, Err(HistoryError::NotFound { .. })));
    let elsewhere = history.begin_version(world.id(), last(&asked), world.id()).await;
    assert!(matches!(elsewhere, Err(HistoryError::NotFound { .. })), "an answer of another conversation");
}

#[tokio::test]
async fn an_ended_answer_takes_no_more_text() {
    let world = World::new();
    let history = world.open().await;
    let answer = world.turn(&history, world.id(), "q", "a").await;
    assert!(matches!(history.checkpoint(answer, "x", "").await, Err(HistoryError::NotStreaming { .. })));
    assert!(matches!(history.finish(answer, &complete("x")).await, Err(HistoryError::NotStreaming { .. })));
}

#[tokio::test]
async fn the_next_turn_ends_an_answer_that_could_not_be_finished() {
    let world = World::new();
    let history = world.open().await;
    let id = world.id();
    let asked = world.ask(&history, id, "q").await.unwrap();
    history.checkpoint(last(&asked), "half", "").await.unwrap();
    let next = world.ask(&history, id, "q2").await.unwrap();
    assert_eq!(next.messages[1].status, Status::Interrupted);
    assert_eq!(next.messages[1].text, "half");
}

#[tokio::test]
async fn the_list_is_newest_first_and_a_turn_moves_its_conversation_up() {
    let world = World::new();
    let history = world.open().await;
    let (old, new) = (world.id(), world.id());
    world.turn(&history, old, "old", "a").await;
    world.advance(1000);
    world.turn(&history, new, "new", "a").await;
    let titles = |list: Vec<chimera_history::ConversationSummary>| {
        list.into_iter().map(|summary| summary.title).collect::<Vec<_>>()
    };
    assert_eq!(titles(history.conversations().await.unwrap()), ["new", "old"]);
    world.advance(1000);
    world.turn(&history, old, "again", "a").await;
    assert_eq!(titles(history.conversations().await.unwrap()), ["old", "new"]);
}

#[tokio::test]
async fn a_conversation_is_renamed_and_an_empty_name_brings_back_the_derived_one() {
    let world = World::new();
    let history = world.open().await;
    let id = world.id();
    world.turn(&history, id, "पहला सवाल", "a").await;
    assert_eq!(history.rename(id, "  My\nname ").await.unwrap().title, "My name");
    assert_eq!(history.rename(id, "   ").await.unwrap().title, "पहला सवाल");
    assert!(matches!(history.rename(world.id(), "x").await, Err(HistoryError::NotFound { .. })));
}

#[tokio::test]
async fn settings_are_kept() {
    let world = World::new();
    let history = world.open().await;
    assert_eq!(history.setting("theme").await.unwrap(), None);
    history.put_settings(&[("theme", "dark"), ("language", "hi")]).await.unwrap();
    history.put_settings(&[("theme", "light")]).await.unwrap();
    drop(history);
    let history = world.open().await;
    assert_eq!(history.setting("theme").await.unwrap().as_deref(), Some("light"));
    assert_eq!(history.setting("language").await.unwrap().as_deref(), Some("hi"));
}

#[tokio::test]
async fn a_second_instance_is_told_that_the_history_is_locked() {
    let world = World::new();
    let history = world.open().await;
    assert!(matches!(world.try_open().await, Err(HistoryError::Locked { path }) if path == world.db()));
    drop(history);
    world.open().await;
}

#[cfg(unix)]
#[tokio::test]
async fn other_accounts_cannot_read_the_directory() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    world.open().await;
    assert_eq!(std::fs::metadata(world.dir()).unwrap().permissions().mode() & 0o777, 0o700);
}
