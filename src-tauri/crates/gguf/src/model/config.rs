//! The model's sizes and numbers, read from its family's keys and cross-checked.
use super::family::{Family, MAX_WIDTH, RopeRule};
use super::keys::Keys;
use super::{ModelError, TokenizerData};
use crate::Gguf;

/// `LLAMA_MAX_LAYERS`.
const MAX_LAYERS: u32 = 512;
const MAX_CONTEXT: u32 = 1 << 24;

/// What one block adds to the residual stream: `x += mixer(norm(x))`, then `x += ffn(norm(x))`; never neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub mixer: Option<Mixer>,
    pub ffn: Option<Ffn>,
}

/// What a block mixes tokens with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mixer {
    Mamba,
    Attention {
        n_kv: usize,
    },
    /// Both on the same normed input; their outputs are added.
    Parallel {
        n_kv: usize,
    },
}

impl Mixer {
    pub fn has_mamba(self) -> bool {
        !matches!(self, Self::Attention { .. })
    }
    /// Key and value heads, if there is attention.
    pub fn n_kv(self) -> Option<usize> {
        match self {
            Self::Mamba => None,
            Self::Attention { n_kv } | Self::Parallel { n_kv } => Some(n_kv),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ffn {
    /// `down(silu(gate·x) ⊙ up·x)`.
    Gated { width: usize },
    /// `down(relu(up·x)²)`.
    Squared { width: usize },
    /// Each token goes through the `used` best of `experts` gated FFNs, weighted by the softmax of their scores, and,
    /// if `shared` > 0, through one of that width that every token shares.
    Experts { width: usize, experts: usize, used: usize, shared: usize },
}

impl Ffn {
    /// The widest hidden row.
    pub fn width(self) -> usize {
        match self {
            Self::Gated { width } | Self::Squared { width } => width,
            Self::Experts { width, shared, .. } => width.max(shared),
        }
    }
}

/// Mamba-2 sizes. `d_inner = n_head · head_dim`, in `granitehybrid` also `2 · d_model`.
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

/// Which two of the first `n_rot` values of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairs {
    /// (2j, 2j+1): ggml's NORM.
    Adjacent,
    /// (j, j + n_rot/2): ggml's NEOX.
    Halves,
}

/// Rotary embedding of the attention blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeConfig {
    pub pairs: RopePairs,
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
    pub family: Family,
    pub name: Option<String>,
    /// llama.cpp's file type (0 F32, 1 F16, 2 Q4_0, 7 Q8_0, 15 Q4_K_M, 32 BF16); informational.
    pub file_type: Option<u32>,
    pub vocab_size: usize,
    pub context_length: usize,
    pub d_model: usize,
    pub rms_eps: f32,
    pub layers: Vec<Block>,
    pub n_head: usize,
    pub head_dim: usize,
    /// q·k multiplier, `1/sqrt(head_dim)` unless the file says otherwise.
    pub attention_scale: f32,
    pub embedding_scale: f32,
    pub residual_scale: f32,
    /// Logits are divided by it.
    pub logit_scale: f32,
    /// `None` = no block has Mamba-2.
    pub ssm: Option<SsmConfig>,
    /// `None` = no positional embedding.
    pub rope: Option<RopeConfig>,
    /// There is no `output.weight`: the head is `token_embd.weight`.
    pub tied_embedding: bool,
}

impl ModelConfig {
    pub(super) fn read(gguf: &Gguf, tokenizer: &TokenizerData) -> Result<Self, ModelError> {
        let family = read_family(gguf)?;
        let keys = Keys { gguf, prefix: family.prefix() };
        let vocab_size = tokenizer.tokens.len();
        check_vocab(&keys, vocab_size)?;
        let d_model = keys.count("embedding_length", MAX_WIDTH)?;
        let context_length = keys.count("context_length", MAX_CONTEXT)?;
        let n_layer = keys.count("block_count", MAX_LAYERS)?;
        let n_head = keys.count("attention.head_count", MAX_WIDTH)?;
        let head_dim = read_head_dim(&keys, d_model, n_head)?;
        let scale = |key: &str, default: f32| match family.has_multipliers() {
            true => keys.scale(key, default),
            false => Ok(default),
        };
        let general = Keys { gguf, prefix: "general." };
        Ok(Self {
            family,
            name: general.str("name")?.map(str::to_owned),
            file_type: general.u32("file_type")?,
            vocab_size,
            context_length,
            d_model,
            rms_eps: read_eps(&keys, family)?,
            layers: family.blocks(&keys, n_layer, n_head)?,
            n_head,
            head_dim,
            attention_scale: scale("attention.scale", (head_dim as f32).sqrt().recip())?,
            embedding_scale: scale("embedding_scale", 1.0)?,
            residual_scale: scale("residual_scale", 1.0)?,
            logit_scale: scale("logit_scale", 1.0)?,
            ssm: family.has_mamba().then(|| read_ssm(&keys, family, d_model)).transpose()?,
            rope: read_rope(&keys, family, head_dim, context_length)?,
            tied_embedding: gguf.tensor("output.weight").is_none(),
        })
    }

