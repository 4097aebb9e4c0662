//! Several sequences in one call: which rows are whose, and what each remembers.
//!
//! The rows of a call belong to its sequences one after another. Kernels share out (sequence, head) pairs and the like in one job
//! of the pool, so eight sequences of one row cost one barrier, as one sequence of eight rows does. What a segment computes
//! depends on its own rows and state alone: what else is in the call changes no bit.
use super::KernelError;
use std::ops::Range;

/// One sequence's rows in a call, and its state (or whatever a kernel wants of each sequence).
#[derive(Clone, Debug)]
pub struct Segment<S> {
    pub rows: Range<usize>,
    pub state: S,
}

impl<S> Segment<S> {
    /// The whole of a call of `m` rows.
    pub fn whole(m: usize, state: S) -> [Segment<S>; 1] {
        [Segment { rows: 0..m, state }]
    }
}

/// `Err` unless the segments are `0..a, a..b, … ..m`.
pub(super) fn check_segments<S>(segments: &[Segment<S>], m: usize) -> Result<(), KernelError> {
    let mut next = 0;
    for segment in segments {
        if segment.rows.start != next || segment.rows.end < next {
            return Err(KernelError::Segments { rows: m, at: next });
        }
        next = segment.rows.end;
    }
    if next == m { Ok(()) } else { Err(KernelError::Segments { rows: m, at: next }) }
}
