//! The keys of the file: general, architecture, RoPE, tokenizer.
use super::config::Config;
use super::rope::{Rope, Scaling};
use super::tokenizer::Tokenizer;
use super::{FloatType, General};
use chimera_gguf::{Value, WriteError, Writer};

/// Collects keys with one prefix.
struct Keys<'a> {
    writer: &'a mut Writer,
    prefix: &'static str,
}

impl Keys<'_> {
    fn put(&mut self, key: &str, value: impl Into<Value>) -> Result<(), WriteError> {
        self.writer.kv(&format!("{}{key}", self.prefix), value)
    }

    /// Sizes are u32 in the format; a larger one could not come from a file that fits the address space.
    fn size(&mut self, key: &str, n: usize) -> Result<(), WriteError> {
        self.put(key, u32::try_from(n).unwrap_or(u32::MAX))
    }

    fn optional(&mut self, key: &str, id: Option<u32>) -> Result<(), WriteError> {
        id.map_or(Ok(()), |id| self.put(key, id))
    }
}

pub fn write(
    writer: &mut Writer,
    config: &Config,
    tokenizer: &Tokenizer,
    general: &General,
    dtype: FloatType,
) -> Result<(), WriteError> {
    put_general(&mut Keys { writer, prefix: "general." }, general, dtype)?;
    let mut keys = Keys { writer, prefix: "granitehybrid." };
    put_sizes(&mut keys, config)?;
    put_attention(&mut keys, config)?;
    put_rope(&mut keys, config.rope.as_ref(), config.head_dim)?;
    put_ssm(&mut keys, config)?;
    put_tokenizer(&mut Keys { writer, prefix: "tokenizer." }, config, tokenizer)
}

fn put_general(keys: &mut Keys<'_>, general: &General, dtype: FloatType) -> Result<(), WriteError> {
    keys.put("architecture", "granitehybrid")?;
    keys.put("type", "model")?;
    keys.put("name", general.name.as_str())?;
    keys.put("size_label", size_label(general.parameters))?;
    if let Some(license) = &general.license {
        keys.put("license", license.as_str())?;
    }
    keys.put("languages", general.languages.clone())?;
    keys.put("file_type", dtype.file_type())
}

/// As llama.cpp labels sizes: `94M`, `1.3B`.
fn size_label(parameters: u64) -> String {
    match parameters {
        0..=999_999 => format!("{}K", parameters.div_ceil(1000)),
        1_000_000..=999_999_999 => format!("{:.0}M", parameters as f64 / 1e6),
        _ => format!("{:.1}B", parameters as f64 / 1e9),
    }
}

fn put_sizes(keys: &mut Keys<'_>, config: &Config) -> Result<(), WriteError> {
    keys.size("block_count", config.kv_heads.len())?;
    keys.put("context_length", config.context_length)?;
    keys.size("embedding_length", config.d_model)?;
    keys.size("feed_forward_length", config.d_ff)?;
    keys.size("vocab_size", config.vocab_size)?;
    keys.put("embedding_scale", config.embedding_scale)?;
    keys.put("residual_scale", config.residual_scale)?;
    keys.put("logit_scale", config.logit_scale)
}

/// `head_count_kv` is an array and alone decides which blocks are Mamba (0).
fn put_attention(keys: &mut Keys<'_>, config: &Config) -> Result<(), WriteError> {
    keys.size("attention.head_count", config.n_head)?;
    let kv_heads: Vec<i32> = config.kv_heads.iter().map(|&n| i32::try_from(n).unwrap_or(i32::MAX)).collect();
    keys.put("attention.head_count_kv", kv_heads)?;
    keys.put("attention.layer_norm_rms_epsilon", config.rms_eps)?;
    keys.put("attention.scale", config.attention_scale)
}

/// `finetuned` is the architecture's RoPE switch. LongRoPE needs no scaling type: its factors are a tensor, and a
/// `factor` beside them would stretch the angles twice.
fn put_rope(keys: &mut Keys<'_>, rope: Option<&Rope>, head_dim: usize) -> Result<(), WriteError> {
    keys.put("rope.scaling.finetuned", rope.is_some())?;
    let Some(rope) = rope else { return Ok(()) };
    keys.size("rope.dimension_count", head_dim)?;
    keys.put("rope.freq_base", rope.theta)?;
    match &rope.scaling {
        Scaling::None => Ok(()),
        Scaling::Linear { factor } => {
            keys.put("rope.scaling.type", "linear")?;
            keys.put("rope.scaling.factor", *factor)
        }
        Scaling::Yarn { factor, original_context, attn_factor } => {
            keys.put("rope.scaling.type", "yarn")?;
            keys.put("rope.scaling.factor", *factor)?;
            keys.put("rope.scaling.original_context_length", *original_context)?;
            keys.put("rope.scaling.attn_factor", *attn_factor)
        }
        Scaling::LongRope { attn_factor, .. } => keys.put("rope.scaling.attn_factor", *attn_factor),
    }
}

/// `time_step_rank` is the number of SSM heads, despite its name.
fn put_ssm(keys: &mut Keys<'_>, config: &Config) -> Result<(), WriteError> {
    keys.size("ssm.conv_kernel", config.d_conv)?;
    keys.size("ssm.inner_size", config.d_inner())?;
    keys.size("ssm.state_size", config.d_state)?;
    keys.size("ssm.time_step_rank", config.ssm_heads)?;
    keys.size("ssm.group_count", 1)
}

/// Ids of the contract's control tokens, else those of the configuration.
fn put_tokenizer(keys: &mut Keys<'_>, config: &Config, tokenizer: &Tokenizer) -> Result<(), WriteError> {
    keys.put("ggml.model", "gpt2")?;
    keys.put("ggml.pre", tokenizer.pre.as_str())?;
    keys.put("ggml.tokens", tokenizer.tokens.clone())?;
    keys.put("ggml.token_type", tokenizer.types.clone())?;
    keys.put("ggml.merges", tokenizer.merges.clone())?;
    let eos = tokenizer.eos.or(config.eos);
    keys.optional("ggml.bos_token_id", tokenizer.bos.or(config.bos))?;
    keys.optional("ggml.eos_token_id", eos)?;
    keys.optional("ggml.eot_token_id", tokenizer.eot.or(eos))?;
    keys.optional("ggml.padding_token_id", tokenizer.pad.or(config.pad))?;
    keys.put("ggml.add_bos_token", false)?;
    keys.put("ggml.add_eos_token", false)?;
    keys.put("ggml.add_space_prefix", false)?;
    keys.put("chat_template", tokenizer.chat_template.as_str())
}

#[cfg(test)]
mod tests {
    use super::size_label;

    #[test]
    fn labels_sizes_as_llama_cpp_does() {
        let labels = [494_000, 93_800_000, 711_000_000, 1_340_000_000].map(size_label);
        assert_eq!(labels, ["494K", "94M", "711M", "1.3B"]);
    }
}
