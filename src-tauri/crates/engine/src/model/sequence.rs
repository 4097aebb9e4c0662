//! What both backends can do with one sequence.
use super::fast::FastSequence;
use super::reference::ReferenceSequence;
use crate::state::KvPart;
use crate::{EngineError, TokenId};
use std::ops::Range;

/// Of which tokens of the last read the logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    Last,
    All,
}

/// One sequence's state inside a backend. After an error its content is unspecified until a `load`.
pub(crate) enum Sequence {
    Fast(FastSequence),
    Reference(ReferenceSequence),
}

/// What one sequence reads in a pass: ids below the vocabulary's size, not empty. What the logits of `rows` need is kept.
pub(crate) struct Chunk<'a> {
    pub sequence: &'a mut Sequence,
    pub tokens: &'a [TokenId],
    pub rows: Rows,
}

impl Sequence {
    /// Appends what has the same size after any number of tokens (at least one): recurrent states, convolution windows,
    /// the last token's row.
    pub fn save_fixed(&self, out: &mut Vec<u8>) -> Result<(), EngineError> {
        match self {
            Sequence::Fast(sequence) => {
                sequence.save_fixed(out);
                Ok(())
            }
            Sequence::Reference(sequence) => sequence.save_fixed(out),
        }
    }

    /// Appends the keys and values of these positions. What is read later changes nothing in them.
    pub fn save_kv(&self, positions: Range<usize>, out: &mut Vec<u8>) -> Result<(), EngineError> {
        match self {
            Sequence::Fast(sequence) => {
                sequence.save_kv(positions, out);
                Ok(())
            }
            Sequence::Reference(sequence) => sequence.save_kv(positions, out),
        }
    }

    /// The state that `save_fixed` and `save_kv` wrote; `kv` covers all positions in order. Any other bytes:
    /// `SnapshotCorrupt`.
    pub fn load(&mut self, fixed: &[u8], kv: &[KvPart]) -> Result<(), EngineError> {
        match self {
            Sequence::Fast(sequence) => sequence.load(fixed, kv),
            Sequence::Reference(sequence) => sequence.load(fixed, kv),
        }
    }
}

/// Takes saved values off the front of a snapshot's payload.
pub(super) struct Saved<'a>(pub &'a [u8]);

impl<'a> Saved<'a> {
    pub fn take(&mut self, bytes: usize) -> Result<&'a [u8], EngineError> {
        let (head, rest) = self.0.split_at_checked(bytes).ok_or(SHORT)?;
        self.0 = rest;
        Ok(head)
    }

    /// Fills `out` with little-endian f32. A state that is not finite was never saved.
    pub fn f32s(&mut self, out: &mut [f32]) -> Result<(), EngineError> {
        let (values, _) = self.take(out.len() * 4)?.as_chunks::<4>();
        out.iter_mut().zip(values).for_each(|(v, bytes)| *v = f32::from_le_bytes(*bytes));
        let finite = out.iter().fold(true, |all, v| all & v.is_finite());
        if finite { Ok(()) } else { Err(EngineError::SnapshotCorrupt { what: "not finite" }) }
    }

    pub fn finish(self) -> Result<(), EngineError> {
        if self.0.is_empty() { Ok(()) } else { Err(EngineError::SnapshotCorrupt { what: "too long" }) }
    }
}

const SHORT: EngineError = EngineError::SnapshotCorrupt { what: "too short" };

pub(super) fn save_f32s(values: &[f32], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + values.len() * 4, 0);
    let (slots, _) = out[start..].as_chunks_mut::<4>();
    slots.iter_mut().zip(values).for_each(|(slot, v)| *slot = v.to_le_bytes());
}
