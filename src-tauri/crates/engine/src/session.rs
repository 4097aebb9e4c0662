//! One sequence: the tokens read so far, the state they left, and how it is extended.
use crate::model::{Chunk, Rows, Sequence};
use crate::state::{Kept, KvPart};
use crate::{CancelFlag, EngineError, Model, Snapshot, TokenId};
use std::sync::Arc;

/// Tokens read at once: enough rows to keep the kernels busy, few enough to stop soon when cancelled. Chunks of 64 to 256 read
/// the starter and a model of 700M equally fast (within 3%, one thread's own time), so the buffers of 128 rows are enough.
pub(crate) const CHUNK: usize = 128;

/// Memory for the snapshots that `generate` may resume from, unless the caller says otherwise.
const SNAPSHOT_BUDGET: usize = 256 << 20;

pub struct Session {
    model: Arc<Model>,
    /// Made by the first read.
    sequence: Option<Sequence>,
    tokens: Vec<TokenId>,
    logits: Vec<f32>,
    /// `logits` are those of the last token read.
    has_logits: bool,
    /// The keys and values of the first positions, as the newest snapshot copied them.
    copied: Vec<KvPart>,
    pub(crate) kept: Kept,
}

impl Session {
    pub fn new(model: Arc<Model>) -> Self {
        Self {
            model,
            sequence: None,
            tokens: Vec::new(),
            logits: Vec::new(),
            has_logits: false,
            copied: Vec::new(),
            kept: Kept::new(SNAPSHOT_BUDGET),
        }
    }

    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The tokens that the state has read.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Back to the empty sequence (kept snapshots stay).
    pub fn reset(&mut self) {
        self.tokens.clear();
        self.copied.clear();
        self.sequence = None;
        self.has_logits = false;
    }

    /// Forgets everything, the kept snapshots too.
    pub fn forget(&mut self) {
        self.reset();
        self.kept.clear();
    }

    /// How many bytes of snapshots `generate` may keep.
    pub fn set_snapshot_budget(&mut self, bytes: usize) {
        self.kept.set_budget(bytes);
    }

    /// Reads `tokens` after what was read before, in chunks; returns the logits of the last one.
    /// `progress(done, total)` is called after every chunk. A cancelled prefill keeps the finished chunks.
    pub fn prefill(
        &mut self,
        tokens: &[TokenId],
        cancel: &CancelFlag,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<&[f32], EngineError> {
        self.read(tokens, cancel, progress)?;
        self.compute_logits()
    }

    /// Reads one token; returns its logits.
    pub fn step(&mut self, token: TokenId) -> Result<&[f32], EngineError> {
        self.read_chunk(&[token])?;
        self.compute_logits()
    }

    /// Reads `tokens` and returns the logits at each of them, `[tokens.len(), vocab_size]` row-major.
    pub fn logits_all(&mut self, tokens: &[TokenId]) -> Result<Vec<f32>, EngineError> {
        self.check(tokens)?;
        let mut all = Vec::with_capacity(tokens.len() * self.model.info().vocab_size);
        for chunk in tokens.chunks(CHUNK) {
            self.advance(chunk, Rows::All)?;
            all.extend_from_slice(self.compute_logits()?);
        }
        Ok(all)
    }

    /// As [`Session::prefill`], without computing logits.
    pub(crate) fn read(
        &mut self,
        tokens: &[TokenId],
        cancel: &CancelFlag,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(), EngineError> {
        self.check(tokens)?;
        let mut done = 0;
        for chunk in tokens.chunks(CHUNK) {
            if cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            self.advance(chunk, Rows::Last)?;
            done += chunk.len();
            progress(done, tokens.len());
        }
        Ok(())
    }

    /// Reads one chunk, without computing logits.
    pub(crate) fn read_chunk(&mut self, tokens: &[TokenId]) -> Result<(), EngineError> {
        self.check(tokens)?;
        self.advance(tokens, Rows::Last)
    }

    /// Makes sure that [`Session::logits`] are those after everything read so far.
    pub(crate) fn refresh_logits(&mut self) -> Result<(), EngineError> {
        if self.has_logits { Ok(()) } else { self.compute_logits().map(|_| ()) }
    }

    /// The logits computed last, `[vocab_size]` (empty before the first).
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Whether `tokens` can follow what was read.
    pub(crate) fn check(&self, tokens: &[TokenId]) -> Result<(), EngineError> {
        let info = self.model.info();
        if tokens.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        if let Some(&token) = tokens.iter().find(|t| **t as usize >= info.vocab_size) {
            return Err(EngineError::TokenOutOfRange { token, vocab_size: info.vocab_size });
        }
        let needed = self.tokens.len() + tokens.len();
        if needed > info.context_length {
            return Err(EngineError::ContextFull { needed, limit: info.context_length });
        }
        Ok(())
    }

    fn advance(&mut self, tokens: &[TokenId], rows: Rows) -> Result<(), EngineError> {
        let model = Arc::clone(&self.model);
        let mut results = model.read(vec![self.chunk(tokens, rows)?]);
        self.finish_chunk(tokens, results.pop().unwrap_or(Ok(())))
    }

    /// What a pass needs to read `tokens`; [`finish_chunk`](Self::finish_chunk) takes its outcome.
    pub(crate) fn chunk<'a>(
        &'a mut self,
        tokens: &'a [TokenId],
        rows: Rows,
    ) -> Result<Chunk<'a>, EngineError> {
        if self.sequence.is_none() {
            self.sequence = Some(self.model.start()?);
        }
        self.has_logits = false;
        match &mut self.sequence {
            Some(sequence) => Ok(Chunk { sequence, tokens, rows }),
            None => Err(EngineError::EmptyPrompt),
        }
    }

