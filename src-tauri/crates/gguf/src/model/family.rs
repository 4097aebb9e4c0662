//! The architectures a file may have: one description each, in keys, blocks and rules.
//!
//! | family | a block | positions |
//! |---|---|---|
//! | `granitehybrid` | Mamba-2 or attention, then a gated FFN or experts; four multipliers | none or adjacent pairs |
//! | `falcon-h1` | attention and Mamba-2 side by side on one norm, then a gated FFN; multipliers are in the weights | halves |
//! | `nemotron_h` | one of Mamba-2, attention, squared-ReLU FFN | none |
//! | `llama` | attention, then a gated FFN | adjacent pairs |
//!
//! Names, shapes and switches are those that llama.cpp reads (specification: its `src/models/*.cpp`).
use super::keys::Keys;
use super::{Block, Ffn, Mixer, ModelError, RopePairs};

/// `LLAMA_MAX_EXPERTS`.
const MAX_EXPERTS: u32 = 512;
pub(super) const MAX_WIDTH: u32 = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    GraniteHybrid,
    FalconH1,
    NemotronH,
    Llama,
}

/// Whether attention turns queries and keys by their position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RopeRule {
    Never,
    Always(RopePairs),
    /// `rope.scaling.finetuned`, true if it is missing.
    Switch(RopePairs),
}

impl Family {
    pub const ALL: [Self; 4] = [Self::GraniteHybrid, Self::FalconH1, Self::NemotronH, Self::Llama];

    /// `general.architecture`.
    pub fn name(self) -> &'static str {
        match self {
            Self::GraniteHybrid => "granitehybrid",
            Self::FalconH1 => "falcon-h1",
            Self::NemotronH => "nemotron_h",
            Self::Llama => "llama",
        }
    }

    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }

    /// What the names of its keys begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::GraniteHybrid => "granitehybrid.",
            Self::FalconH1 => "falcon-h1.",
            Self::NemotronH => "nemotron_h.",
            Self::Llama => "llama.",
        }
    }

    /// The norm in front of the FFN of block `i`. `falcon-h1` really leaves out `.weight`; in `nemotron_h` a block has one norm.
    pub fn ffn_norm(self, i: usize) -> String {
        match self {
            Self::GraniteHybrid | Self::Llama => format!("blk.{i}.ffn_norm.weight"),
            Self::FalconH1 => format!("blk.{i}.ffn_norm"),
            Self::NemotronH => format!("blk.{i}.attn_norm.weight"),
        }
    }

    /// The four scales of Granite; llama.cpp reads them for no other family here.
    pub(super) fn has_multipliers(self) -> bool {
        self == Self::GraniteHybrid
    }

    pub(super) fn rope(self) -> RopeRule {
        match self {
            Self::GraniteHybrid => RopeRule::Switch(RopePairs::Adjacent),
            Self::FalconH1 => RopeRule::Always(RopePairs::Halves),
            Self::NemotronH => RopeRule::Never,
            Self::Llama => RopeRule::Always(RopePairs::Adjacent),
        }
    }

    /// `rope_freqs.weight`; llama.cpp does not apply it to `falcon-h1`.
    pub(super) fn may_have_freq_factors(self) -> bool {
        matches!(self, Self::GraniteHybrid | Self::Llama)
    }

    /// Biases of q, k, v and of the projection back.
    pub(super) fn may_have_attention_bias(self) -> bool {
        self == Self::Llama
    }

    pub(super) fn has_mamba(self) -> bool {
        self != Self::Llama
    }

    /// The contract's files have a norm and a bias; small Falcon-H1 have no norm, and a bias is a switch elsewhere.
    pub(super) fn ssm_norm_is_optional(self) -> bool {
        self == Self::FalconH1
    }

    pub(super) fn conv_bias_is_optional(self) -> bool {
        matches!(self, Self::FalconH1 | Self::NemotronH)
    }

    /// The keys that may hold the norms' epsilon, the first that is there counts.
    pub(super) fn eps_keys(self) -> &'static [&'static str] {
        const RMS: &str = "attention.layer_norm_rms_epsilon";
        if self == Self::NemotronH { &[RMS, "attention.layer_norm_epsilon"] } else { &[RMS] }
    }

    /// What every block is made of.
    pub(super) fn blocks(self, keys: &Keys<'_>, n: usize, n_head: usize) -> Result<Vec<Block>, ModelError> {
        match self {
            Self::GraniteHybrid => granite(keys, n, n_head),
            Self::FalconH1 => uniform(keys, n, n_head, |n_kv| Mixer::Parallel { n_kv }),
            Self::NemotronH => nemotron(keys, n, n_head),
            Self::Llama => uniform(keys, n, n_head, |n_kv| Mixer::Attention { n_kv }),
        }
    }
}

