//! The engine thread: it loads the model, owns it and its session, and answers one job after the other. A panic in a
//! job fails that job only.
use crate::convert;
use crate::engine::{Engine, EngineFactory, PromptTokens};
use crate::errors::{self, ChatError};
use crate::outbox::Outbox;
use crate::prompt::{Ask, fit, prompt_limit};
use crate::wire::{ErrorCode, ModelStatus, WireError};
use chimera_engine::{CancelFlag, Completion, FinishReason, GenerateOptions, ModelInfo};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use tokio::sync::{oneshot, watch};

#[derive(Clone)]
pub(crate) enum ModelState {
    Loading,
    Ready(Arc<Loaded>),
    Failed(WireError),
}

pub(crate) struct Loaded {
    pub info: ModelInfo,
    pub tokens: Arc<dyn PromptTokens>,
}

impl ModelState {
    pub fn to_wire(&self) -> ModelStatus {
        match self {
            Self::Loading => ModelStatus::Loading,
            Self::Ready(loaded) => convert::ready(&loaded.info),
            Self::Failed(error) => ModelStatus::Failed { error: error.clone() },
        }
    }
}

pub(crate) struct Job {
    pub ask: Ask,
    pub options: GenerateOptions,
    pub cancel: CancelFlag,
    pub outbox: Arc<Outbox>,
    pub done: oneshot::Sender<Result<Answered, ChatError>>,
}

pub(crate) struct Answered {
    pub completion: Completion,
    pub model: String,
}

/// Dropping it lets the thread end after its current job.
pub(crate) struct Worker {
    jobs: mpsc::Sender<Job>,
    pub state: watch::Receiver<ModelState>,
}

impl Worker {
    pub fn start(factory: Box<dyn EngineFactory>) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let (publish, state) = watch::channel(ModelState::Loading);
        std::thread::Builder::new()
            .name("chimera-engine".into())
            .spawn(move || run(factory, &queue, &publish))?;
        Ok(Self { jobs, state })
    }

    /// A worker whose thread could not be made.
    pub fn failed(error: &std::io::Error) -> Self {
        let failed = ModelState::Failed(WireError::new(ErrorCode::EngineFailed).with("reason", error));
        Self { jobs: mpsc::channel().0, state: watch::channel(failed).1 }
    }

    pub fn send(&self, job: Job) -> Result<(), ChatError> {
        self.jobs.send(job).map_err(|_| ChatError::EngineGone)
    }
}

fn run(
    mut factory: Box<dyn EngineFactory>,
    queue: &mpsc::Receiver<Job>,
    publish: &watch::Sender<ModelState>,
) {
    let loaded = catch_unwind(AssertUnwindSafe(|| factory.load()));
    let mut engine = match loaded {
        Ok(Ok(engine)) => engine,
        Ok(Err(error)) => return refuse_all(queue, publish, errors::load(&error)),
        Err(panic) => {
            return refuse_all(queue, publish, ChatError::Panicked { reason: panic_text(&*panic) }.into());
        }
    };
    let loaded = Loaded { info: engine.info().clone(), tokens: engine.tokens() };
    publish.send_replace(ModelState::Ready(Arc::new(loaded)));
    for job in queue {
        let Job { ask, options, cancel, outbox, done } = job;
        let answer = || answer(&mut *engine, &ask, &options, &cancel, &outbox);
        let result = catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|panic| {
            engine.rebuild();
            Err(ChatError::Panicked { reason: panic_text(&*panic) })
        });
        drop(done.send(result)); // nobody waits any more: the application is closing
    }
}

/// Without a model every job ends at once with the reason.
fn refuse_all(queue: &mpsc::Receiver<Job>, publish: &watch::Sender<ModelState>, reason: WireError) {
    publish.send_replace(ModelState::Failed(reason.clone()));
    for job in queue {
        drop(job.done.send(Err(ChatError::Unavailable(reason.clone()))));
    }
}

fn answer(
    engine: &mut dyn Engine,
    ask: &Ask,
    options: &GenerateOptions,
    cancel: &CancelFlag,
    outbox: &Outbox,
) -> Result<Answered, ChatError> {
    let model = engine.info().name.clone();
    if cancel.is_cancelled() {
        return Ok(Answered { completion: cancelled(), model });
    }
    let limit = prompt_limit(engine.info().context_length, options.max_tokens);
    let prompt = fit(&*engine.tokens(), ask, options.think, limit)?;
    outbox.begin(prompt.tokens.len(), prompt.dropped_turns);
    let completion = engine.generate(&prompt.tokens, options, cancel, &mut |event| outbox.push(event))?;
    Ok(Answered { completion, model })
}

/// Stopped while it waited behind another conversation's turn.
fn cancelled() -> Completion {
    Completion {
        text: String::new(),
        thinking: String::new(),
        finish: FinishReason::Cancelled,
        prompt_tokens: 0,
        reused_tokens: 0,
        completion_tokens: 0,
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".into())
}
