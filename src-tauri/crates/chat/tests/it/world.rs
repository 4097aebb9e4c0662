//! A service over a scripted engine in a directory of its own, and a window that records what it is told.
use crate::scripted::{Asked, Factory, Load, Step};
use chimera_chat::wire::{ChatEvent, Conversation, ErrorCode, Message, SendAccepted, SendRequest, WireError};
use chimera_chat::{ChatConfig, ChatService, EventSink, Pace};
use chimera_engine::FinishReason;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc as channel;
use uuid::Uuid;

/// Long enough for any loaded machine; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    pub dir: TempDir,
    pub service: ChatService,
    pub steps: mpsc::Sender<Step>,
    pub asked: Asked,
    next: AtomicU64,
}

pub struct Setup {
    pub load: Load,
    pub context_length: usize,
    pub max_pages: Option<u32>,
    pub pace: Pace,
    pub dir: TempDir,
}

impl Default for Setup {
    fn default() -> Self {
        let pace = Pace { events: Duration::from_millis(1), checkpoint: Duration::from_millis(5) };
        Self { load: Load::Now, context_length: 4096, max_pages: None, pace, dir: TempDir::new().unwrap() }
    }
}

impl Setup {
    /// Does not wait for the model.
    pub async fn start(self) -> World {
        let (steps, receiver) = mpsc::channel();
        let asked = Asked::default();
        let context_length = self.context_length;
        let engine =
            Factory { load: self.load, steps: Some(receiver), asked: Arc::clone(&asked), context_length };
        let (now, ids) = (AtomicI64::new(1_795_605_753_000), AtomicU64::new(1 << 32));
        let config = ChatConfig {
            clock: Arc::new(move || now.fetch_add(1, Ordering::SeqCst)),
            ids: Arc::new(move || Uuid::from_u128(ids.fetch_add(1, Ordering::SeqCst).into())),
            pace: self.pace,
            max_pages: self.max_pages,
            ..ChatConfig::new("0.1.0", self.dir.path(), Box::new(engine))
        };
        let service = ChatService::start(config).await;
        World { dir: self.dir, service, steps, asked, next: AtomicU64::new(1) }
    }
}

impl World {
    pub async fn new() -> Self {
        let world = Setup::default().start().await;
        world.service.model_loaded().await;
        world
    }

    pub fn id(&self) -> String {
        Uuid::from_u128(self.next.fetch_add(1, Ordering::SeqCst).into()).to_string()
    }

    pub fn step(&self, steps: impl IntoIterator<Item = Step>) {
        steps.into_iter().for_each(|step| self.steps.send(step).unwrap());
    }

    pub async fn send(&self, conversation: &str, text: &str) -> Result<(SendAccepted, Window), WireError> {
        let (window, sink) = Window::new();
        let request =
            SendRequest { conversation_id: conversation.into(), message_id: self.id(), text: text.into() };
        self.service.send(request, sink).await.map(|accepted| (accepted, window))
    }

    /// A whole turn; returns the answer.
    pub async fn turn(&self, conversation: &str, text: &str, answer: &'static str) -> Message {
        self.step([Step::Text(answer), Step::End(FinishReason::Stop)]);
        let (_, mut window) = self.send(conversation, text).await.unwrap();
        window.finished().await
    }

    pub async fn refused(&self, conversation: &str, text: &str) -> WireError {
        self.send(conversation, text).await.map(drop).unwrap_err()
    }
}

/// The events of one turn.
pub struct Window {
    events: channel::UnboundedReceiver<ChatEvent>,
    pub seen: Vec<ChatEvent>,
}

impl Window {
    pub fn new() -> (Self, EventSink) {
        let (sender, events) = channel::unbounded_channel();
        (Self { events, seen: Vec::new() }, Box::new(move |event| drop(sender.send(event))))
    }

    /// The next event; `None` when the turn's last was seen.
    pub async fn next(&mut self) -> Option<ChatEvent> {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event in time")?;
        self.seen.push(event.clone());
        Some(event)
    }

    /// Waits until the text so far is `wanted`.
    pub async fn until_text(&mut self, wanted: &str) {
        while self.text() != wanted {
            self.next().await.expect("the turn goes on");
        }
    }

    /// Reads to the end, which must be `Finished`.
    pub async fn finished(&mut self) -> Message {
        match self.last().await {
            ChatEvent::Finished { message, .. } => message,
            other => panic!("not finished but {other:?}"),
        }
    }

    /// Reads to the end, which must be `Failed`.
    pub async fn failed(&mut self) -> (WireError, Option<Message>) {
        match self.last().await {
            ChatEvent::Failed { error, message } => (error, message),
            other => panic!("not failed but {other:?}"),
        }
    }

    async fn last(&mut self) -> ChatEvent {
        while self.next().await.is_some() {}
        let ends =
            |event: &&ChatEvent| matches!(event, ChatEvent::Finished { .. } | ChatEvent::Failed { .. });
        assert_eq!(self.seen.iter().filter(ends).count(), 1, "one end");
        self.seen.last().unwrap().clone()
    }

    pub fn text(&self) -> String {
        let delta = |event: &ChatEvent| match event {
            ChatEvent::Delta { text } => Some(text.clone()),
            _ => None,
        };
        self.seen.iter().filter_map(delta).collect()
    }

    pub fn thinking(&self) -> String {
        let part = |event: &ChatEvent| match event {
            ChatEvent::Thinking { text } => Some(text.clone()),
            _ => None,
        };
        self.seen.iter().filter_map(part).collect()
    }

    pub fn dropped_turns(&self) -> Option<u32> {
        let dropped = |event: &ChatEvent| match event {
            ChatEvent::Prefill { dropped_turns, .. } => Some(*dropped_turns),
            _ => None,
        };
        self.seen.iter().find_map(dropped)
    }
}

pub fn texts(conversation: &Conversation) -> Vec<&str> {
    conversation.messages.iter().map(|message| message.text.as_str()).collect()
}

pub fn fact<'a>(error: &'a WireError, code: ErrorCode, key: &str) -> &'a str {
    assert_eq!(error.code, code, "{error:?}");
    &error.details[key]
}
