//! Sending, stopping, versions, what the model is given.
use crate::scripted::{Load, Step};
use crate::world::{PATIENCE, Setup, Window, World, fact, texts};
use chimera_chat::wire::{ErrorCode, MessageStatus, ModelStatus, RegenerateRequest, Settings, WireRole};
use chimera_engine::FinishReason;
use std::sync::mpsc;

#[tokio::test]
async fn a_message_is_stored_when_it_is_accepted_and_its_answer_when_it_is_finished() {
    let world = World::new().await;
    let id = world.id();
    let (accepted, mut window) = world.send(&id, "  नमस्ते \n").await.unwrap();
    assert_eq!(accepted.user.unwrap().text, "नमस्ते");
    assert_eq!(accepted.assistant.status, MessageStatus::Streaming);
    assert_eq!(texts(&world.service.conversation(&id).await.unwrap()), ["नमस्ते", ""]);

    world.step([Step::Thinking("hm"), Step::Text("नम"), Step::Text("स्ते!"), Step::End(FinishReason::Stop)]);
    let message = window.finished().await;
    assert_eq!((message.text.as_str(), message.thinking.as_str()), ("नमस्ते!", "hm"));
    assert_eq!(message.status, MessageStatus::Complete);
    assert_eq!(message.id, accepted.assistant.id);
    assert_eq!(message.stats.as_ref().unwrap().completion_tokens, 2);
    assert_eq!(message.stats.as_ref().unwrap().model, "scripted");
    assert_eq!(world.service.conversation(&id).await.unwrap().messages[1], message);
}

#[tokio::test]
async fn the_model_sees_the_earlier_turns_and_no_system_prompt() {
    let world = World::new().await;
    let id = world.id();
    world.turn(&id, "one", "two").await;
    world.turn(&id, "three", "four").await;
    assert_eq!(*world.asked.lock().unwrap(), ["u:one|a:", "u:one|a:two|u:three|a:"]);
}

#[tokio::test]
async fn control_token_text_is_passed_on_as_it_was_typed() {
    let world = World::new().await;
    let id = world.id();
    world.turn(&id, "<|im_end|><think>", "ok").await;
    assert_eq!(*world.asked.lock().unwrap(), ["u:<|im_end|><think>|a:"]);
}

#[tokio::test]
async fn stopping_keeps_the_partial_answer() {
    let world = World::new().await;
    let id = world.id();
    let (_, mut window) = world.send(&id, "q").await.unwrap();
    world.step([Step::Text("half")]);
    window.until_text("half").await;
    world.service.stop(&id).unwrap();
    let message = window.finished().await;
    assert_eq!((message.text.as_str(), message.status), ("half", MessageStatus::Stopped));
    world.turn(&id, "next", "ok").await;
}

#[tokio::test]
async fn stopping_where_nothing_runs_is_fine() {
    let world = World::new().await;
    world.service.stop(&world.id()).unwrap();
    assert_eq!(fact(&world.service.stop("x").unwrap_err(), ErrorCode::InvalidId, "id"), "x");
}

#[tokio::test]
async fn a_turn_that_waits_behind_another_can_be_stopped() {
    let world = World::new().await;
    let (running, waiting) = (world.id(), world.id());
    let (_, mut first) = world.send(&running, "q").await.unwrap();
    world.step([Step::Text("a")]);
    first.until_text("a").await;
    let (_, mut second) = world.send(&waiting, "q").await.unwrap();
    world.service.stop(&waiting).unwrap();
    world.step([Step::End(FinishReason::Stop)]);
    assert_eq!(second.finished().await.status, MessageStatus::Stopped);
    assert_eq!(first.finished().await.status, MessageStatus::Complete);
    assert_eq!(world.asked.lock().unwrap().len(), 1, "the stopped turn never reached the engine");
}

#[tokio::test]
async fn a_second_message_while_an_answer_is_written_is_busy_and_not_stored() {
    let world = World::new().await;
    let id = world.id();
    let (accepted, mut window) = world.send(&id, "q").await.unwrap();
    let refused = world.refused(&id, "too soon").await;
    assert_eq!(fact(&refused, ErrorCode::Busy, "conversation_id"), id);
    let request = RegenerateRequest { conversation_id: id.clone(), message_id: accepted.assistant.id };
    let refused = world.service.regenerate(request, Window::new().1).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Busy);
    world.step([Step::Text("a"), Step::End(FinishReason::Stop)]);
    window.finished().await;
    assert_eq!(texts(&world.service.conversation(&id).await.unwrap()), ["q", "a"]);
}

#[tokio::test]
async fn regenerating_makes_a_version_and_versions_can_be_chosen() {
    let world = World::new().await;
    let id = world.id();
    let first = world.turn(&id, "q", "first").await;
    let (mut window, sink) = Window::new();
    world.step([Step::Text("second"), Step::End(FinishReason::Stop)]);
    let request = RegenerateRequest { conversation_id: id.clone(), message_id: first.id.clone() };
    let accepted = world.service.regenerate(request, sink).await.unwrap();
    assert_eq!(accepted.user, None);
    assert_eq!((accepted.assistant.version, accepted.assistant.versions.len()), (1, 2));
    let second = window.finished().await;
    assert_eq!(world.asked.lock().unwrap()[1], "u:q|a:", "the first version is not part of the question");

    let shown = world.service.show_version(&first.id).await.unwrap();
    assert_eq!(texts(&shown), ["q", "first"]);
    assert_eq!(shown.messages[1].versions, [first.id, second.id]);
}

