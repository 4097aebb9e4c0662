//! A history in a directory of its own, a clock that the test moves, and ids that count up.
use chimera_history::{Conversation, Ending, History, HistoryError, OpenOptions, Opened, Outcome, UserTurn};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use tempfile::TempDir;
use uuid::Uuid;

pub const DAY: i64 = 86_400_000;
/// 2026-11-25T11:22:33Z
pub const START: i64 = 1_795_605_753_000;

pub struct World {
    dir: TempDir,
    now: Arc<AtomicI64>,
    next: AtomicU64,
}

impl World {
    pub fn new() -> Self {
        let now = Arc::new(AtomicI64::new(START));
        Self { dir: TempDir::new().unwrap(), now, next: AtomicU64::new(1) }
    }

    pub fn dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn db(&self) -> PathBuf {
        self.dir().join("history.db")
    }

    pub fn advance(&self, ms: i64) {
        self.now.fetch_add(ms, Ordering::SeqCst);
    }

    pub fn id(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.next.fetch_add(1, Ordering::SeqCst)))
    }

    pub async fn try_open_with(&self, options: OpenOptions) -> Result<Opened, HistoryError> {
        let now = Arc::clone(&self.now);
        History::open(options, Arc::new(move || now.load(Ordering::SeqCst))).await
    }

    pub async fn try_open(&self) -> Result<Opened, HistoryError> {
        self.try_open_with(OpenOptions::new(self.dir())).await
    }

    pub async fn open(&self) -> History {
        let opened = self.try_open().await.unwrap();
        assert_eq!(opened.recovered, None);
        opened.history
    }

    /// A message in `conversation`, not answered yet.
    pub async fn ask(
        &self,
        history: &History,
        conversation: Uuid,
        text: &str,
    ) -> Result<Conversation, HistoryError> {
        let turn = UserTurn { conversation, user: self.id(), text: text.into(), assistant: self.id() };
        history.begin_turn(&turn).await
    }

    /// A whole turn.
    pub async fn turn(&self, history: &History, conversation: Uuid, text: &str, answer: &str) -> Uuid {
        let asked = self.ask(history, conversation, text).await.unwrap();
        let id = last(&asked);
        history.finish(id, &complete(answer)).await.unwrap();
        id
    }
}

pub fn last(conversation: &Conversation) -> Uuid {
    conversation.messages.last().unwrap().id
}

pub fn complete(text: &str) -> Outcome {
    Outcome { ending: Ending::Complete, text: text.into(), thinking: String::new(), stats: None }
}

pub fn texts(conversation: &Conversation) -> Vec<&str> {
    conversation.messages.iter().map(|message| message.text.as_str()).collect()
}

pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
