//! What the window may ask for: one method for each command.
use crate::active::{Active, Claim};
use crate::engine::EngineFactory;
use crate::errors::{self, ChatError};
use crate::outbox::Outbox;
use crate::prompt::{check_alone, prompt_limit};
use crate::snapshots::{self, SnapshotStore};
use crate::text::UserText;
use crate::turn::Turn;
use crate::wire::{
    AppStatus, ChatEvent, Conversation, ConversationSummary, ModelStatus, RegenerateRequest, SendAccepted,
    SendRequest, Settings, WireError, WireRole,
};
use crate::worker::{ModelState, Worker};
use crate::{convert, wire};
use chimera_engine::GenerateOptions;
use chimera_history::{self as history, Clock, History, OpenOptions, UserTurn};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// Called on a thread of its own for each turn; may be slow.
pub type EventSink = Box<dyn Fn(ChatEvent) + Send + Sync>;
pub type IdSource = Arc<dyn Fn() -> Uuid + Send + Sync>;

/// How often things are passed on while an answer is written.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two events to the window.
    pub events: Duration,
    /// Between two checkpoints on disk.
    pub checkpoint: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { events: Duration::from_millis(33), checkpoint: Duration::from_secs(1) }
    }
}

pub struct ChatConfig {
    /// The application's version, shown in the status.
    pub version: String,
    /// Conversations are kept in `history/` below it, the model's states of them in `snapshots/`.
    pub data_dir: PathBuf,
    pub engine: Box<dyn EngineFactory>,
    pub clock: Clock,
    pub ids: IdSource,
    pub pace: Pace,
    /// Upper bound of the history file, in pages; for tests of a full disk.
    pub max_pages: Option<u32>,
    /// Upper bound of all files in `snapshots/`, where the model's states are kept. 0: nothing is written there.
    pub snapshot_bytes: u64,
    /// The seed is set anew for each answer.
    pub generate: GenerateOptions,
}

impl ChatConfig {
    /// With the system's clock and random UUIDv7.
    pub fn new(
        version: impl Into<String>,
        data_dir: impl Into<PathBuf>,
        engine: Box<dyn EngineFactory>,
    ) -> Self {
        Self {
            version: version.into(),
            data_dir: data_dir.into(),
            engine,
            clock: Arc::new(system_time_ms),
            ids: Arc::new(Uuid::now_v7),
            pace: Pace::default(),
            max_pages: None,
            snapshot_bytes: snapshots::BUDGET,
            generate: GenerateOptions::default(),
        }
    }
}

fn system_time_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub struct ChatService {
    version: String,
    /// What `app_status` tells about the history, and why it is not there if it is not.
    history: Result<Arc<History>, WireError>,
    notice: Option<WireError>,
    /// `None` without a history, or when its thread could not be made.
    snapshots: Option<Arc<SnapshotStore>>,
    worker: Arc<Worker>,
    active: Arc<Active>,
    ids: IdSource,
    pace: Pace,
    generate: GenerateOptions,
}

impl ChatService {
    /// Never fails: what could not be opened or loaded is told by [`ChatService::status`] and by every request that
    /// needs it. The model loads in the background.
    pub async fn start(config: ChatConfig) -> Self {
        let worker = Worker::start(config.engine).unwrap_or_else(|error| Worker::failed(&error));
        let options =
            OpenOptions { max_pages: config.max_pages, ..OpenOptions::new(config.data_dir.join("history")) };
        let (history, notice) = match History::open(options, config.clock).await {
            Ok(opened) => (Ok(Arc::new(opened.history)), opened.recovered.as_ref().map(errors::recovered)),
            Err(error) => (Err(errors::history(&error)), Some(errors::history(&error))),
        };
        let mut snapshots = None;
        if let Ok(history) = &history {
            snapshots = open_snapshots(config.data_dir.join("snapshots"), config.snapshot_bytes);
            snapshots.iter().for_each(|store| worker.attach(Arc::clone(store)));
            tokio::spawn(tidy(Arc::clone(history), snapshots.clone()));
        }
        Self {
            version: config.version,
            history,
            notice,
            snapshots,
            worker: Arc::new(worker),
            active: Arc::default(),
            ids: config.ids,
            pace: config.pace,
            generate: config.generate,
        }
    }

    pub fn status(&self) -> AppStatus {
        let model = self.worker.state.borrow().to_wire();
        AppStatus { version: self.version.clone(), model, notice: self.notice.clone() }
    }

    /// Returns when the model is ready or has failed.
    pub async fn model_loaded(&self) -> ModelStatus {
        let mut state = self.worker.state.clone();
        let loaded = state.wait_for(|state| !matches!(state, ModelState::Loading)).await;
        loaded.map_or(ModelStatus::Loading, |state| state.to_wire())
    }

