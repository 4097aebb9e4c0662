//! Copies of what a sequence remembers (recurrent state, convolution window, KV cache), in memory and as bytes.
//!
//! A Mamba state cannot be rewound, so the engine keeps such copies at turn boundaries. A copy is a part of fixed size
//! and the keys and values of all positions. Those never change once written, so the copies of one sequence share them:
//! each adds only the positions that are new.
mod file;
mod kept;

pub use file::{SnapshotFile, write_snapshots};
pub(crate) use kept::Kept;

use crate::weights::WeightFile;
use crate::{Backend, TokenId};
use std::sync::Arc;

/// Keys and values of some successive positions, as `Sequence::save_kv` wrote them. Cloning shares the memory.
#[derive(Clone)]
pub(crate) struct KvPart {
    positions: usize,
    bytes: Arc<Vec<u8>>,
}

impl KvPart {
    pub fn new(positions: usize, bytes: Vec<u8>) -> Self {
        Self { positions, bytes: Arc::new(bytes) }
    }

    pub fn positions(&self) -> usize {
        self.positions
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes)
    }
}

/// A copy of a session's state at one point of its token sequence. Cloning shares the memory.
#[derive(Clone)]
pub struct Snapshot {
    model: ModelKey,
    backend: Backend,
    tokens: Arc<[TokenId]>,
    fixed: Arc<Vec<u8>>,
    /// Of all positions, in order.
    kv: Vec<KvPart>,
}

#[derive(Clone)]
enum ModelKey {
    /// Taken in this process: the file need not be hashed.
    File(Arc<WeightFile>),
    /// SHA-256.
    Hash([u8; 32]),
}

impl ModelKey {
    fn digest(&self) -> &[u8; 32] {
        match self {
            ModelKey::File(file) => file.digest(),
            ModelKey::Hash(digest) => digest,
        }
    }
}

impl Snapshot {
    pub(crate) fn new(
        file: &Arc<WeightFile>,
        backend: Backend,
        tokens: &[TokenId],
        fixed: Vec<u8>,
        kv: Vec<KvPart>,
    ) -> Self {
        let model = ModelKey::File(Arc::clone(file));
        Self { model, backend, tokens: tokens.into(), fixed: Arc::new(fixed), kv }
    }

    pub fn token_count(&self) -> usize {
        self.tokens.len()
    }

    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Memory taken, had it nothing in common with another one.
    pub fn bytes(&self) -> usize {
        self.own_bytes() + self.kv.iter().map(|part| part.bytes.len()).sum::<usize>()
    }

    /// Memory that it never shares.
    pub(crate) fn own_bytes(&self) -> usize {
        self.fixed.len() + size_of_val(&*self.tokens)
    }

    pub(crate) fn fixed(&self) -> &[u8] {
        &self.fixed
    }

    pub(crate) fn kv(&self) -> &[KvPart] {
        &self.kv
    }

    /// Whether all its keys and values are a beginning of the other's, not only equal tokens.
    pub(crate) fn begins(&self, other: &Self) -> bool {
        self.kv.len() <= other.kv.len()
            && other.tokens.starts_with(&self.tokens)
            && self.kv.iter().zip(&other.kv).all(|(a, b)| a.is(b))
    }

    /// Whether it was taken with this file and backend.
    pub(crate) fn fits(&self, file: &Arc<WeightFile>, backend: Backend) -> bool {
        let same_file = match &self.model {
            ModelKey::File(own) if Arc::ptr_eq(own, file) => true,
            key => key.digest() == file.digest(),
        };
        same_file && self.backend == backend
    }
}