#[tokio::test]
async fn only_an_answer_of_that_conversation_is_regenerated() {
    let world = World::new().await;
    let id = world.id();
    let answer = world.turn(&id, "q", "a").await;
    let question = world.service.conversation(&id).await.unwrap().messages[0].clone();
    assert_eq!(question.role, WireRole::User);
    for (conversation_id, message_id) in [(id.clone(), question.id), (world.id(), answer.id)] {
        let request = RegenerateRequest { conversation_id, message_id: message_id.clone() };
        let refused = world.service.regenerate(request, Window::new().1).await.unwrap_err();
        assert_eq!(fact(&refused, ErrorCode::NotFound, "id"), message_id);
    }
}

#[tokio::test]
async fn deleting_stops_the_answer_that_is_being_written() {
    let world = World::new().await;
    let id = world.id();
    let (_, mut window) = world.send(&id, "q").await.unwrap();
    tokio::time::timeout(PATIENCE, world.service.delete(&id)).await.unwrap().unwrap();
    assert_eq!(window.finished().await.status, MessageStatus::Stopped);
    assert!(world.service.conversations().await.unwrap().is_empty());
    assert_eq!(world.service.conversation(&id).await.unwrap_err().code, ErrorCode::NotFound);
}

#[tokio::test]
async fn bad_input_is_refused_with_its_facts_and_nothing_is_stored() {
    let world = World::new().await;
    let id = world.id();
    assert_eq!(world.refused(&id, " \n ").await.code, ErrorCode::EmptyMessage);
    assert_eq!(fact(&world.refused(&id, "a\0b").await, ErrorCode::InvalidText, "at"), "1");
    let long = world.refused(&id, &"क".repeat(100_001)).await;
    assert_eq!(fact(&long, ErrorCode::MessageTooLong, "characters"), "100001");
    assert_eq!(fact(&world.refused("not an id", "q").await, ErrorCode::InvalidId, "id"), "not an id");
    assert!(world.service.conversations().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_message_that_never_fits_the_context_is_refused_before_it_is_stored() {
    let world = World::new().await;
    let id = world.id();
    let refused = world.refused(&id, &"क".repeat(100_000)).await;
    assert_eq!(fact(&refused, ErrorCode::MessageTooLong, "tokens"), "100005");
    assert_eq!(fact(&refused, ErrorCode::MessageTooLong, "token_limit"), "3584");
    assert!(world.service.conversations().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_message_sent_while_the_model_loads_is_kept_and_answered_afterwards() {
    let (gate, load) = mpsc::channel();
    let world = Setup { load: Load::At(load), ..Setup::default() }.start().await;
    assert_eq!(world.service.status().model, ModelStatus::Loading);
    let id = world.id();
    let (_, mut window) = world.send(&id, "early").await.unwrap();
    assert_eq!(texts(&world.service.conversation(&id).await.unwrap()), ["early", ""]);
    gate.send(()).unwrap();
    world.step([Step::Text("answer"), Step::End(FinishReason::Stop)]);
    assert_eq!(window.finished().await.text, "answer");
}

#[tokio::test]
async fn a_message_too_long_for_a_model_that_was_still_loading_stays_in_the_history() {
    let (gate, load) = mpsc::channel();
    let world = Setup { load: Load::At(load), ..Setup::default() }.start().await;
    let id = world.id();
    let (_, mut window) = world.send(&id, &"x".repeat(5000)).await.unwrap();
    gate.send(()).unwrap();
    let (error, message) = window.failed().await;
    assert_eq!(fact(&error, ErrorCode::MessageTooLong, "tokens"), "5005");
    assert_eq!(message.unwrap().status, MessageStatus::Failed);
    assert_eq!(world.service.conversation(&id).await.unwrap().messages[0].text.len(), 5000);
    world.turn(&id, "short", "works").await;
    assert_eq!(*world.asked.lock().unwrap(), ["u:short|a:"], "the unanswered text is not sent again");
}

#[tokio::test]
async fn the_oldest_turns_are_dropped_when_the_context_is_full_and_the_window_is_told() {
    let world = Setup { context_length: 80, ..Setup::default() }.start().await;
    world.service.model_loaded().await;
    let id = world.id();
    world.turn(&id, "first question", "first answer").await;
    world.step([Step::Text("ok"), Step::End(FinishReason::Stop)]);
    let (_, mut window) = world.send(&id, "second question").await.unwrap();
    window.finished().await;
    assert_eq!(window.dropped_turns(), Some(1));
    assert_eq!(world.asked.lock().unwrap()[1], "u:second question|a:");
    assert_eq!(
        world.service.conversation(&id).await.unwrap().messages.len(),
        4,
        "dropped from the prompt only"
    );
}

#[tokio::test]
async fn settings_come_back_and_unknown_values_mean_system() {
    let world = World::new().await;
    let defaults = world.service.settings().await.unwrap();
    assert_eq!(defaults, Settings { language: "system".into(), theme: "system".into() });
    let wanted = Settings { language: "hi".into(), theme: "purple".into() };
    let stored = world.service.set_settings(wanted).await.unwrap();
    assert_eq!(stored, Settings { language: "hi".into(), theme: "system".into() });
    assert_eq!(world.service.settings().await.unwrap(), stored);
}
