//! The total name table: every tensor of a `granitehybrid` file, where it comes from and how it is transformed.
//!
//! Shapes here are GGUF's `ne` (fastest first); Transformers' shape is the reverse, unless a transform says otherwise.
use super::CheckpointError;
use super::config::Config;
use super::rope::Scaling;
use super::weights::Weights;
use std::collections::HashSet;

#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub name: String,
    pub dims: Vec<usize>,
    /// Whether the type may be anything but F32.
    pub is_matrix: bool,
    pub source: Source,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    Checkpoint {
        name: String,
        shape: Vec<usize>,
        transform: Transform,
    },
    /// Made from the configuration.
    Values(Vec<f32>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    AsIs,
    /// Rows of every head from half-split (Transformers' RoPE) to adjacent pairs (llama.cpp's NORM RoPE).
    InterleavePairs {
        heads: usize,
    },
    /// First half of the rows: the gate of `shared_mlp.input_linear`.
    FirstHalf,
    /// Second half of the rows: its up projection.
    SecondHalf,
    /// A = −exp(A_log).
    NegExp,
}

/// All tensors in file order: the embedding, the blocks, the final norm, what is optional.
pub fn plan(config: &Config) -> Vec<Planned> {
    let (d, vocab) = (config.d_model, config.vocab_size);
    let mut out = vec![matrix("token_embd.weight", "model.embed_tokens.weight", vocab, d, Transform::AsIs)];
    for (i, &kv_heads) in config.kv_heads.iter().enumerate() {
        block(&mut out, i, kv_heads, config);
    }
    out.push(vector("output_norm.weight", "model.norm.weight", d));
    if !config.tied {
        out.push(matrix("output.weight", "lm_head.weight", vocab, d, Transform::AsIs));
    }
    if let Some(Scaling::LongRope { factors, .. }) = config.rope.as_ref().map(|r| &r.scaling) {
        out.push(Planned {
            name: "rope_freqs.weight".into(),
            dims: vec![factors.len()],
            is_matrix: false,
            source: Source::Values(factors.clone()),
        });
    }
    out
}

/// Checks that the plan's sources and the checkpoint's tensors are the same set, with the same shapes.
pub fn check(plan: &[Planned], weights: &Weights) -> Result<(), CheckpointError> {
    let mut used = HashSet::new();
    for planned in plan {
        let Source::Checkpoint { name, shape, .. } = &planned.source else { continue };
        let Some(found) = weights.shape(name) else {
            return Err(CheckpointError::MissingTensor { tensor: name.clone() });
        };
        if found != shape {
            return Err(CheckpointError::WrongShape {
                tensor: name.clone(),
                found: found.to_vec(),
                expected: shape.clone(),
            });
        }
        used.insert(name.as_str());
    }
    match weights.names().find(|name| !used.contains(name)) {
        Some(name) => Err(CheckpointError::UnknownTensor { tensor: name.to_owned() }),
        None => Ok(()),
    }
}

fn block(out: &mut Vec<Planned>, i: usize, kv_heads: usize, config: &Config) {
    let (d, ff) = (config.d_model, config.d_ff);
    let at = |gguf: &str, hf: &str| (format!("blk.{i}.{gguf}"), format!("model.layers.{i}.{hf}"));
    let (name, source) = at("attn_norm.weight", "input_layernorm.weight");
    out.push(vector(&name, &source, d));
    if kv_heads == 0 {
        mamba(out, &at, config);
    } else {
        attention(out, &at, kv_heads, config);
    }
    let (name, source) = at("ffn_norm.weight", "post_attention_layernorm.weight");
    out.push(vector(&name, &source, d));
    for (part, half) in [("ffn_gate.weight", Transform::FirstHalf), ("ffn_up.weight", Transform::SecondHalf)]
    {
        let (name, source) = at(part, "shared_mlp.input_linear.weight");
        out.push(matrix(&name, &source, ff, d, half));
    }
    let (name, source) = at("ffn_down.weight", "shared_mlp.output_linear.weight");
    out.push(matrix(&name, &source, d, ff, Transform::AsIs));
}

type Namer<'a> = dyn Fn(&str, &str) -> (String, String) + 'a;

