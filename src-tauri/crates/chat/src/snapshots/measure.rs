//! What opening a conversation again costs: from its file to the logits of the next token, against reading it again.
use super::SnapshotStore;
use chimera_engine::{CancelFlag, EngineError, Model, Session, TokenId};
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// Tokens of the message that is new.
const MESSAGE: usize = 16;

/// The best of several alternating rounds, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Reopening {
    /// Of the old conversation.
    pub tokens: usize,
    pub file_bytes: u64,
    /// The old conversation and a message of 16 tokens, read from the start.
    pub again_ms: f64,
    /// The file read and checked, its state restored, the message read.
    pub reopened_ms: f64,
    /// The part of that before the message.
    pub restored_ms: f64,
}

impl Reopening {
    /// Below 1: opening is cheaper than reading again.
    pub fn ratio(&self) -> f64 {
        self.reopened_ms / self.again_ms
    }
}

/// Writes below `dir`, which should be empty and is the caller's to remove. The restored session must give the logits of
/// the saved one, bit for bit; else `SnapshotCorrupt`.
pub fn measure_reopening(
    model: &Arc<Model>,
    dir: &Path,
    tokens: usize,
    rounds: usize,
) -> Result<Reopening, EngineError> {
    let store = SnapshotStore::open(dir, u64::MAX).map_err(EngineError::SnapshotIo)?;
    let script = script(model, tokens + MESSAGE);
    let (old, message) = script.split_at(tokens);
    let conversation = Uuid::nil();
    let mut saved = Session::new(Arc::clone(model));
    read(&mut saved, old)?;
    store.write(conversation, vec![saved.snapshot()?]);
    store.flush();
    let expected = read(&mut saved, message)?;
    let mut best =
        Reopening { tokens, file_bytes: 0, again_ms: f64::MAX, reopened_ms: f64::MAX, restored_ms: f64::MAX };
    best.file_bytes =
        std::fs::metadata(store.files.path(conversation)).map_err(EngineError::SnapshotIo)?.len();
    for _ in 0..rounds {
        let start = Instant::now();
        read(&mut Session::new(Arc::clone(model)), &script)?;
        best.again_ms = best.again_ms.min(ms(start));

        let start = Instant::now();
        let mut session = Session::new(Arc::clone(model));
        let found = store.read(conversation, model, &script, 0);
        let found = found.ok_or_else(|| EngineError::SnapshotIo(Error::from(ErrorKind::NotFound)))?;
        session.restore(&found.snapshot)?;
        best.restored_ms = best.restored_ms.min(ms(start));
        let logits = read(&mut session, message)?;
        best.reopened_ms = best.reopened_ms.min(ms(start));
        if logits != expected {
            return Err(EngineError::SnapshotCorrupt { what: "other logits" });
        }
    }
    Ok(best)
}

/// Varied ids: what they say does not matter to the time.
fn script(model: &Model, len: usize) -> Vec<TokenId> {
    (0..len).map(|i| (i * 7919 % model.info().vocab_size) as TokenId).collect()
}

fn read(session: &mut Session, tokens: &[TokenId]) -> Result<Vec<f32>, EngineError> {
    session.prefill(tokens, &CancelFlag::default(), &mut |_, _| {}).map(<[f32]>::to_vec)
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
