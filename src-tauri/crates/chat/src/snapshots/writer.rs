//! The thread that writes: the engine hands over what shares its memory, and goes on.
use super::files::Files;
use chimera_engine::{EngineError, Model, Snapshot, SnapshotFile, write_snapshots};
use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

enum Order {
    Write(Uuid, Vec<Snapshot>),
    Identify(Arc<Model>),
}

#[derive(Default)]
struct State {
    orders: VecDeque<Order>,
    /// An order is being carried out; of which conversation.
    busy: Option<Option<Uuid>>,
    /// Deleted conversations: nothing is written for them any more.
    barred: HashSet<Uuid>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

pub(super) struct Writer(Arc<Shared>);

impl Writer {
    pub fn start(files: Arc<Files>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("chimera-snapshots".into())
            .spawn(move || while theirs.carry_out_next(&files) {})?;
        Ok(Self(shared))
    }

    pub fn write(&self, conversation: Uuid, snapshots: Vec<Snapshot>) {
        let mut state = self.0.lock();
        if state.barred.contains(&conversation) {
            return;
        }
        state.drop_orders(conversation);
        state.orders.push_back(Order::Write(conversation, snapshots));
        drop(state);
        self.0.changed.notify_all();
    }

    pub fn identify(&self, model: Arc<Model>) {
        self.0.lock().orders.push_back(Order::Identify(model));
        self.0.changed.notify_all();
    }

    /// After this no file of the conversation is written, now or later.
    pub fn bar(&self, conversation: Uuid) {
        let mut state = self.0.lock();
        state.barred.insert(conversation);
        state.drop_orders(conversation);
        drop(self.0.wait_while(state, |state| state.busy == Some(Some(conversation))));
    }

    pub fn flush(&self) {
        drop(self.0.wait_while(self.0.lock(), |state| state.busy.is_some() || !state.orders.is_empty()));
    }
}

impl Drop for Writer {
    /// The thread ends after the order it is at; what waits is lost, which is allowed.
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

impl State {
    fn drop_orders(&mut self, conversation: Uuid) {
        self.orders.retain(|order| !matches!(order, Order::Write(id, _) if *id == conversation));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, State>,
        waiting: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        self.changed.wait_while(state, |state| waiting(state)).unwrap_or_else(PoisonError::into_inner)
    }

    /// `false` when the store is closed.
    fn carry_out_next(&self, files: &Files) -> bool {
        let mut state = self.wait_while(self.lock(), |state| state.orders.is_empty() && !state.closed);
        if state.closed {
            return false;
        }
        let Some(order) = state.orders.pop_front() else { return true };
        state.busy = Some(match &order {
            Order::Write(conversation, _) => Some(*conversation),
            Order::Identify(_) => None,
        });
        drop(state);
        match order {
            Order::Write(conversation, snapshots) => self.write(files, conversation, &snapshots),
            Order::Identify(model) => identify(files, &model),
        }
        self.lock().busy = None;
        self.changed.notify_all();
        true
    }

    fn write(&self, files: &Files, conversation: Uuid, snapshots: &[Snapshot]) {
        let path = files.path(conversation);
        let fill = |out: &mut dyn Write| write_snapshots(snapshots, out).map_err(io_error);
        let wanted = || !self.lock().barred.contains(&conversation);
        match files.replace(&path, fill, wanted) {
            Ok(()) => files.fit_budget(&path),
            Err(error) => tracing::warn!(%conversation, %error, "a snapshot is not written"),
        }
    }
}

fn io_error(error: EngineError) -> std::io::Error {
    match error {
        EngineError::SnapshotIo(error) => error,
        other => std::io::Error::other(other),
    }
}

/// Hashes the model file unless its hash is known, remembers that, and removes what other models left.
fn identify(files: &Files, model: &Model) {
    let digest = model.digest();
    if files.digest(model.file_stamp()).is_none()
        && let Err(error) = files.remember_digest(model.file_stamp(), model.sha256())
    {
        tracing::warn!(%error, "the model's hash is not remembered");
    }
    files.retain(|path| belongs_to(path, digest));
}

/// A file that cannot be opened may be readable later.
fn belongs_to(path: &Path, digest: &[u8; 32]) -> bool {
    let Ok(file) = File::open(path) else { return true };
    SnapshotFile::open(BufReader::new(file)).is_ok_and(|file| file.model_sha256() == digest)
}