    pub fn n_layer(&self) -> usize {
        self.layers.len()
    }

    /// The widest hidden row of any FFN.
    pub fn max_ff(&self) -> usize {
        self.layers.iter().filter_map(|block| block.ffn).map(Ffn::width).max().unwrap_or(0)
    }
}

pub(super) fn read_family(gguf: &Gguf) -> Result<Family, ModelError> {
    let keys = Keys { gguf, prefix: "general." };
    let name = keys.required("architecture", keys.str("architecture"))?;
    Family::of(name).ok_or_else(|| ModelError::Architecture { found: name.to_owned() })
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

fn read_eps(keys: &Keys<'_>, family: Family) -> Result<f32, ModelError> {
    let names = family.eps_keys();
    let first = names.first().copied().unwrap_or_default();
    let key = names.iter().copied().find(|key| keys.has(key)).unwrap_or(first);
    let eps = keys.required(key, keys.optional(key, "an f32", crate::Value::as_f32))?;
    if !(eps > 0.0 && eps < 1.0) {
        return Err(ModelError::BadFloat { key: keys.full(key), found: eps });
    }
    Ok(eps)
}

fn read_ssm(keys: &Keys<'_>, family: Family, d_model: usize) -> Result<SsmConfig, ModelError> {
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
    let twice = family != Family::GraniteHybrid || d_model.checked_mul(2) == Some(d_inner);
    rule("ssm.inner_size", d_inner, twice, "it is twice embedding_length")?;
    rule("ssm.time_step_rank", n_head, divides(d_inner, n_head), "it divides ssm.inner_size")?;
    rule("ssm.group_count", n_group, divides(n_head, n_group), "it divides ssm.time_step_rank")?;
    let head_dim = d_inner.checked_div(n_head).unwrap_or_default();
    Ok(SsmConfig { conv_kernel, d_inner, d_state, n_head, head_dim, n_group })
}

fn read_rope(
    keys: &Keys<'_>,
    family: Family,
    head_dim: usize,
    context: usize,
) -> Result<Option<RopeConfig>, ModelError> {
    let (pairs, enabled) = match family.rope() {
        RopeRule::Never => return Ok(None),
        RopeRule::Always(pairs) => (pairs, true),
        RopeRule::Switch(pairs) => (pairs, keys.bool("rope.scaling.finetuned")?.unwrap_or(true)),
    };
    let has_freq_factors = family.may_have_freq_factors() && keys.gguf.tensor("rope_freqs.weight").is_some();
    let theta = keys.positive("rope.freq_base", 10_000.0)?;
    let n_rot = read_n_rot(keys, head_dim)?;
    let scaling = read_scaling(keys, context)?;
    let attn_factor = keys.positive("rope.scaling.attn_factor", 1.0)?;
    if theta <= 1.0 {
        return Err(ModelError::BadFloat { key: keys.full("rope.freq_base"), found: theta });
    }
    if family == Family::Llama && n_rot != head_dim {
        let rule = "it is the head's size";
        return Err(keys.inconsistent("rope.dimension_count", n_rot as i64, rule));
    }
    Ok(enabled.then_some(RopeConfig { pairs, theta, n_rot, scaling, attn_factor, has_freq_factors }))
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
