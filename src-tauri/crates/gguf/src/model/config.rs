//! The model's sizes and numbers, read from the `granitehybrid.*` keys and cross-checked.
use super::ModelError;
use super::keys::Keys;
use crate::{Array, Gguf};

/// `LLAMA_MAX_LAYERS`.
const MAX_LAYERS: u32 = 512;
const MAX_WIDTH: u32 = 1 << 16;
const MAX_CONTEXT: u32 = 1 << 24;

/// What block `i` mixes tokens with. Every block has an FFN after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    Mamba,
    Attention { n_kv: usize },
}

/// Mamba-2 sizes. `d_inner = n_head · head_dim = 2 · d_model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SsmConfig {
    /// K, always 4.
    pub conv_kernel: usize,
    pub d_inner: usize,
    /// N.
    pub d_state: usize,
    /// H; the key is called `time_step_rank`.
    pub n_head: usize,
    /// P.
    pub head_dim: usize,
    /// G; head `h` uses group `h / (H / G)`.
    pub n_group: usize,
}

impl SsmConfig {
    /// Channels that pass through the convolution: `x | B | C`.
    pub fn conv_dim(&self) -> usize {
        self.d_inner.saturating_add(self.n_group.saturating_mul(self.d_state).saturating_mul(2))
    }
    /// Rows of `ssm_in`: `z | x | B | C | dt`.
    pub fn d_in_proj(&self) -> usize {
        self.d_inner.saturating_add(self.conv_dim()).saturating_add(self.n_head)
    }
}

/// How the rotation angle `θ_j = pos · theta^(-2j/n_rot) / freq_factor_j` is stretched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// No scaling, whatever the factor says.
    None,
    /// Angles divided by `factor`. `longrope` in a file is this too: its factors are in `rope_freqs.weight`.
    Linear { factor: f32 },
    /// YaRN with β_fast 32 and β_slow 1; the magnitude is multiplied by `1 + 0.1·ln(factor)` as well.
    Yarn { factor: f32, original_context: usize },
}

/// Rotary embedding of the attention blocks; adjacent pairs (2j, 2j+1) of the first `n_rot` dimensions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeConfig {
    pub theta: f32,
    pub n_rot: usize,
    pub scaling: RopeScaling,
    /// Multiplies cos and sin, on top of YaRN's own factor.
    pub attn_factor: f32,
    /// The file has `rope_freqs.weight`, which divides the angles.
    pub has_freq_factors: bool,
}

/// Everything the forward pass needs beside the weights. Missing multipliers are resolved to their defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    pub name: Option<String>,
    /// llama.cpp's file type (0 F32, 1 F16, 2 Q4_0, 7 Q8_0, 15 Q4_K_M, 32 BF16); informational.
    pub file_type: Option<u32>,
    pub vocab_size: usize,
    pub context_length: usize,
    pub d_model: usize,
    pub d_ff: usize,
    pub rms_eps: f32,
    /// One entry a block.
    pub layers: Vec<LayerKind>,
    pub n_head: usize,
    pub head_dim: usize,
    /// q·k multiplier, `1/sqrt(head_dim)` unless the file says otherwise.
    pub attention_scale: f32,
    pub embedding_scale: f32,
    pub residual_scale: f32,
    /// Logits are divided by it.
    pub logit_scale: f32,
    pub ssm: SsmConfig,
    /// `None` = no positional embedding (`rope.scaling.finetuned` is false).
    pub rope: Option<RopeConfig>,
    /// There is no `output.weight`: the head is `token_embd.weight`.
    pub tied_embedding: bool,
}

impl ModelConfig {
    pub(super) fn read(gguf: &Gguf, vocab_size: usize) -> Result<Self, ModelError> {
        let keys = Keys { gguf, prefix: "granitehybrid." };
        check_dense(&keys)?;
        check_vocab(&keys, vocab_size)?;
        let d_model = keys.count("embedding_length", MAX_WIDTH)?;
        let context_length = keys.count("context_length", MAX_CONTEXT)?;
        let n_layer = keys.count("block_count", MAX_LAYERS)?;
        let n_head = keys.count("attention.head_count", MAX_WIDTH)?;
        let head_dim = read_head_dim(&keys, d_model, n_head)?;
        let general = Keys { gguf, prefix: "general." };
        Ok(Self {
            name: general.str("name")?.map(str::to_owned),
            file_type: general.u32("file_type")?,
            vocab_size,
            context_length,
            d_model,
            d_ff: read_d_ff(&keys, n_layer)?,
            rms_eps: read_eps(&keys)?,
            layers: read_layers(&keys, n_layer, n_head)?,
            n_head,
            head_dim,
            attention_scale: keys.scale("attention.scale", (head_dim as f32).sqrt().recip())?,
            embedding_scale: keys.scale("embedding_scale", 1.0)?,
            residual_scale: keys.scale("residual_scale", 1.0)?,
            logit_scale: keys.scale("logit_scale", 1.0)?,
            ssm: read_ssm(&keys, d_model)?,
            rope: read_rope(&keys, head_dim, context_length)?,
            tied_embedding: gguf.tensor("output.weight").is_none(),
        })
    }

