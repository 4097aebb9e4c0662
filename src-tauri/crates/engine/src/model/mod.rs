//! A loaded model: its weights, its tokenizer and what is known about it. Shared by every session.
mod fast;
mod load;
mod reference;
mod rope;
mod sequence;
#[cfg(test)]
mod tests;

pub use load::check_types;
pub(crate) use sequence::{Chunk, Rows, Sequence};

use crate::memory;
use crate::template::PromptFormat;
use crate::weights::WeightFile;
use crate::{Backend, EngineError, ModelInfo, TokenId, Tokenizer};
use std::sync::Arc;

pub struct Model {
    info: ModelInfo,
    tokenizer: Tokenizer,
    prompt_format: PromptFormat,
    file: Arc<WeightFile>,
    net: Net,
    stop_ids: Vec<TokenId>,
}

/// The weights in the form that one backend computes with.
enum Net {
    Fast(Arc<fast::FastNet>),
    Reference(Arc<reference::ReferenceNet>),
}

impl Model {
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    pub(crate) fn prompt_format(&self) -> &PromptFormat {
        &self.prompt_format
    }

    /// Lower-case hex SHA-256 of the file. Computed by the first call (about 50 ms per 60 MB), then remembered.
    pub fn sha256(&self) -> &str {
        self.file.sha256()
    }

    /// Tells this state of the file from any other without reading it: for remembering its hash.
    pub fn file_stamp(&self) -> &str {
        self.file.stamp()
    }

    /// SHA-256 of the file as bytes; see [`Model::sha256`].
    pub fn digest(&self) -> &[u8; 32] {
        self.file.digest()
    }

    /// Spares the hashing: `digest` was computed when [`Model::file_stamp`] was the same.
    pub fn remember_digest(&self, digest: [u8; 32]) {
        self.file.set_digest(digest);
    }

    /// What identifies the weights: the open file, hashed only when someone asks for its hash.
    pub(crate) fn file(&self) -> &Arc<WeightFile> {
        &self.file
    }

    /// Tokens that end an answer.
    pub(crate) fn is_stop(&self, id: TokenId) -> bool {
        self.stop_ids.contains(&id)
    }

    pub(crate) fn backend(&self) -> Backend {
        match self.net {
            Net::Fast(_) => Backend::Fast,
            Net::Reference(_) => Backend::Reference,
        }
    }

    /// A new empty sequence.
    pub(crate) fn start(&self) -> Result<Sequence, EngineError> {
        match &self.net {
            Net::Fast(net) => {
                memory::check(load::state_bytes(&net.shapes), None)?;
                Ok(Sequence::Fast(fast::FastSequence::new(Arc::clone(net))?))
            }
            Net::Reference(net) => {
                Ok(Sequence::Reference(reference::ReferenceSequence::new(Arc::clone(net))?))
            }
        }
    }

    /// Advances every chunk's sequence by its tokens, in one pass over the weights on the fast backend. What one sequence lacks
    /// (memory for its keys) is its error alone; a refused kernel is the error of all.
    pub(crate) fn read(&self, chunks: Vec<Chunk<'_>>) -> Vec<Result<(), EngineError>> {
        let mut results = Vec::with_capacity(chunks.len());
        let mut segments = Vec::with_capacity(chunks.len());
        for Chunk { sequence, tokens, rows } in chunks {
            results.push(match sequence {
                Sequence::Reference(sequence) => sequence.read(tokens, rows),
                Sequence::Fast(sequence) => match make_room(&mut sequence.state, tokens.len()) {
                    Ok(()) => {
                        segments.push(fast::Segment::new(&mut sequence.state, tokens, rows));
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
            });
        }
        if let Net::Fast(net) = &self.net
            && !segments.is_empty()
            && let Err(error) = net.read(&mut segments)
        {
            results.iter_mut().filter(|r| r.is_ok()).for_each(|r| *r = Err(error.clone().into()));
        }
        results
    }

    /// Logits `[rows, vocab]` of the rows that each sequence kept at its last `read` (after a `load`: of the last token
    /// before the `save`).
    pub(crate) fn logits(&self, wanted: &mut [(&Sequence, &mut Vec<f32>)]) -> Result<(), EngineError> {
        let mut rows = Vec::with_capacity(wanted.len());
        for (sequence, out) in wanted {
            match sequence {
                Sequence::Reference(sequence) => sequence.logits(out)?,
                Sequence::Fast(sequence) => rows.push((&sequence.state.x_md[..], &mut **out)),
            }
        }
        match &self.net {
            Net::Fast(net) if !rows.is_empty() => Ok(net.logits(&mut rows)?),
            _ => Ok(()),
        }
    }
}

/// Memory for the keys and values of `more` tokens: refused rather than taken when the system does not have it.
fn make_room(state: &mut fast::State, more: usize) -> Result<(), EngineError> {
    let lacking = state.lacks(more);
    if lacking > 0 {
        memory::check(lacking, None)?;
        state.reserve(more)?;
    }
    Ok(())
}