    pub async fn conversations(&self) -> Result<Vec<ConversationSummary>, WireError> {
        let list = self.history()?.conversations().await.map_err(stored)?;
        Ok(list.iter().map(convert::summary).collect())
    }

    pub async fn conversation(&self, id: &str) -> Result<Conversation, WireError> {
        let conversation = self.history()?.conversation(parse_id(id)?).await.map_err(stored)?;
        Ok(convert::conversation(&conversation))
    }

    /// An empty title brings back the one made from the first message.
    pub async fn rename(&self, id: &str, title: &str) -> Result<ConversationSummary, WireError> {
        let summary = self.history()?.rename(parse_id(id)?, title).await.map_err(stored)?;
        Ok(convert::summary(&summary))
    }

    /// Stops the answer that is being written there, then erases.
    pub async fn delete(&self, id: &str) -> Result<(), WireError> {
        let id = parse_id(id)?;
        self.active.cancel(id);
        self.active.until_free(id).await;
        let history = self.history()?;
        if let Some(store) = self.snapshots.clone() {
            let removed = tokio::task::spawn_blocking(move || store.remove(id)).await;
            removed.map_err(|panic| ChatError::Panicked { reason: panic.to_string() })?;
        }
        self.worker.forget();
        history.delete(id).await.map_err(stored)
    }

    /// Durable when it returns; what follows comes through `events`, the last one being `Finished` or `Failed`.
    pub async fn send(&self, request: SendRequest, events: EventSink) -> Result<SendAccepted, WireError> {
        self.say(None, request, events).await
    }

    async fn say(
        &self,
        in_place_of: Option<Uuid>,
        request: SendRequest,
        events: EventSink,
    ) -> Result<SendAccepted, WireError> {
        let text = UserText::parse(&request.text).map_err(ChatError::from)?.into_string();
        let conversation = parse_id(&request.conversation_id)?;
        let user = parse_id(&request.message_id)?;
        let history = self.history()?;
        let claim = self.claim(conversation)?;
        self.check_model(Some(&text)).await?;
        let outbox = self.outbox(events)?;
        let turn = UserTurn { conversation, user, text, assistant: (self.ids)() };
        let begun = match in_place_of {
            Some(of) => history.begin_edit(of, &turn).await,
            None => history.begin_turn(&turn).await,
        };
        let begun = begun.map_err(|error| outbox.discard(stored(error)))?;
        self.run(history, begun, claim, outbox)
    }

    /// The person's message `of`, said otherwise: a new branch, answered as [`ChatService::send`] does. What was said
    /// before it is not read again.
    pub async fn edit(
        &self,
        of: &str,
        request: SendRequest,
        events: EventSink,
    ) -> Result<SendAccepted, WireError> {
        self.say(Some(parse_id(of)?), request, events).await
    }

    /// Answers again; the new version is shown.
    pub async fn regenerate(
        &self,
        request: RegenerateRequest,
        events: EventSink,
    ) -> Result<SendAccepted, WireError> {
        let conversation = parse_id(&request.conversation_id)?;
        let of = parse_id(&request.message_id)?;
        let history = self.history()?;
        let claim = self.claim(conversation)?;
        self.check_model(None).await?;
        let outbox = self.outbox(events)?;
        let begun = history.begin_version(conversation, of, (self.ids)()).await;
        let begun = begun.map_err(|error| outbox.discard(stored(error)))?;
        let accepted = self.run(history, begun, claim, outbox)?;
        Ok(SendAccepted { user: None, ..accepted })
    }

    /// Keeps what was written so far; without an answer in progress there is nothing to do.
    pub fn stop(&self, conversation_id: &str) -> Result<(), WireError> {
        self.active.cancel(parse_id(conversation_id)?);
        Ok(())
    }

    /// Makes that version of an answer the shown one, with what followed it.
    pub async fn show_version(&self, message_id: &str) -> Result<Conversation, WireError> {
        let conversation = self.history()?.show_version(parse_id(message_id)?).await.map_err(stored)?;
        Ok(convert::conversation(&conversation))
    }

    /// The defaults when there is no history to read them from: the window must be able to show why.
    pub async fn settings(&self) -> Result<Settings, WireError> {
        let Ok(history) = self.history() else { return Ok(Settings::default()) };
        let language = history.setting("language").await.map_err(stored)?.unwrap_or_default();
        let theme = history.setting("theme").await.map_err(stored)?.unwrap_or_default();
        Ok(Settings { language, theme }.known())
    }

    pub async fn set_settings(&self, settings: Settings) -> Result<Settings, WireError> {
        let settings = settings.known();
        let pairs = [("language", settings.language.as_str()), ("theme", settings.theme.as_str())];
        self.history()?.put_settings(&pairs).await.map_err(stored)?;
        Ok(settings)
    }