    pub fn n_layer(&self) -> usize {
        self.layers.len()
    }
}

pub(super) fn check_architecture(gguf: &Gguf) -> Result<(), ModelError> {
    let keys = Keys { gguf, prefix: "general." };
    match keys.required("architecture", keys.str("architecture"))? {
        "granitehybrid" => Ok(()),
        found => Err(ModelError::Architecture { found: found.to_owned() }),
    }
}

fn check_dense(keys: &Keys<'_>) -> Result<(), ModelError> {
    for key in ["expert_count", "expert_used_count"] {
        if let Some(found) = keys.u32(key)?.filter(|&n| n != 0) {
            return Err(ModelError::Experts { key: keys.full(key), found });
        }
    }
    Ok(())
}

fn check_vocab(keys: &Keys<'_>, tokens: usize) -> Result<(), ModelError> {
    match keys.u32("vocab_size")? {
        Some(n) if n as usize != tokens => Err(ModelError::Inconsistent {
            key: keys.full("vocab_size"),
            found: n.into(),
            rule: "it is the length of tokenizer.ggml.tokens",
        }),
        _ => Ok(()),
    }
}

fn read_head_dim(keys: &Keys<'_>, d_model: usize, n_head: usize) -> Result<usize, ModelError> {
    let inconsistent = |key: &str, found: usize, rule| ModelError::Inconsistent {
        key: keys.full(key),
        found: found as i64,
        rule,
    };
    let key_length = keys.u32("attention.key_length")?;
    if keys.u32("attention.value_length")? != key_length {
        let found = key_length.unwrap_or_default() as usize;
        return Err(inconsistent("attention.key_length", found, "attention.value_length is the same"));
    }
    match (key_length, d_model.checked_rem(n_head), d_model.checked_div(n_head)) {
        (Some(n), ..) => keys.in_range("attention.key_length", n, 1, 1024),
        (None, Some(0), Some(head_dim)) => Ok(head_dim),
        _ => Err(inconsistent("attention.head_count", n_head, "it divides embedding_length")),
    }
}

fn read_eps(keys: &Keys<'_>) -> Result<f32, ModelError> {
    let key = "attention.layer_norm_rms_epsilon";
    let eps = keys.required(key, keys.optional(key, "an f32", crate::Value::as_f32))?;
    if !(eps > 0.0 && eps < 1.0) {
        return Err(ModelError::BadFloat { key: keys.full(key), found: eps });
    }
    Ok(eps)
}

/// The FFN's width: one number, or the same number for every block.
fn read_d_ff(keys: &Keys<'_>, n_layer: usize) -> Result<usize, ModelError> {
    const KEY: &str = "feed_forward_length";
    if !matches!(keys.gguf.get(&keys.full(KEY)), Some(crate::Value::Array(_))) {
        return keys.count(KEY, MAX_WIDTH);
    }
    let widths = read_int_array(keys, KEY, n_layer)?;
    let first = widths.first().copied().unwrap_or_default();
    if let Some(&other) = widths.iter().find(|&&w| w != first) {
        let rule = "every block has the same width";
        return Err(ModelError::Inconsistent { key: keys.full(KEY), found: other, rule });
    }
    let n = u32::try_from(first).unwrap_or_default();
    keys.in_range(KEY, n, 1, MAX_WIDTH)
}

/// An array of u32 or i32 (gguf-py writes i32) with one element a block.
fn read_int_array(keys: &Keys<'_>, key: &str, n_layer: usize) -> Result<Vec<i64>, ModelError> {
    let expected = "an array of u32 or i32";
    let array = keys.required(key, keys.array(key, expected))?;
    let values: Vec<i64> = match array {
        Array::U32(v) => v.iter().map(|&n| n.into()).collect(),
        Array::I32(v) => v.iter().map(|&n| n.into()).collect(),
        other => {
            return Err(ModelError::WrongType { key: keys.full(key), expected, found: other.element_type() });
        }
    };
    if values.len() != n_layer {
        return Err(ModelError::WrongLength { key: keys.full(key), found: values.len(), expected: n_layer });
    }
    Ok(values)
}

