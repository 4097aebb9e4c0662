//! The engine thread: it loads the model, owns it and its session, and answers one job after the other. A panic in a
//! job fails that job only.
use crate::convert;
use crate::engine::{Engine, EngineFactory, PromptTokens};
use crate::errors::{self, ChatError};
use crate::outbox::Outbox;
use crate::prompt::{self, Ask, Prompt, fit, prompt_limit};
use crate::snapshots::SnapshotStore;
use crate::wire::{ErrorCode, ModelStatus, WireError};
use chimera_engine::{CancelFlag, Completion, FinishReason, GenerateOptions, ModelInfo, Think};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

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
    /// Where its state may be on disk.
    pub conversation: Option<Uuid>,
    pub ask: Ask,
    pub options: GenerateOptions,
    pub cancel: CancelFlag,
    pub outbox: Arc<Outbox>,
    pub done: oneshot::Sender<Result<Answered, ChatError>>,
}

pub(crate) struct Answered {
    pub completion: Completion,
    pub model: String,
    pub dropped_turns: usize,
}

/// What to do in an idle moment after a turn: read ahead, hand the state over for writing.
pub(crate) struct Upkeep {
    pub conversation: Option<Uuid>,
    pub ask: Ask,
    pub answer: String,
    pub dropped_turns: usize,
    pub think: Think,
}

enum Order {
    Answer(Box<Job>),
    Upkeep(Upkeep),
    Attach(Arc<SnapshotStore>),
    Forget,
    /// Answered when everything before it is done.
    Barrier(oneshot::Sender<()>),
}

/// Dropping it lets the thread end after its current job.
pub(crate) struct Worker {
    orders: mpsc::Sender<Order>,
    idle: Arc<Idle>,
    pub state: watch::Receiver<ModelState>,
}

/// Upkeep makes way for turns.
#[derive(Default)]
struct Idle {
    /// Turns that were sent and not begun.
    waiting: AtomicUsize,
    /// Stops the upkeep that is being done.
    upkeep: Mutex<CancelFlag>,
}

impl Idle {
    fn interrupt(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner).cancel();
    }

    fn begin_turn(&self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn begin_upkeep(&self) -> CancelFlag {
        let cancel = CancelFlag::default();
        *self.upkeep.lock().unwrap_or_else(PoisonError::into_inner) = cancel.clone();
        if self.waiting.load(Ordering::SeqCst) > 0 {
            cancel.cancel();
        }
        cancel
    }
}

impl Worker {
    pub fn start(factory: Box<dyn EngineFactory>) -> std::io::Result<Self> {
        let (orders, queue) = mpsc::channel();
        let (publish, state) = watch::channel(ModelState::Loading);
        let idle = Arc::<Idle>::default();
        let theirs = Arc::clone(&idle);
        std::thread::Builder::new()
            .name("chimera-engine".into())
            .spawn(move || run(factory, &queue, &theirs, &publish))?;
        Ok(Self { orders, idle, state })
    }

    /// A worker whose thread could not be made.
    pub fn failed(error: &std::io::Error) -> Self {
        let failed = ModelState::Failed(WireError::new(ErrorCode::EngineFailed).with("reason", error));
        Self { orders: mpsc::channel().0, idle: Arc::default(), state: watch::channel(failed).1 }
    }

    pub fn send(&self, job: Job) -> Result<(), ChatError> {
        self.idle.interrupt();
        self.orders.send(Order::Answer(Box::new(job))).map_err(|_| ChatError::EngineGone)
    }

    // The thread being gone shows itself in the next turn; what follows need not tell.

    pub fn attach(&self, store: Arc<SnapshotStore>) {
        drop(self.orders.send(Order::Attach(store)));
    }

    pub fn upkeep(&self, upkeep: Upkeep) {
        drop(self.orders.send(Order::Upkeep(upkeep)));
    }

    /// From now on no upkeep reads ahead.
    pub fn hurry(&self) {
        self.idle.interrupt();
    }

    pub fn forget(&self) {
        drop(self.orders.send(Order::Forget));
    }

    /// Returns when everything sent before is done. A model that is still loading has nothing to do.
    pub async fn idle(&self) {
        if matches!(*self.state.borrow(), ModelState::Loading) {
            return;
        }
        let (done, reached) = oneshot::channel();
        if self.orders.send(Order::Barrier(done)).is_ok() {
            drop(reached.await);
        }
    }
}

fn run(
    mut factory: Box<dyn EngineFactory>,
    queue: &mpsc::Receiver<Order>,
    idle: &Idle,
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
    for order in queue {
        let done = catch_unwind(AssertUnwindSafe(|| carry_out(&mut *engine, idle, order)));
        if done.is_err() {
            engine.rebuild();
        }
    }
}

fn carry_out(engine: &mut dyn Engine, idle: &Idle, order: Order) {
    match order {
        Order::Answer(job) => {
            idle.begin_turn();
            take_turn(engine, *job);
        }
        Order::Upkeep(upkeep) => {
            let Upkeep { conversation, ask, answer, dropped_turns, think } = upkeep;
            match prompt::answered(&*engine.tokens(), &ask, &answer, dropped_turns, think) {
                Ok(prompt) => engine.retain(conversation, &prompt, &idle.begin_upkeep()),
                Err(error) => tracing::warn!(%error, "no upkeep"),
            }
        }
        Order::Attach(store) => engine.attach(store),
        Order::Forget => engine.forget(),
        Order::Barrier(done) => drop(done.send(())),
    }
}

fn take_turn(engine: &mut dyn Engine, job: Job) {
    let Job { conversation, ask, options, cancel, outbox, done } = job;
    let answer = || answer(engine, conversation, &ask, &options, &cancel, &outbox);
    let result = catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|panic| {
        engine.rebuild();
        Err(ChatError::Panicked { reason: panic_text(&*panic) })
    });
    drop(done.send(result)); // nobody waits any more: the application is closing
}

/// Without a model every job ends at once with the reason.
fn refuse_all(queue: &mpsc::Receiver<Order>, publish: &watch::Sender<ModelState>, reason: WireError) {
    publish.send_replace(ModelState::Failed(reason.clone()));
    for order in queue {
        if let Order::Answer(job) = order {
            drop(job.done.send(Err(ChatError::Unavailable(reason.clone()))));
        }
    }
}

fn answer(
    engine: &mut dyn Engine,
    conversation: Option<Uuid>,
    ask: &Ask,
    options: &GenerateOptions,
    cancel: &CancelFlag,
    outbox: &Outbox,
) -> Result<Answered, ChatError> {
    let model = engine.info().name.clone();
    if cancel.is_cancelled() {
        return Ok(Answered { completion: cancelled(), model, dropped_turns: 0 });
    }
    let limit = prompt_limit(engine.info().context_length, options.max_tokens);
    let Prompt { tokens, dropped_turns } = fit(&*engine.tokens(), ask, options.think, limit)?;
    outbox.begin(tokens.len(), dropped_turns);
    if let Some(conversation) = conversation {
        engine.recall(conversation, &tokens);
    }
    let completion = engine.generate(&tokens, options, cancel, &mut |event| outbox.push(event))?;
    Ok(Answered { completion, model, dropped_turns })
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
