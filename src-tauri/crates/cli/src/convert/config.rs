//! `config.json` of a dense `GraniteMoeHybridForCausalLM`, checked against what `granitehybrid` can express.
use super::rope::{self, RawRope, Rope};
use super::{CheckpointError, json};
use serde::Deserialize;
use std::path::Path;

/// Fields without a default here have none that is safe: the exporter must have written them.
#[derive(Deserialize)]
struct RawConfig {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    layer_types: Vec<String>,
    shared_intermediate_size: usize,
    intermediate_size: Option<usize>,
    num_local_experts: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: Option<usize>,
    #[serde(default)]
    attention_bias: bool,
    /// Transformers' defaults, which all mean "no scaling" (1/√head_dim is *not* the default of the first).
    #[serde(default = "one")]
    attention_multiplier: f32,
    #[serde(default = "one")]
    embedding_multiplier: f32,
    #[serde(default = "one")]
    residual_multiplier: f32,
    #[serde(default = "one")]
    logits_scaling: f32,
    position_embedding_type: Option<String>,
    rope_parameters: Option<RawRope>,
    rope_scaling: Option<RawRope>,
    rope_theta: Option<f32>,
    mamba_n_heads: usize,
    mamba_d_head: usize,
    mamba_d_state: usize,
    mamba_n_groups: usize,
    mamba_d_conv: usize,
    #[serde(default = "yes")]
    mamba_conv_bias: bool,
    #[serde(default)]
    mamba_proj_bias: bool,
    time_step_limit: Option<(Option<f32>, Option<serde_json::Value>)>,
    #[serde(default = "silu")]
    hidden_act: String,
    rms_norm_eps: f32,
    max_position_embeddings: u32,
    #[serde(default)]
    tie_word_embeddings: bool,
    bos_token_id: Option<u32>,
    eos_token_id: Option<OneOrMore>,
    pad_token_id: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(u32),
    More(Vec<u32>),
}

fn one() -> f32 {
    1.0
}
fn yes() -> bool {
    true
}
fn silu() -> String {
    "silu".to_owned()
}

/// The checked configuration. d_inner = 2·d_model = ssm_heads · ssm_head_dim; one group.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub vocab_size: usize,
    pub d_model: usize,
    pub d_ff: usize,
    /// KV heads of every block; 0 = Mamba.
    pub kv_heads: Vec<usize>,
    pub n_head: usize,
    pub head_dim: usize,
    pub attention_scale: f32,
    pub embedding_scale: f32,
    pub residual_scale: f32,
    pub logit_scale: f32,
    pub rope: Option<Rope>,
    pub ssm_heads: usize,
    pub d_state: usize,
    pub d_conv: usize,
    pub rms_eps: f32,
    pub context_length: u32,
    pub tied: bool,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub pad: Option<u32>,
}

impl Config {
    pub fn read(dir: &Path) -> Result<Self, CheckpointError> {
        let raw: RawConfig = json::read(&dir.join("config.json"))?;
        check_architecture(&raw)?;
        check_ssm(&raw)?;
        let head_dim = check_attention(&raw)?;
        let rope = read_rope(&raw, head_dim)?;
        Ok(Self {
            vocab_size: raw.vocab_size,
            d_model: raw.hidden_size,
            d_ff: raw.shared_intermediate_size,
            kv_heads: layer_kinds(&raw)?,
            n_head: raw.num_attention_heads,
            head_dim,
            attention_scale: raw.attention_multiplier,
            embedding_scale: raw.embedding_multiplier,
            residual_scale: raw.residual_multiplier,
            logit_scale: raw.logits_scaling,
            rope,
            ssm_heads: raw.mamba_n_heads,
            d_state: raw.mamba_d_state,
            d_conv: raw.mamba_d_conv,
            rms_eps: raw.rms_norm_eps,
            context_length: raw.max_position_embeddings,
            tied: raw.tie_word_embeddings,
            bos: raw.bos_token_id,
            eos: raw.eos_token_id.and_then(OneOrMore::first),
            pad: raw.pad_token_id,
        })
    }

    pub fn d_inner(&self) -> usize {
        2 * self.d_model
    }
    /// Channels of the convolution: x | B | C.
    pub fn conv_dim(&self) -> usize {
        self.d_inner() + 2 * self.d_state
    }
    /// Rows of in_proj: z | x | B | C | dt.
    pub fn d_in_proj(&self) -> usize {
        self.d_inner() + self.conv_dim() + self.ssm_heads
    }
}

