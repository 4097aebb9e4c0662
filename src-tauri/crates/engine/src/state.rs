//! Copies of what a sequence remembers (recurrent state, convolution window, KV cache), in memory and as bytes.
//!
//! A Mamba state cannot be rewound, so the engine keeps such copies at turn boundaries. As bytes, little-endian:
//!
//! | magic `CHIMSNAP` | version u32 | backend u32 | SHA-256 of the model file | tokens u64 | payload bytes u64 | tokens u32… | payload | SHA-256 of all before |
//! |---|---|---|---|---|---|---|---|---|
//!
//! The payload is the backend's own (`Sequence::save`); whoever changes its layout raises `VERSION`.
use crate::weights::WeightFile;
use crate::{Backend, EngineError, TokenId};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"CHIMSNAP";
const VERSION: u32 = 2;
const HASH_BYTES: usize = 32;
const HEADER_BYTES: usize = 8 + 4 + 4 + HASH_BYTES + 8 + 8;

/// A copy of a session's state at one point of its token sequence. Cloning shares the memory.
#[derive(Clone)]
pub struct Snapshot {
    model: ModelKey,
    backend: Backend,
    tokens: Arc<[TokenId]>,
    payload: Arc<[u8]>,
}

#[derive(Clone)]
enum ModelKey {
    /// Taken in this process: the file need not be hashed.
    File(Arc<WeightFile>),
    Hash([u8; HASH_BYTES]),
}

impl Snapshot {
    pub(crate) fn new(
        file: &Arc<WeightFile>,
        backend: Backend,
        tokens: &[TokenId],
        payload: Vec<u8>,
    ) -> Self {
        Self {
            model: ModelKey::File(Arc::clone(file)),
            backend,
            tokens: tokens.into(),
            payload: payload.into(),
        }
    }

    pub fn token_count(&self) -> usize {
        self.tokens.len()
    }

    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Memory taken.
    pub fn bytes(&self) -> usize {
        self.payload.len() + self.tokens.len() * size_of::<TokenId>()
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Whether it was taken with this file and backend.
    pub(crate) fn fits(&self, file: &Arc<WeightFile>, backend: Backend) -> bool {
        let same_file = match &self.model {
            ModelKey::File(own) => Arc::ptr_eq(own, file) || own.digest() == file.digest(),
            ModelKey::Hash(digest) => digest == file.digest(),
        };
        same_file && self.backend == backend
    }

    /// Versioned and checksummed; names the model file by its SHA-256 (the first call hashes the file).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.bytes() + HASH_BYTES);
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend(backend_code(self.backend).to_le_bytes());
        out.extend(match &self.model {
            ModelKey::File(file) => file.digest(),
            ModelKey::Hash(digest) => digest,
        });
        out.extend((self.tokens.len() as u64).to_le_bytes());
        out.extend((self.payload.len() as u64).to_le_bytes());
        out.extend(self.tokens.iter().flat_map(|t| t.to_le_bytes()));
        out.extend_from_slice(&self.payload);
        let checksum = Sha256::digest(&out);
        out.extend(checksum);
        out
    }

    /// Whether it fits a model is checked by [`crate::Session::restore`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Snapshot, EngineError> {
        let mut fields = Fields(bytes);
        if fields.array::<8>()? != MAGIC {
            return Err(EngineError::SnapshotCorrupt { what: "not a snapshot" });
        }
        let found = u32::from_le_bytes(fields.array()?);
        if found != VERSION {
            return Err(EngineError::SnapshotVersion { found, supported: VERSION });
        }
        let (content, checksum) = bytes.split_last_chunk::<HASH_BYTES>().ok_or(TRUNCATED)?;
        if Sha256::digest(content)[..] != checksum[..] {
            return Err(EngineError::SnapshotCorrupt { what: "checksum" });
        }
        let backend = backend_of(u32::from_le_bytes(fields.array()?))?;
        let model = ModelKey::Hash(fields.array()?);
        let (n_tokens, n_payload) = (fields.size()?, fields.size()?);
        let tokens = fields.take(n_tokens.checked_mul(size_of::<TokenId>()).ok_or(TRUNCATED)?)?;
        let tokens = tokens.as_chunks::<4>().0.iter().map(|b| TokenId::from_le_bytes(*b)).collect();
        let payload = fields.take(n_payload)?.into();
        if fields.0.len() != HASH_BYTES {
            return Err(EngineError::SnapshotCorrupt { what: "length" });
        }
        Ok(Snapshot { model, backend, tokens, payload })
    }
}

const TRUNCATED: EngineError = EngineError::SnapshotCorrupt { what: "truncated" };

fn backend_code(backend: Backend) -> u32 {
    match backend {
        Backend::Fast => 0,
        Backend::Reference => 1,
    }
}

fn backend_of(code: u32) -> Result<Backend, EngineError> {
    match code {
        0 => Ok(Backend::Fast),
        1 => Ok(Backend::Reference),
        _ => Err(EngineError::SnapshotCorrupt { what: "backend" }),
    }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], EngineError> {
        let (head, rest) = self.0.split_at_checked(bytes).ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EngineError> {
        self.take(N)?.try_into().map_err(|_| TRUNCATED)
    }

    fn size(&mut self) -> Result<usize, EngineError> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| TRUNCATED)
    }
}

/// The snapshots that a session may resume from, least recently used first, within a budget of bytes.
pub(crate) struct Kept {
    snapshots: VecDeque<Snapshot>,
    budget: usize,
}

impl Kept {
    pub fn new(budget: usize) -> Self {
        Self { snapshots: VecDeque::new(), budget }
    }

    pub fn set_budget(&mut self, bytes: usize) {
        self.budget = bytes;
        self.shrink();
    }

    /// Adds one in place of another of the same tokens. One that exceeds the budget alone is not kept.
    pub fn push(&mut self, snapshot: Snapshot) {
        self.snapshots.retain(|s| s.tokens != snapshot.tokens);
        self.snapshots.push_back(snapshot);
        self.shrink();
    }

    /// The longest one whose tokens begin `prompt`, counted as used now.
    pub fn longest_prefix(&mut self, prompt: &[TokenId]) -> Option<Snapshot> {
        let fitting = self.snapshots.iter().enumerate().filter(|(_, s)| prompt.starts_with(&s.tokens));
        let (index, _) = fitting.max_by_key(|(_, s)| s.token_count())?;
        let snapshot = self.snapshots.remove(index)?;
        self.snapshots.push_back(snapshot.clone());
        Some(snapshot)
    }

    pub fn has(&self, tokens: &[TokenId]) -> bool {
        self.snapshots.iter().any(|s| *s.tokens == *tokens)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.snapshots.len()
    }

    fn shrink(&mut self) {
        while self.snapshots.iter().map(Snapshot::bytes).sum::<usize>() > self.budget {
            self.snapshots.pop_front();
        }
    }
}
