//! One sequence: the tokens read so far, the state they left, and how it is extended.
use crate::{CancelFlag, EngineError, Model, Snapshot, TokenId};
use std::sync::Arc;

pub struct Session {
    model: Arc<Model>,
    tokens: Vec<TokenId>,
}

impl Session {
    pub fn new(model: Arc<Model>) -> Self {
        Self { model, tokens: Vec::new() }
    }

    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The tokens that the state has read.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Back to the empty sequence (own snapshots are kept).
    pub fn reset(&mut self) {
        self.tokens.clear();
    }

    /// Reads `tokens` after what was read before, in chunks; returns the logits of the last one.
    /// `progress(done, total)` is called after every chunk. A cancelled prefill keeps the finished chunks.
    pub fn prefill(
        &mut self,
        _tokens: &[TokenId],
        _cancel: &CancelFlag,
        _progress: &mut dyn FnMut(usize, usize),
    ) -> Result<&[f32], EngineError> {
        Err(EngineError::EmptyPrompt)
    }

    /// Reads one token; returns its logits.
    pub fn step(&mut self, _token: TokenId) -> Result<&[f32], EngineError> {
        Err(EngineError::EmptyPrompt)
    }

    /// Reads `tokens` and returns the logits at each of them, `[tokens.len(), vocab_size]` row-major.
    pub fn logits_all(&mut self, _tokens: &[TokenId]) -> Result<Vec<f32>, EngineError> {
        Err(EngineError::EmptyPrompt)
    }

    pub fn snapshot(&self) -> Snapshot {
        unreachable!("filled in by the next commit")
    }

    /// Continues from `snapshot`, bit for bit as the session it was taken from would.
    pub fn restore(&mut self, _snapshot: &Snapshot) -> Result<(), EngineError> {
        Err(EngineError::SnapshotForeign)
    }

    /// Adds a snapshot (for example one read from disk) to those that `generate` may resume from.
    pub fn keep_snapshot(&mut self, _snapshot: Snapshot) -> Result<(), EngineError> {
        Err(EngineError::SnapshotForeign)
    }
}
