//! What was read once is not read again: the service with the real engine, a tiny model and its states on disk.
use crate::store::{other_model, tiny};
use crate::world::{Window, texts};
use chimera_chat::locate::Places;
use chimera_chat::wire::{Conversation, Message, RegenerateRequest, SendRequest};
use chimera_chat::{ChatConfig, ChatService, LocalEngine};
use chimera_engine::{GenerateOptions, LoadOptions, Sampling};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;
use uuid::Uuid;

/// Longer than what is not worth a snapshot.
const QUESTION: &str = "What is a rainbow, and when does it appear in the sky?";
/// Tokens that a message of the person takes at most here, with what stands around it.
const ONE_TURN: u32 = 70;

/// A service, closed in the end as the window closes it.
struct Start {
    service: ChatService,
    next: AtomicU64,
}

impl Start {
    /// `first_id` keeps the ids of one start apart from those of another.
    async fn new(data_dir: &Path, model: &Path, first_id: u64) -> Self {
        Self::with_answers_of(8, data_dir, model, first_id).await
    }

    async fn with_answers_of(max_tokens: usize, data_dir: &Path, model: &Path, first_id: u64) -> Self {
        let engine = LocalEngine {
            places: Places { explicit: Some(model.to_owned()), ..Places::default() },
            options: LoadOptions { threads: 1, ..LoadOptions::default() },
        };
        let ids = AtomicU64::new(first_id);
        // Nearly certain tokens only: an answer of a random model that goes on.
        let sampling = Sampling { temperature: 0.6, ..Sampling::default() };
        let config = ChatConfig {
            clock: Arc::new(|| 1_795_605_753_000),
            ids: Arc::new(move || Uuid::from_u128(ids.fetch_add(1, Ordering::SeqCst).into())),
            generate: GenerateOptions { sampling, max_tokens, ..GenerateOptions::default() },
            ..ChatConfig::new("0.1.0", data_dir, Box::new(engine))
        };
        let service = ChatService::start(config).await;
        service.model_loaded().await;
        Self { service, next: AtomicU64::new((1 << 40) + first_id) }
    }

    fn request(&self, conversation: Uuid, text: &str) -> SendRequest {
        let message_id = Uuid::from_u128(self.next.fetch_add(1, Ordering::SeqCst).into()).to_string();
        SendRequest { conversation_id: conversation.to_string(), message_id, text: text.into() }
    }

    async fn turn(&self, conversation: Uuid, text: &str) -> Message {
        let (mut window, sink) = Window::new();
        self.service.send(self.request(conversation, text), sink).await.unwrap();
        window.finished().await
    }

    async fn edit(&self, conversation: Uuid, of: &str, text: &str) -> Message {
        let (mut window, sink) = Window::new();
        self.service.edit(of, self.request(conversation, text), sink).await.unwrap();
        window.finished().await
    }

    async fn regenerate(&self, conversation: Uuid, of: &str) -> Message {
        let (mut window, sink) = Window::new();
        let request = RegenerateRequest { conversation_id: conversation.to_string(), message_id: of.into() };
        self.service.regenerate(request, sink).await.unwrap();
        window.finished().await
    }

    async fn shown(&self, conversation: Uuid) -> Conversation {
        self.service.conversation(&conversation.to_string()).await.unwrap()
    }
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// (tokens of the prompt, of them reused)
fn read(message: &Message) -> (u32, u32) {
    let stats = message.stats.as_ref().unwrap();
    (stats.prompt_tokens, stats.reused_tokens)
}

/// Everything but the newest turn was known.
fn assert_only_the_last_turn_was_read(message: &Message) {
    let (prompt, reused) = read(message);
    assert!(reused > 0 && prompt - reused <= ONE_TURN, "{reused} of {prompt}");
}

fn state_files(data_dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data_dir.join("snapshots")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "state")).collect()
}

async fn two_turns(data_dir: &Path, conversation: Uuid) -> Start {
    let start = Start::new(data_dir, &tiny(), 1).await;
    for text in [QUESTION, "And why is it bent? Tell me in one sentence."] {
        start.turn(conversation, text).await;
        start.service.settled().await;
    }
    start
}

