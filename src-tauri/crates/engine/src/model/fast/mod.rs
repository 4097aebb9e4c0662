//! The hot path: quantized weights and own kernels, no tensor library inside the token loop.
//!
//! One pass reads rows of any number of sequences: every weight goes through the processor once for all rows, and only what
//! depends on earlier tokens (convolution, scan, positions, attention) is done per [`Segment`], the rows of one sequence.
//! A network is a list of [`Block`]s `x += residual_scale · part(norm(x))`; a [`Part`] is a mixer, a feed-forward network, or
//! several at once. A new family is a new list, and a part for what it has of its own.
//!
//! Letters: m rows of a pass, d model width, V vocabulary, f FFN width, H/P/N/G Mamba-2 heads, head size, state size, groups,
//! di = H·P, e = width of `ssm_in`'s output (z|x|B|C|dt), a/c = width of all query / key heads. A name's suffix is its shape.
mod attention;
mod experts;
mod ffn;
mod forward;
mod mamba;
mod parallel;
mod scratch;
mod state;

pub(super) use attention::{Attention, Projection};
pub(super) use experts::Experts;
pub(super) use ffn::{SquaredRelu, SwiGlu};
pub(super) use forward::{Segment, rope_positions};
pub(super) use mamba::Mamba;
pub(super) use parallel::Parallel;
pub(super) use scratch::Scratch;
pub(crate) use state::FastSequence;
pub(super) use state::{KvShape, Shapes, State};

use super::rope::RopeSpec;
use crate::kernels::{CpuTier, KernelError, PackedMatrix, Pool};
use std::sync::Mutex;

pub(super) struct FastNet {
    pub tier: CpuTier,
    pub pool: Pool,
    pub scales: Scales,
    pub embedding_vd: PackedMatrix,
    /// `None`: the head is the embedding.
    pub head_vd: Option<PackedMatrix>,
    pub output_norm_d: Vec<f32>,
    pub blocks: Vec<Block>,
    /// What a sequence remembers; the parts hold indices into it.
    pub shapes: Shapes,
    pub rope: Option<RopeSpec>,
    /// One pass at a time: the pool has one job at a time anyway, and one set of buffers serves every sequence.
    pub scratch: Mutex<Scratch>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Scales {
    pub eps: f32,
    pub embedding: f32,
    pub residual: f32,
    pub logit: f32,
}

/// `x += residual_scale · part(rms_norm(x) · norm_d)`.
pub(super) struct Block {
    pub norm_d: Vec<f32>,
    pub part: Box<dyn Part>,
}

/// What stands between a norm and the residual connection.
pub(super) trait Part: Send + Sync {
    /// From the normed rows `t.input` (left as they are) to `t.a [m, d]`. Row ranges and states are in `segments`; whatever a
    /// part remembers of a sequence lies in that sequence's [`State`], at the index the part was built with.
    fn run(&self, net: &FastNet, segments: &mut [Segment<'_>], t: &mut Scratch) -> Result<(), KernelError>;
}