/// `head_count_kv` alone decides what a block is: 0 is Mamba.
fn granite(keys: &Keys<'_>, n: usize, n_head: usize) -> Result<Vec<Block>, ModelError> {
    let ffn = granite_ffn(keys, n)?;
    let kinds = keys.array_of_ints("attention.head_count_kv", n)?.into_iter();
    kinds.map(|kv| Ok(Block { mixer: Some(mamba_or_attention(keys, kv, n_head)?), ffn: Some(ffn) })).collect()
}

fn granite_ffn(keys: &Keys<'_>, n: usize) -> Result<Ffn, ModelError> {
    let width = one_width(keys, n)?;
    let Some(experts) = keys.u32("expert_count")?.filter(|n| *n != 0) else {
        refuse_experts(keys)?;
        return Ok(Ffn::Gated { width });
    };
    let experts = keys.in_range("expert_count", experts, 1, MAX_EXPERTS)?;
    let used = keys.count("expert_used_count", experts as u32)?;
    let shared = keys.u32("expert_shared_feed_forward_length")?.unwrap_or(0);
    let shared = keys.in_range("expert_shared_feed_forward_length", shared, 0, MAX_WIDTH)?;
    Ok(Ffn::Experts { width, experts, used, shared })
}

/// Every block alike.
fn uniform(
    keys: &Keys<'_>,
    n: usize,
    n_head: usize,
    mixer: fn(usize) -> Mixer,
) -> Result<Vec<Block>, ModelError> {
    refuse_experts(keys)?;
    let width = one_width(keys, n)?;
    const KEY: &str = "attention.head_count_kv";
    let kv = if keys.has(KEY) { keys.ints(KEY, n)? } else { vec![n_head as i64; n] };
    let block = |kv: i64| {
        let n_kv = usize::try_from(kv).ok().filter(|n_kv| n_head.checked_rem(*n_kv) == Some(0));
        let n_kv = n_kv.ok_or_else(|| keys.inconsistent(KEY, kv, "it divides attention.head_count"))?;
        Ok(Block { mixer: Some(mixer(n_kv)), ffn: Some(Ffn::Gated { width }) })
    };
    kv.into_iter().map(block).collect()
}

/// A block with an FFN's width is an FFN; else `head_count_kv` decides as in Granite.
fn nemotron(keys: &Keys<'_>, n: usize, n_head: usize) -> Result<Vec<Block>, ModelError> {
    refuse_experts(keys)?;
    if let Some(found) = keys.u32("nextn_predict_layers")?.filter(|n| *n != 0) {
        let rule = "blocks that predict further tokens are not supported";
        return Err(keys.inconsistent("nextn_predict_layers", found.into(), rule));
    }
    let kv = keys.array_of_ints("attention.head_count_kv", n)?;
    let widths = keys.array_of_ints("feed_forward_length", n)?;
    let block = |(kv, width): (i64, i64)| match width {
        0 => Ok(Block { mixer: Some(mamba_or_attention(keys, kv, n_head)?), ffn: None }),
        width => {
            let width =
                keys.in_range("feed_forward_length", u32::try_from(width).unwrap_or(u32::MAX), 1, MAX_WIDTH)?;
            Ok(Block { mixer: None, ffn: Some(Ffn::Squared { width }) })
        }
    };
    kv.into_iter().zip(widths).map(block).collect()
}

fn mamba_or_attention(keys: &Keys<'_>, kv: i64, n_head: usize) -> Result<Mixer, ModelError> {
    match usize::try_from(kv) {
        Ok(0) => Ok(Mixer::Mamba),
        Ok(n_kv) if n_head.checked_rem(n_kv) == Some(0) => Ok(Mixer::Attention { n_kv }),
        _ => Err(keys.inconsistent("attention.head_count_kv", kv, "it divides attention.head_count")),
    }
}

fn refuse_experts(keys: &Keys<'_>) -> Result<(), ModelError> {
    for key in ["expert_count", "expert_used_count"] {
        if let Some(found) = keys.u32(key)?.filter(|&n| n != 0) {
            return Err(ModelError::Experts { key: keys.full(key), found });
        }
    }
    Ok(())
}

/// The FFN's width: one number, or the same number for every block.
fn one_width(keys: &Keys<'_>, n: usize) -> Result<usize, ModelError> {
    const KEY: &str = "feed_forward_length";
    let widths = keys.ints(KEY, n)?;
    let first = widths.first().copied().unwrap_or_default();
    if let Some(&other) = widths.iter().find(|&&w| w != first) {
        return Err(keys.inconsistent(KEY, other, "every block has the same width"));
    }
    keys.in_range(KEY, u32::try_from(first).unwrap_or_default(), 1, MAX_WIDTH)
}