/// Two turns, then closed.
async fn begun(data_dir: &Path, conversation: Uuid) {
    two_turns(data_dir, conversation).await.service.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn within_one_start_a_turn_reads_only_what_is_new() {
    let dir = TempDir::new().unwrap();
    let start = Start::new(dir.path(), &tiny(), 1).await;
    let first = start.turn(id(1), QUESTION).await;
    assert_eq!(read(&first).1, 0);
    start.service.settled().await;
    let other = start.turn(id(2), "Something else, in another conversation altogether, please.").await;
    start.service.settled().await;
    assert_only_the_last_turn_was_read(&start.turn(id(1), "And why is it bent?").await);
    start.service.settled().await;
    assert_only_the_last_turn_was_read(&start.turn(id(2), "And what follows from it?").await);
    assert_eq!(read(&start.regenerate(id(2), &other.id).await).0, read(&other).0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_encodes_to_other_tokens_than_were_sampled_is_read_ahead() {
    let dir = TempDir::new().unwrap();
    let start = Start::with_answers_of(80, dir.path(), &tiny(), 1).await;
    let first = start.turn(id(1), QUESTION).await;
    assert!(first.stats.unwrap().completion_tokens > ONE_TURN, "a random model goes on");
    start.service.settled().await;
    assert_only_the_last_turn_was_read(&start.turn(id(1), "And why is it bent?").await);
    // The state on disk is that of the text, too.
    start.service.settled().await;
    start.service.shutdown().await;
    let start = Start::with_answers_of(8, dir.path(), &tiny(), 100).await;
    assert_only_the_last_turn_was_read(&start.turn(id(1), "Is there a second one?").await);
}

const CHILD_DIR: &str = "CHIMERA_TEST_REOPEN_DIR";

/// The child's part of the next test: does nothing unless it was started with a directory.
#[tokio::test(flavor = "multi_thread")]
async fn child_takes_the_third_turn() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let start = Start::new(Path::new(&dir), &tiny(), 3).await;
    let third = start.turn(id(1), "Is there a second one?").await;
    assert_only_the_last_turn_was_read(&third);
    start.service.shutdown().await;
    println!("\nthird: {:?}", third.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_opened_in_a_new_process_goes_on_bit_for_bit() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    begun(one.path(), id(1)).await;
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "remembering::child_takes_the_third_turn", "--nocapture"])
        .env(CHILD_DIR, one.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let told = String::from_utf8(child.stdout).unwrap();

    // The same turns without a break; the third answer has the same id here and there, so the same seed.
    let start = two_turns(two.path(), id(1)).await;
    let third = start.turn(id(1), "Is there a second one?").await;
    assert!(told.contains(&format!("third: {:?}", third.text)), "{:?} is not in {told}", third.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_start_the_last_answer_is_regenerated_and_the_last_message_edited_without_reading_the_rest() {
    let dir = TempDir::new().unwrap();
    begun(dir.path(), id(1)).await;
    let start = Start::new(dir.path(), &tiny(), 100).await;
    let shown = start.shown(id(1)).await;
    let [_, _, question, answer] = shown.messages.as_slice() else { panic!("two turns") };
    assert_only_the_last_turn_was_read(&start.regenerate(id(1), &answer.id).await);
    start.service.shutdown().await;

    let start = Start::new(dir.path(), &tiny(), 200).await;
    assert_only_the_last_turn_was_read(&start.edit(id(1), &question.id, "Said in another way?").await);
    assert_eq!(texts(&start.shown(id(1)).await)[2], "Said in another way?");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_an_earlier_message_goes_on_from_the_turn_before_it() {
    let dir = TempDir::new().unwrap();
    let start = Start::new(dir.path(), &tiny(), 1).await;
    for text in [QUESTION, "The second message of the conversation.", "The third.", "The fourth."] {
        start.turn(id(1), text).await;
        start.service.settled().await;
    }
    let shown = start.shown(id(1)).await;
    assert_only_the_last_turn_was_read(&start.edit(id(1), &shown.messages[4].id, "Another third.").await);
    let first = start.edit(id(1), &shown.messages[0].id, QUESTION).await;
    assert_eq!(texts(&start.shown(id(1)).await).len(), 2);
    assert_eq!(read(&first).0, read(&first).1, "the same words: all of it is known");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_a_state_costs_time_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    begun(dir.path(), id(1)).await;
    let files = state_files(dir.path());
    assert_eq!(files.len(), 1);
    let mut bytes = std::fs::read(&files[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes.iter_mut().skip(middle).for_each(|byte| *byte ^= 0x5a);
    std::fs::write(&files[0], bytes).unwrap();
    let start = Start::new(dir.path(), &tiny(), 100).await;
    let third = start.turn(id(1), "Is there a second one?").await;
    assert_eq!(read(&third).1, 0);
    start.service.shutdown().await;
    let start = Start::new(dir.path(), &tiny(), 200).await;
    assert_only_the_last_turn_was_read(&start.turn(id(1), "And a third one?").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_reads_the_conversation_anew() {
    let dir = TempDir::new().unwrap();
    begun(dir.path(), id(1)).await;
    let other = other_model(dir.path());
    let start = Start::new(dir.path(), &other, 100).await;
    assert_eq!(read(&start.turn(id(1), "Is there a second one?").await).1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_conversation_deletes_its_state() {
    let dir = TempDir::new().unwrap();
    let start = Start::new(dir.path(), &tiny(), 1).await;
    start.turn(id(1), QUESTION).await;
    start.turn(id(2), QUESTION).await;
    start.service.settled().await;
    assert_eq!(state_files(dir.path()).len(), 2);
    start.service.delete(&id(1).to_string()).await.unwrap();
    start.service.settled().await;
    assert_eq!(state_files(dir.path()), [dir.path().join(format!("snapshots/{}.state", id(2)))]);
    // Deleted at once after the answer, while its state may be on its way to the disk.
    start.turn(id(3), QUESTION).await;
    start.service.delete(&id(3).to_string()).await.unwrap();
    start.service.settled().await;
    assert_eq!(state_files(dir.path()).len(), 1);
    let (prompt, reused) = read(&start.turn(id(4), QUESTION).await);
    assert_eq!((prompt > 0, reused), (true, 0), "nothing of a deleted conversation stays in memory");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_whose_conversation_is_gone_is_removed_at_the_start() {
    let dir = TempDir::new().unwrap();
    begun(dir.path(), id(1)).await;
    let orphan = dir.path().join(format!("snapshots/{}.state", id(9)));
    std::fs::copy(&state_files(dir.path())[0], &orphan).unwrap();
    let start = Start::new(dir.path(), &tiny(), 100).await;
    while orphan.exists() {
        tokio::task::yield_now().await;
    }
    assert_only_the_last_turn_was_read(&start.turn(id(1), "Is there a second one?").await);
}
