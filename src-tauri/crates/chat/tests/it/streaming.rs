//! How text reaches the window: gathered, in order, complete, and never at the engine's expense.
use crate::scripted::Step;
use crate::world::{PATIENCE, Setup, Window, World};
use chimera_chat::Pace;
use chimera_chat::wire::{ChatEvent, MessageStatus, SendRequest};
use chimera_engine::FinishReason;
use proptest::prelude::*;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const WORDS: [&str; 8] = ["नम", "स्ते ", "क्षि", "a", " b\n", "😀", "```\n", "ज़"];

#[test]
fn the_deltas_together_are_the_stored_text() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = runtime.block_on(World::new());
    let parts = prop::collection::vec((any::<bool>(), 0..WORDS.len()), 0..60);
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(parts in parts, finish in 0..2usize)| {
        let (mut text, mut thinking) = (String::new(), String::new());
        for (is_text, word) in parts {
            if is_text { text.push_str(WORDS[word]) } else { thinking.push_str(WORDS[word]) }
            world.step([if is_text { Step::Text(WORDS[word]) } else { Step::Thinking(WORDS[word]) }]);
        }
        world.step([Step::End([FinishReason::Stop, FinishReason::Length][finish])]);
        let id = world.id();
        let (window, stored) = runtime.block_on(async {
            let (_, mut window) = world.send(&id, "q").await.unwrap();
            window.finished().await;
            (window, world.service.conversation(&id).await.unwrap())
        });
        prop_assert_eq!(window.text(), text.clone());
        prop_assert_eq!(window.thinking(), thinking.clone());
        prop_assert_eq!(&stored.messages[1].text, &text);
        prop_assert_eq!(&stored.messages[1].thinking, &thinking);
        prop_assert_eq!(stored.messages[1].status, [MessageStatus::Complete, MessageStatus::Length][finish]);
    });
}

/// A window that hangs in its first event until it is let go.
#[derive(Default)]
struct Hang {
    free: Mutex<bool>,
    changed: Condvar,
}

impl Hang {
    fn wait(&self) {
        drop(self.changed.wait_while(self.free.lock().unwrap(), |free| !*free).unwrap());
    }

    fn release(&self) {
        *self.free.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

#[tokio::test]
async fn a_window_that_hangs_stalls_neither_the_engine_nor_the_disk_and_gets_everything_in_the_end() {
    let world = World::new().await;
    let id = world.id();
    let hang = Arc::new(Hang::default());
    let (mut window, record) = Window::new();
    let theirs = Arc::clone(&hang);
    let sink = Box::new(move |event: ChatEvent| {
        theirs.wait();
        record(event);
    });
    world.step((0..20_000).map(|_| Step::Text("शब्द ")).chain([Step::End(FinishReason::Stop)]));
    let request = SendRequest { conversation_id: id.clone(), message_id: world.id(), text: "q".into() };
    world.service.send(request, sink).await.unwrap();
    let stored = tokio::time::timeout(PATIENCE, async {
        loop {
            let stored = world.service.conversation(&id).await.unwrap().messages.pop().unwrap();
            if stored.status == MessageStatus::Complete {
                return stored;
            }
        }
    });
    let stored = stored.await.expect("the turn ends while the window hangs");
    assert_eq!(stored.text, "शब्द ".repeat(20_000));

    hang.release();
    window.finished().await;
    assert_eq!(window.text(), stored.text);
    assert!(window.seen.len() < 10, "20,000 pieces came in {} events", window.seen.len());
}

#[tokio::test]
async fn text_that_comes_faster_than_the_pace_is_gathered() {
    let pace = Pace { events: Duration::from_secs(3600), checkpoint: Duration::from_secs(3600) };
    let world = Setup { pace, ..Setup::default() }.start().await;
    world.service.model_loaded().await;
    world.step((0..1000).map(|_| Step::Text("x")).chain([Step::End(FinishReason::Stop)]));
    let (_, mut window) = world.send(&world.id(), "q").await.unwrap();
    window.finished().await;
    assert_eq!(window.text().len(), 1000);
    assert!(window.seen.len() <= 5, "first, gathered, last: {}", window.seen.len());
}

#[tokio::test]
async fn progress_comes_before_the_text() {
    let world = World::new().await;
    world.step([Step::Text("x"), Step::End(FinishReason::Stop)]);
    let (_, mut window) = world.send(&world.id(), "q").await.unwrap();
    window.finished().await;
    assert!(
        matches!(window.seen[0], ChatEvent::Prefill { total: 6, dropped_turns: 0, .. }),
        "{:?}",
        window.seen
    );
}

#[tokio::test]
async fn what_is_written_so_far_is_checkpointed() {
    let world = World::new().await;
    let id = world.id();
    let (_, mut window) = world.send(&id, "q").await.unwrap();
    world.step([Step::Thinking("th"), Step::Text("half")]);
    window.until_text("half").await;
    let on_disk = async {
        loop {
            let answer = world.service.conversation(&id).await.unwrap().messages.pop().unwrap();
            if answer.text == "half" && answer.thinking == "th" {
                return answer.status;
            }
        }
    };
    let status = tokio::time::timeout(PATIENCE, on_disk).await.expect("a checkpoint");
    assert_eq!(status, MessageStatus::Streaming);
}