    /// The only place where the state moves on. A failure leaves an empty session, never a half-read one.
    pub(crate) fn finish_chunk(
        &mut self,
        tokens: &[TokenId],
        outcome: Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        match outcome {
            Ok(()) => self.tokens.extend_from_slice(tokens),
            Err(_) => self.reset(),
        }
        outcome
    }

    fn compute_logits(&mut self) -> Result<&[f32], EngineError> {
        let model = Arc::clone(&self.model);
        model.logits(&mut [self.wanted_logits()?])?;
        self.has_logits = true;
        Ok(&self.logits)
    }

    /// What the model needs to compute the logits, which the caller then reports by [`set_has_logits`](Self::set_has_logits).
    pub(crate) fn wanted_logits(&mut self) -> Result<(&Sequence, &mut Vec<f32>), EngineError> {
        let sequence = self.sequence.as_ref().filter(|_| !self.tokens.is_empty());
        Ok((sequence.ok_or(EngineError::EmptyPrompt)?, &mut self.logits))
    }

    pub(crate) fn set_has_logits(&mut self) {
        self.has_logits = true;
    }

    /// A copy of the state as it is now. Keys and values that an earlier copy of this sequence has are not copied again.
    pub fn snapshot(&mut self) -> Result<Snapshot, EngineError> {
        let mut fixed = Vec::new();
        if let Some(sequence) = self.sequence.as_ref().filter(|_| !self.tokens.is_empty()) {
            sequence.save_fixed(&mut fixed)?;
            let done = self.copied.iter().map(KvPart::positions).sum();
            if done < self.tokens.len() {
                let mut kv = Vec::new();
                sequence.save_kv(done..self.tokens.len(), &mut kv)?;
                self.copied.push(KvPart::new(self.tokens.len() - done, kv));
            }
        }
        let kv = self.copied.clone();
        Ok(Snapshot::new(self.model.file(), self.model.backend(), &self.tokens, fixed, kv))
    }

    /// Continues from `snapshot`, bit for bit as the session it was taken from would. After an error the session is empty.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), EngineError> {
        self.reset();
        self.admit(snapshot)?;
        if snapshot.token_count() == 0 {
            return Ok(());
        }
        let mut sequence = self.model.start()?;
        sequence.load(snapshot.fixed(), snapshot.kv())?;
        self.sequence = Some(sequence);
        self.tokens.extend_from_slice(snapshot.tokens());
        self.copied.extend_from_slice(snapshot.kv());
        Ok(())
    }

    /// Adds a snapshot (for example one read from disk) to those that `generate` may resume from.
    pub fn keep_snapshot(&mut self, snapshot: Snapshot) -> Result<(), EngineError> {
        self.admit(&snapshot)?;
        self.kept.push(snapshot);
        Ok(())
    }

    fn admit(&self, snapshot: &Snapshot) -> Result<(), EngineError> {
        let limit = self.model.info().context_length;
        if !snapshot.fits(self.model.file(), self.model.backend()) {
            return Err(EngineError::SnapshotForeign);
        }
        if snapshot.token_count() > limit {
            return Err(EngineError::ContextFull { needed: snapshot.token_count(), limit });
        }
        let (positions, vocab_size) =
            (snapshot.kv().iter().map(KvPart::positions), self.model.info().vocab_size);
        if positions.sum::<usize>() != snapshot.token_count() {
            return Err(EngineError::SnapshotCorrupt { what: "positions" });
        }
        match snapshot.tokens().iter().find(|t| **t as usize >= vocab_size) {
            Some(token) => Err(EngineError::TokenOutOfRange { token: *token, vocab_size }),
            None => Ok(()),
        }
    }
}
