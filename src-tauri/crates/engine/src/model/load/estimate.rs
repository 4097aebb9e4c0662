//! What a file will take once it is loaded, from its header alone.
use super::source::{kv_type, weight_type};
use super::{choose_tier, threads};
use crate::kernels::{CONV_STATE, KvCache, PackedMatrix, SsmShape};
use crate::memory::MemoryEstimate;
use crate::model::Model;
use crate::model::fast::{KvShape, Shapes};
use crate::session::CHUNK;
use crate::weights::WeightFile;
use crate::{Backend, EngineError, LoadOptions};
use chimera_gguf::{TensorInfo, ValidModel};
use std::path::Path;

/// Tokens of context that loading makes sure of. What more of them needs is asked for as they come.
const CONTEXT: usize = 4096;
/// f32, int8 and the scales and sums of its blocks: bytes for one value of an activation (`kernels::Activation`).
const ACTIVATION: u64 = 6;
/// Bytes that the tokenizer takes for an entry of the vocabulary or a merge: strings, maps both ways, what building leaves
/// behind in the allocator. Measured on vocabularies of 32,768 and 49,152.
const TOKENIZER_ENTRY: u64 = 190;
/// Pages of code and of the allocator, stacks of threads, and a part of a huge page for each segment of weights.
const FIXED: u64 = 6 << 20;
const THREAD: u64 = 128 << 10;

impl Model {
    /// What loading `path` with these options and reading `context` tokens (0: 4096, or the model's limit if that is less)
    /// in one session will take. Reads the header only. Measured peaks are within 10% of it (a test measures one).
    pub fn estimate(
        path: &Path,
        options: &LoadOptions,
        context: usize,
    ) -> Result<MemoryEstimate, EngineError> {
        choose_tier(options)?;
        estimate(&WeightFile::open(path)?.validate()?, options, context)
    }
}

pub(super) fn estimate(
    valid: &ValidModel,
    options: &LoadOptions,
    context: usize,
) -> Result<MemoryEstimate, EngineError> {
    let config = &valid.config;
    let limit = config.context_length;
    let context = if context == 0 { CONTEXT.min(limit) } else { context.min(limit) };
    let shapes = shapes(valid);
    let sizes = valid.gguf.tensors().iter().map(|tensor| tensor_bytes(tensor, options.backend));
    Ok(MemoryEstimate {
        weights: sizes.sum::<Result<u64, _>>()?,
        state: state_bytes(&shapes),
        kv: kv_bytes(&shapes, context),
        scratch: scratch_bytes(valid, threads(options)) + rope_bytes(valid, context),
        tokenizer: TOKENIZER_ENTRY * (valid.tokenizer.tokens.len() + valid.tokenizer.merges.len()) as u64,
    })
}

/// Everything that a sequence of this model remembers, as its parts will ask for it.
fn shapes(valid: &ValidModel) -> Shapes {
    let config = &valid.config;
    let mut shapes = Shapes::new(kv_type(valid));
    for mixer in config.layers.iter().filter_map(|block| block.mixer) {
        if let Some(ssm) = config.ssm.filter(|_| mixer.has_mamba()) {
            let (heads, groups) = (ssm.n_head, ssm.n_group);
            shapes.add_mamba(SsmShape { heads, head_dim: ssm.head_dim, state: ssm.d_state, groups });
        }
        if let Some(heads) = mixer.n_kv() {
            shapes.add_kv(KvShape { heads, head_dim: config.head_dim });
        }
    }
    shapes
}

fn tensor_bytes(tensor: &TensorInfo, backend: Backend) -> Result<u64, EngineError> {
    let plain = tensor.elements() as u64 * 4;
    if tensor.dims.len() < 2 || backend == Backend::Reference {
        return Ok(plain);
    }
    let rows = tensor.dims.iter().skip(1).product();
    Ok(PackedMatrix::packed_bytes(weight_type(tensor)?, rows, tensor.dims[0]) as u64)
}

pub(in crate::model) fn state_bytes(shapes: &Shapes) -> u64 {
    let floats = shapes.mamba.iter().map(|s| s.state_len() + CONV_STATE * s.conv_dim());
    floats.sum::<usize>() as u64 * 4
}

fn kv_bytes(shapes: &Shapes, context: usize) -> u64 {
    let rows = shapes.kv.iter().map(|kv| kv.heads * shapes.kv_type.row_bytes(kv.head_dim));
    (2 * KvCache::positions_for(context) * rows.sum::<usize>()) as u64
}

/// Rows of a chunk: the residual stream, two activations, three buffers as wide as the widest product; logits and what
/// sampling makes of them.
fn scratch_bytes(valid: &ValidModel, threads: usize) -> u64 {
    let matrices = valid.gguf.tensors().iter().filter(|t| t.dims.len() == 2 && t.name.starts_with("blk."));
    let (widest_in, widest_out) =
        matrices.fold((0, 0), |(cols, rows), t| (cols.max(t.dims[0]), rows.max(t.dims[1])));
    let (d, a, c) = (valid.config.d_model as u64, widest_in as u64, widest_out as u64);
    let rows = CHUNK as u64 * (4 * d + ACTIVATION * (d + a) + 3 * 4 * c);
    rows + 16 * valid.config.vocab_size as u64 + FIXED + THREAD * threads as u64
}

fn rope_bytes(valid: &ValidModel, context: usize) -> u64 {
    let pairs = valid.config.rope.as_ref().map_or(0, |rope| rope.n_rot / 2);
    (crate::model::fast::rope_positions(context) * pairs * size_of::<(f32, f32)>()) as u64
}
