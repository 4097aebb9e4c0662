//! What a turn needs of an engine, and the real one behind it. The tests put a scripted engine here.
use crate::locate::{LocateError, Places, locate};
use chimera_engine::{
    CancelFlag, ChatMessage, Completion, EngineError, GenerateEvent, GenerateOptions, LoadOptions, Model,
    ModelInfo, Session, Think, TokenId, template,
};
use std::path::PathBuf;
use std::sync::Arc;

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
        Ok(Box::new(Local { session: Session::new(Arc::clone(&model)), model }))
    }
}

struct Local {
    model: Arc<Model>,
    session: Session,
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
}

struct ModelTokens(Arc<Model>);

impl PromptTokens for ModelTokens {
    fn render(&self, messages: &[ChatMessage], think: Think) -> Result<Vec<TokenId>, EngineError> {
        template::render(self.0.tokenizer(), messages, think)
    }
}
