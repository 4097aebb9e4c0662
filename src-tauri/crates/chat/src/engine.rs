//! What a turn needs of an engine, and the real one behind it. The tests put a scripted engine here.
use crate::locate::{LocateError, Places, locate};
use crate::snapshots::{FILE_ALLOWANCE, Recalled, SnapshotStore};
use chimera_engine::{
    CancelFlag, ChatMessage, Completion, EngineError, GenerateEvent, GenerateOptions, LoadOptions, Model,
    ModelInfo, Session, Think, TokenId, template,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use uuid::Uuid;

/// Renders prompts; used from any thread, also while the engine generates.
pub trait PromptTokens: Send + Sync {
    fn render(&self, messages: &[ChatMessage], think: Think) -> Result<Vec<TokenId>, EngineError>;
}

/// Lives on the engine thread and never leaves it.
pub trait Engine {
    fn info(&self) -> &ModelInfo;
    fn tokens(&self) -> Arc<dyn PromptTokens>;
    fn generate(
        &mut self,
        prompt: &[TokenId],
        options: &GenerateOptions,
        cancel: &CancelFlag,
        events: &mut dyn FnMut(GenerateEvent<'_>),
    ) -> Result<Completion, EngineError>;
    /// After a panic nothing is known about the state: start from an empty one.
    fn rebuild(&mut self);

    // What follows spares reading twice; an engine that does without is slower, not wrong.

    /// From now on states are on disk there.
    fn attach(&mut self, _store: Arc<SnapshotStore>) {}
    /// Before a turn of a conversation that may be on disk: looks whether its file covers more of `prompt` than memory.
    fn recall(&mut self, _conversation: Uuid, _prompt: &[TokenId]) {}
    /// After a turn, in an idle moment. `prompt` is the conversation with its answer. Without a `conversation` nothing is
    /// written.
    fn retain(&mut self, _conversation: Option<Uuid>, _prompt: &[TokenId], _cancel: &CancelFlag) {}
    /// A conversation was deleted: nothing of any stays in memory.
    fn forget(&mut self) {}
}

/// Called on the engine thread, once at the start.
pub trait EngineFactory: Send {
    fn load(&mut self) -> Result<Box<dyn Engine>, LoadError>;
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Locate(#[from] LocateError),
    #[error("{}: {source}", path.display())]
    Engine { path: PathBuf, source: Box<EngineError> },
}

/// Finds the model file and loads it with `chimera-engine`.
pub struct LocalEngine {
    pub places: Places,
    pub options: LoadOptions,
}

impl EngineFactory for LocalEngine {
    fn load(&mut self) -> Result<Box<dyn Engine>, LoadError> {
        let path = locate(&self.places)?;
        let model = Model::load(&path, &self.options)
            .map_err(|error| LoadError::Engine { path, source: error.into() })?;
        Ok(Box::new(Local { session: Session::new(Arc::clone(&model)), model, store: None, recalled: None }))
    }
}

struct Local {
    model: Arc<Model>,
    session: Session,
    store: Option<Arc<SnapshotStore>>,
    /// What the last turn found on disk: the rest of it is read when there is time.
    recalled: Option<Recalled>,
}

impl Engine for Local {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    fn tokens(&self) -> Arc<dyn PromptTokens> {
        Arc::new(ModelTokens(Arc::clone(&self.model)))
    }

    fn generate(
        &mut self,
        prompt: &[TokenId],
        options: &GenerateOptions,
        cancel: &CancelFlag,
        events: &mut dyn FnMut(GenerateEvent<'_>),
    ) -> Result<Completion, EngineError> {
        self.session.generate(prompt, options, cancel, events)
    }

    fn rebuild(&mut self) {
        self.session = Session::new(Arc::clone(&self.model));
    }

    fn attach(&mut self, store: Arc<SnapshotStore>) {
        store.identify(&self.model);
        self.store = Some(store);
    }

    fn recall(&mut self, conversation: Uuid, prompt: &[TokenId]) {
        let Some(store) = &self.store else { return };
        let known = self.session.known(prompt);
        self.recalled = store.read(conversation, &self.model, prompt, known);
        let Some(Recalled { snapshot, .. }) = &self.recalled else { return };
        if let Err(error) = self.session.keep_snapshot(snapshot.clone()) {
            tracing::info!(%conversation, %error, "a snapshot is of no use");
        }
    }

    fn retain(&mut self, conversation: Option<Uuid>, prompt: &[TokenId], cancel: &CancelFlag) {
        // A model that differs refused the first of them already.
        let earlier = self.recalled.take().map(Recalled::earlier).unwrap_or_default();
        earlier.into_iter().for_each(|snapshot| drop(self.session.keep_snapshot(snapshot)));
        if let Err(error) = self.session.settle(prompt, cancel) {
            tracing::warn!(%error, "the conversation was not read ahead");
        }
        if let (Some(store), Some(conversation)) = (&self.store, conversation) {
            store.write(conversation, self.session.resumable(prompt, FILE_ALLOWANCE));
        }
    }

    fn forget(&mut self) {
        self.session.forget();
        self.recalled = None;
    }
}

struct ModelTokens(Arc<Model>);

impl PromptTokens for ModelTokens {
    fn render(&self, messages: &[ChatMessage], think: Think) -> Result<Vec<TokenId>, EngineError> {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        template::prompt(&self.0, messages, think, since_1970.ok().map(|t| t.as_secs() as i64))
    }
}