    /// Stops what runs, keeps what was written, closes the history.
    pub async fn shutdown(&self) {
        self.active.cancel_all();
        self.active.until_idle().await;
        self.worker.hurry();
        if let Ok(history) = &self.history {
            history.close().await;
        }
        self.settled().await;
    }

    /// Returns when the states of what was said so far are on disk.
    pub async fn settled(&self) {
        self.worker.idle().await;
        if let Some(store) = self.snapshots.clone() {
            drop(tokio::task::spawn_blocking(move || store.flush()).await);
        }
    }

    fn history(&self) -> Result<Arc<History>, WireError> {
        self.history.clone()
    }

    fn claim(&self, conversation: Uuid) -> Result<Claim, WireError> {
        self.active.claim(conversation).ok_or_else(|| ChatError::Busy { conversation }.into())
    }

    /// A model that failed to load refuses; one that is loading lets the message in (it is answered once loaded); a
    /// ready one refuses what it could never answer, before anything is stored.
    async fn check_model(&self, text: Option<&str>) -> Result<(), WireError> {
        let state = self.worker.state.borrow().clone();
        let (loaded, text) = match (state, text) {
            (ModelState::Failed(error), _) => return Err(error),
            (ModelState::Ready(loaded), Some(text)) => (loaded, text.to_owned()),
            (ModelState::Loading, _) | (ModelState::Ready(_), None) => return Ok(()),
        };
        let GenerateOptions { think, max_tokens, .. } = self.generate;
        let limit = prompt_limit(loaded.info.context_length, max_tokens);
        let check = move || check_alone(&*loaded.tokens, &text, think, limit);
        match tokio::task::spawn_blocking(check).await {
            Ok(checked) => Ok(checked.map_err(ChatError::from)?),
            Err(panic) => Err(ChatError::Panicked { reason: panic.to_string() }.into()),
        }
    }

    fn outbox(&self, events: EventSink) -> Result<Arc<Outbox>, WireError> {
        Ok(Outbox::open(events, self.pace.events).map_err(ChatError::Thread)?)
    }

    fn run(
        &self,
        history: Arc<History>,
        begun: history::Conversation,
        claim: Claim,
        outbox: Arc<Outbox>,
    ) -> Result<SendAccepted, WireError> {
        let accepted = accepted(&begun)?;
        let mut options = self.generate.clone();
        options.sampling.seed = begun.messages.last().map_or(0, |answer| seed(answer.id));
        let turn = Turn {
            history,
            worker: Arc::clone(&self.worker),
            begun,
            options,
            outbox,
            claim,
            pace: self.pace,
        };
        tokio::spawn(turn.run());
        Ok(accepted)
    }
}

/// Without the store conversations are read again after each start, no more.
fn open_snapshots(dir: PathBuf, budget: u64) -> Option<Arc<SnapshotStore>> {
    let opened = SnapshotStore::open(dir, budget);
    opened.inspect_err(|error| tracing::warn!(%error, "snapshots are not kept")).ok()
}

/// At the start: a backup if one is due (else tried again after each turn), and no file of a conversation that is gone.
async fn tidy(history: Arc<History>, snapshots: Option<Arc<SnapshotStore>>) {
    drop(history.backup_if_due().await);
    let (Some(store), Ok(list)) = (snapshots, history.conversations().await) else { return };
    let there: Vec<Uuid> = list.iter().map(|conversation| conversation.id).collect();
    drop(tokio::task::spawn_blocking(move || store.keep_only(&there)).await);
}

impl Drop for ChatService {
    fn drop(&mut self) {
        self.active.cancel_all();
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { language: "system".into(), theme: "system".into() }
    }
}

impl Settings {
    /// A value that this version does not know means "system".
    fn known(self) -> Self {
        let or_system = |value: String, known: [&str; 2]| {
            if known.contains(&value.as_str()) { value } else { "system".to_owned() }
        };
        Self {
            language: or_system(self.language, ["hi", "en"]),
            theme: or_system(self.theme, ["light", "dark"]),
        }
    }
}

/// The random part of the answer's id: another version gets another seed, and the same id the same text.
fn seed(id: Uuid) -> u64 {
    id.as_u64_pair().1
}

fn stored(error: history::HistoryError) -> WireError {
    ChatError::History(error).into()
}

fn parse_id(id: &str) -> Result<Uuid, WireError> {
    Uuid::parse_str(id).map_err(|_| ChatError::InvalidId { id: id.to_owned() }.into())
}

/// `begun` ends with the question and its empty answer.
fn accepted(begun: &history::Conversation) -> Result<SendAccepted, WireError> {
    let mut last = begun.messages.iter().rev().map(convert::message);
    let assistant = last.next().ok_or_else(|| WireError::new(wire::ErrorCode::Internal))?;
    let user = last.next().filter(|message| message.role == WireRole::User);
    Ok(SendAccepted { summary: convert::summary(&begun.summary), user, assistant })
}