fn mamba(out: &mut Vec<Planned>, at: &Namer<'_>, config: &Config) {
    let (d, d_inner, heads, conv_dim) =
        (config.d_model, config.d_inner(), config.ssm_heads, config.conv_dim());
    let rows = [
        ("ssm_in.weight", "mamba.in_proj.weight", config.d_in_proj(), d),
        ("ssm_out.weight", "mamba.out_proj.weight", d, d_inner),
    ];
    for (part, hf, rows, columns) in rows {
        let (name, source) = at(part, hf);
        out.push(matrix(&name, &source, rows, columns, Transform::AsIs));
    }
    let mut f32s = |part: &str, hf: &str, dims: Vec<usize>, shape: Vec<usize>, transform| {
        let (name, source) = at(part, hf);
        let source = Source::Checkpoint { name: source, shape, transform };
        out.push(Planned { name, dims, is_matrix: false, source });
    };
    let (as_is, taps) = (Transform::AsIs, config.d_conv);
    // F16 crashes ggml_ssm_conv; llama.cpp adds the bias unconditionally and wants A and D as {1, H}.
    f32s("ssm_conv1d.weight", "mamba.conv1d.weight", vec![taps, conv_dim], vec![conv_dim, 1, taps], as_is);
    f32s("ssm_conv1d.bias", "mamba.conv1d.bias", vec![conv_dim], vec![conv_dim], as_is);
    f32s("ssm_dt.bias", "mamba.dt_bias", vec![heads], vec![heads], as_is);
    f32s("ssm_a", "mamba.A_log", vec![1, heads], vec![heads], Transform::NegExp);
    f32s("ssm_d", "mamba.D", vec![1, heads], vec![heads], as_is);
    f32s("ssm_norm.weight", "mamba.norm.weight", vec![d_inner, 1], vec![d_inner], as_is);
}

fn attention(out: &mut Vec<Planned>, at: &Namer<'_>, kv_heads: usize, config: &Config) {
    let d = config.d_model;
    let (q_rows, kv_rows) = (config.n_head * config.head_dim, kv_heads * config.head_dim);
    let pairs = |heads| Transform::InterleavePairs { heads };
    for (part, hf, rows, columns, transform) in [
        ("attn_q.weight", "self_attn.q_proj.weight", q_rows, d, pairs(config.n_head)),
        ("attn_k.weight", "self_attn.k_proj.weight", kv_rows, d, pairs(kv_heads)),
        ("attn_v.weight", "self_attn.v_proj.weight", kv_rows, d, Transform::AsIs),
        ("attn_output.weight", "self_attn.o_proj.weight", d, q_rows, Transform::AsIs),
    ] {
        let (name, source) = at(part, hf);
        out.push(matrix(&name, &source, rows, columns, transform));
    }
}

/// `rows` are those of the result; the halves come from a source of twice as many.
fn matrix(name: &str, source: &str, rows: usize, columns: usize, transform: Transform) -> Planned {
    let source_rows = match transform {
        Transform::FirstHalf | Transform::SecondHalf => 2 * rows,
        _ => rows,
    };
    let source = Source::Checkpoint { name: source.to_owned(), shape: vec![source_rows, columns], transform };
    Planned { name: name.to_owned(), dims: vec![columns, rows], is_matrix: true, source }
}

fn vector(name: &str, source: &str, n: usize) -> Planned {
    let source = Source::Checkpoint { name: source.to_owned(), shape: vec![n], transform: Transform::AsIs };
    Planned { name: name.to_owned(), dims: vec![n], is_matrix: false, source }
}

impl Transform {
    /// `values` is row-major with rows of `columns`.
    pub fn apply(self, values: Vec<f32>, columns: usize) -> Vec<f32> {
        match self {
            Self::AsIs => values,
            Self::InterleavePairs { heads } => interleave_pairs(&values, heads, columns),
            Self::FirstHalf => values[..values.len() / 2].to_vec(),
            Self::SecondHalf => values[values.len() / 2..].to_vec(),
            Self::NegExp => values.into_iter().map(|a_log| -a_log.exp()).collect(),
        }
    }
}

/// numpy: `w.reshape(heads, 2, hd/2, columns).swapaxes(1, 2).reshape(w.shape)`: row j of a head's first half becomes
/// row 2j, row j of its second half row 2j + 1.
fn interleave_pairs(values: &[f32], heads: usize, columns: usize) -> Vec<f32> {
    let head_len = values.len() / heads;
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(head_len) {
        let (first, second) = head.split_at(head_len / 2);
        for (a, b) in first.chunks_exact(columns).zip(second.chunks_exact(columns)) {
            out.extend_from_slice(a);
            out.extend_from_slice(b);
        }
    }
    out
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
