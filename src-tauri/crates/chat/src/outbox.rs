//! Between the engine thread and the window: text is gathered under a lock that is never held while the window is
//! called, and handed over by a thread of the turn's own at most once every `gap`. However slow the window is, the
//! engine only appends to a string.
use crate::service::EventSink;
use crate::wire::ChatEvent;
use chimera_engine::GenerateEvent;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Default)]
struct State {
    /// Not handed over yet; neighbours of one kind are one event.
    pending: VecDeque<ChatEvent>,
    text: String,
    thinking: String,
    /// Grew since the last [`Outbox::draft`].
    grown: bool,
    first_output: Option<Instant>,
    closed: bool,
}

pub(crate) struct Outbox {
    state: Mutex<State>,
    changed: Condvar,
    dropped_turns: Mutex<u32>,
}

/// What was generated so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Draft {
    pub text: String,
    pub thinking: String,
}

impl Outbox {
    /// Starts the thread that calls `sink`; it ends after [`Outbox::close`].
    pub fn open(sink: EventSink, gap: Duration) -> std::io::Result<Arc<Self>> {
        let outbox = Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            dropped_turns: Mutex::default(),
        });
        let theirs = Arc::clone(&outbox);
        std::thread::Builder::new()
            .name("chimera-events".into())
            .spawn(move || theirs.deliver(&*sink, gap))?;
        Ok(outbox)
    }

    /// Begins the prompt's progress: `total` tokens, after so many turns were left out.
    pub fn begin(&self, total: usize, dropped_turns: usize) {
        *self.dropped_turns.lock().unwrap_or_else(PoisonError::into_inner) = count(dropped_turns);
        self.push(GenerateEvent::Prefill { done: 0, total });
    }

    pub fn push(&self, event: GenerateEvent<'_>) {
        let dropped_turns = *self.dropped_turns.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        match event {
            GenerateEvent::Prefill { done, total } => {
                merge(
                    &mut state.pending,
                    ChatEvent::Prefill { done: count(done), total: count(total), dropped_turns },
                );
            }
            GenerateEvent::Text(text) => {
                state.text.push_str(text);
                state.note_output();
                merge(&mut state.pending, ChatEvent::Delta { text: text.to_owned() });
            }
            GenerateEvent::Thinking(text) => {
                state.thinking.push_str(text);
                state.note_output();
                merge(&mut state.pending, ChatEvent::Thinking { text: text.to_owned() });
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// What there is to checkpoint; `None` when nothing came since the last call.
    pub fn draft(&self) -> Option<Draft> {
        let mut state = self.lock();
        std::mem::take(&mut state.grown).then(|| state.draft())
    }

    /// Everything that was generated, and when it began.
    pub fn end(&self) -> (Draft, Option<Instant>) {
        let state = self.lock();
        (state.draft(), state.first_output)
    }

    /// Ends the thread of a turn that could not be stored: its error goes back to the caller, not to `sink`.
    pub fn discard<E>(&self, error: E) -> E {
        self.lock().closed = true;
        self.changed.notify_one();
        error
    }

    /// The last event of the turn; what is pending goes out before it, without waiting.
    pub fn close(&self, last: ChatEvent) {
        let mut state = self.lock();
        state.pending.push_back(last);
        state.closed = true;
        drop(state);
        self.changed.notify_one();
    }

    fn deliver(&self, sink: &(dyn Fn(ChatEvent) + Send + Sync), gap: Duration) {
        loop {
            let idle = |state: &mut State| state.pending.is_empty() && !state.closed;
            let mut state =
                self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
            let (ready, closed) = (std::mem::take(&mut state.pending), state.closed);
            drop(state);
            ready.into_iter().for_each(sink);
            if closed {
                return;
            }
            let open = |state: &mut State| !state.closed;
            drop(self.changed.wait_timeout_while(self.lock(), gap, open));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note_output(&mut self) {
        self.grown = true;
        self.first_output.get_or_insert_with(Instant::now);
    }

    fn draft(&self) -> Draft {
        Draft { text: self.text.clone(), thinking: self.thinking.clone() }
    }
}

/// Appends to the last event if it is of the same kind; progress replaces progress.
fn merge(pending: &mut VecDeque<ChatEvent>, event: ChatEvent) {
    match (pending.back_mut(), event) {
        (Some(ChatEvent::Delta { text }), ChatEvent::Delta { text: more })
        | (Some(ChatEvent::Thinking { text }), ChatEvent::Thinking { text: more }) => text.push_str(&more),
        (Some(last @ ChatEvent::Prefill { .. }), event @ ChatEvent::Prefill { .. }) => *last = event,
        (_, event) => pending.push_back(event),
    }
}

pub(crate) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