impl OneOrMore {
    fn first(self) -> Option<u32> {
        match self {
            Self::One(id) => Some(id),
            Self::More(ids) => ids.first().copied(),
        }
    }
}

fn need(
    holds: bool,
    key: &'static str,
    found: impl ToString,
    expected: impl ToString,
) -> Result<(), CheckpointError> {
    if holds { Ok(()) } else { Err(CheckpointError::config(key, found, expected)) }
}

fn check_architecture(raw: &RawConfig) -> Result<(), CheckpointError> {
    need(raw.model_type == "granitemoehybrid", "model_type", &raw.model_type, "granitemoehybrid")?;
    need(raw.num_local_experts == 0, "num_local_experts", raw.num_local_experts, 0)?;
    need(raw.hidden_act == "silu", "hidden_act", &raw.hidden_act, "silu")?;
    let d_ff = raw.intermediate_size.unwrap_or(raw.shared_intermediate_size);
    need(d_ff == raw.shared_intermediate_size, "intermediate_size", d_ff, raw.shared_intermediate_size)?;
    let layers = raw.layer_types.len();
    need(layers == raw.num_hidden_layers, "layer_types", format!("{layers} long"), raw.num_hidden_layers)
}

/// llama.cpp asserts d_inner = 2·d; it and Transformers normalise alike for one group only; it ignores dt limits.
fn check_ssm(raw: &RawConfig) -> Result<(), CheckpointError> {
    let d_inner = raw.mamba_n_heads.saturating_mul(raw.mamba_d_head);
    need(
        d_inner == raw.hidden_size.saturating_mul(2),
        "mamba_n_heads · mamba_d_head",
        d_inner,
        raw.hidden_size.saturating_mul(2),
    )?;
    need(raw.mamba_n_groups == 1, "mamba_n_groups", raw.mamba_n_groups, 1)?;
    need(raw.mamba_d_conv == 4, "mamba_d_conv", raw.mamba_d_conv, 4)?;
    need(raw.mamba_conv_bias, "mamba_conv_bias", false, true)?;
    need(!raw.mamba_proj_bias, "mamba_proj_bias", true, false)?;
    let unlimited = raw
        .time_step_limit
        .as_ref()
        .is_none_or(|(low, high)| low.unwrap_or(0.0) == 0.0 && is_infinite(high.as_ref()));
    need(unlimited, "time_step_limit", "limited", "[0, Infinity]")
}

/// `null` stands for a bare `Infinity`; Transformers 5 writes `{"__float__": "Infinity"}`.
fn is_infinite(value: Option<&serde_json::Value>) -> bool {
    value.is_none_or(|v| v.get("__float__").and_then(|f| f.as_str()) == Some("Infinity"))
}

fn check_attention(raw: &RawConfig) -> Result<usize, CheckpointError> {
    need(!raw.attention_bias, "attention_bias", true, false)?;
    let (heads, kv_heads) = (raw.num_attention_heads, raw.num_key_value_heads);
    let divides = |n: usize, by: usize| n.checked_rem(by) == Some(0);
    need(divides(raw.hidden_size, heads), "num_attention_heads", heads, "a divisor of hidden_size")?;
    need(divides(heads, kv_heads), "num_key_value_heads", kv_heads, "a divisor of num_attention_heads")?;
    let head_dim = raw.hidden_size / heads;
    need(head_dim.is_multiple_of(2), "hidden_size / num_attention_heads", head_dim, "an even number")?;
    let declared = raw.head_dim.unwrap_or(head_dim);
    need(declared == head_dim, "head_dim", declared, head_dim)?;
    Ok(head_dim)
}

/// Both the names of Transformers before 5.13 and those after it.
fn layer_kinds(raw: &RawConfig) -> Result<Vec<usize>, CheckpointError> {
    let kind = |name: &String| match name.as_str() {
        "mamba" | "linear_attention" => Ok(0),
        "attention" | "full_attention" => Ok(raw.num_key_value_heads),
        other => Err(CheckpointError::config("layer_types", other, "mamba or attention")),
    };
    raw.layer_types.iter().map(kind).collect()
}

fn read_rope(raw: &RawConfig, head_dim: usize) -> Result<Option<Rope>, CheckpointError> {
    match raw.position_embedding_type.as_deref() {
        None | Some("nope") => Ok(None),
        Some("rope") => {
            let parameters = raw.rope_parameters.as_ref().or(raw.rope_scaling.as_ref());
            rope::read(parameters, raw.rope_theta, head_dim, raw.max_position_embeddings).map(Some)
        }
        Some(other) => Err(CheckpointError::config("position_embedding_type", other, "rope or null")),
    }
}