/// `head_count_kv` alone decides what a block is: 0 is Mamba.
fn read_layers(keys: &Keys<'_>, n_layer: usize, n_head: usize) -> Result<Vec<LayerKind>, ModelError> {
    const KEY: &str = "attention.head_count_kv";
    let kind = |n: i64| match usize::try_from(n) {
        Ok(0) => Ok(LayerKind::Mamba),
        Ok(n_kv) if n_head.checked_rem(n_kv) == Some(0) => Ok(LayerKind::Attention { n_kv }),
        _ => Err(ModelError::Inconsistent {
            key: keys.full(KEY),
            found: n,
            rule: "it divides attention.head_count",
        }),
    };
    read_int_array(keys, KEY, n_layer)?.into_iter().map(kind).collect()
}

fn read_ssm(keys: &Keys<'_>, d_model: usize) -> Result<SsmConfig, ModelError> {
    let kernel = keys.required("ssm.conv_kernel", keys.u32("ssm.conv_kernel"))?;
    let conv_kernel = keys.in_range("ssm.conv_kernel", kernel, 4, 4)?;
    let d_inner = keys.count("ssm.inner_size", MAX_WIDTH.saturating_mul(2))?;
    let d_state = keys.count("ssm.state_size", 4096)?;
    let n_head = keys.count("ssm.time_step_rank", MAX_WIDTH)?;
    let n_group = keys.count("ssm.group_count", MAX_WIDTH)?;
    let rule = |key: &str, found: usize, holds: bool, rule| match holds {
        true => Ok(()),
        false => Err(ModelError::Inconsistent { key: keys.full(key), found: found as i64, rule }),
    };
    let divides = |n: usize, by: usize| n.checked_rem(by) == Some(0);
    let twice = d_model.checked_mul(2) == Some(d_inner);
    rule("ssm.inner_size", d_inner, twice, "it is twice embedding_length")?;
    rule("ssm.time_step_rank", n_head, divides(d_inner, n_head), "it divides ssm.inner_size")?;
    rule("ssm.group_count", n_group, divides(n_head, n_group), "it divides ssm.time_step_rank")?;
    let head_dim = d_inner.checked_div(n_head).unwrap_or_default();
    Ok(SsmConfig { conv_kernel, d_inner, d_state, n_head, head_dim, n_group })
}

fn read_rope(keys: &Keys<'_>, head_dim: usize, context: usize) -> Result<Option<RopeConfig>, ModelError> {
    let has_freq_factors = keys.gguf.tensor("rope_freqs.weight").is_some();
    let theta = keys.positive("rope.freq_base", 10_000.0)?;
    let n_rot = read_n_rot(keys, head_dim)?;
    let scaling = read_scaling(keys, context)?;
    let attn_factor = keys.positive("rope.scaling.attn_factor", 1.0)?;
    if theta <= 1.0 {
        return Err(ModelError::BadFloat { key: keys.full("rope.freq_base"), found: theta });
    }
    let enabled = keys.bool("rope.scaling.finetuned")?.unwrap_or(true);
    Ok(enabled.then_some(RopeConfig { theta, n_rot, scaling, attn_factor, has_freq_factors }))
}

fn read_n_rot(keys: &Keys<'_>, head_dim: usize) -> Result<usize, ModelError> {
    const KEY: &str = "rope.dimension_count";
    let n_rot = keys.u32(KEY)?.map_or(head_dim, |n| n as usize);
    if n_rot == 0 || n_rot > head_dim || n_rot.checked_rem(2) != Some(0) {
        let rule = "it is even, positive and at most the head's size";
        return Err(ModelError::Inconsistent { key: keys.full(KEY), found: n_rot as i64, rule });
    }
    Ok(n_rot)
}

fn read_scaling(keys: &Keys<'_>, context: usize) -> Result<RopeScaling, ModelError> {
    const ORIGINAL: &str = "rope.scaling.original_context_length";
    let factor = keys.positive("rope.scaling.factor", 1.0)?;
    let original_context = match keys.u32(ORIGINAL)? {
        None => context,
        Some(n) => keys.in_range(ORIGINAL, n, 1, MAX_CONTEXT)?,
    };
    match keys.str("rope.scaling.type")? {
        Some("none") => Ok(RopeScaling::None),
        None | Some("linear" | "longrope") => Ok(RopeScaling::Linear { factor }),
        Some("yarn") => Ok(RopeScaling::Yarn { factor, original_context }),
        Some(found) => Err(ModelError::RopeScaling { found: found.to_owned() }),
    }
}
