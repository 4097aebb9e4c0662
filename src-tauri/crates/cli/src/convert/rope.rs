//! `rope_parameters` → what llama.cpp reads for `granitehybrid`.
use super::CheckpointError;
use serde::Deserialize;

#[derive(Deserialize)]
pub struct RawRope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f32>,
    factor: Option<f32>,
    original_max_position_embeddings: Option<u32>,
    long_factor: Option<Vec<f32>>,
    attention_factor: Option<f32>,
    beta_fast: Option<f32>,
    beta_slow: Option<f32>,
    mscale: Option<f32>,
    mscale_all_dim: Option<f32>,
    truncate: Option<bool>,
    partial_rotary_factor: Option<f32>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    pub theta: f32,
    pub scaling: Scaling,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    None,
    Linear {
        factor: f32,
    },
    /// `attn_factor` multiplies YaRN's own 1 + 0.1·ln(factor).
    Yarn {
        factor: f32,
        original_context: u32,
        attn_factor: f32,
    },
    /// One set of factors at every length: llama.cpp knows a single `rope_freqs` tensor here.
    LongRope {
        factors: Vec<f32>,
        attn_factor: f32,
    },
}

pub fn read(
    raw: Option<&RawRope>,
    legacy_theta: Option<f32>,
    head_dim: usize,
    max_context: u32,
) -> Result<Rope, CheckpointError> {
    let theta = raw.and_then(|r| r.rope_theta).or(legacy_theta).unwrap_or(10_000.0);
    let Some(raw) = raw else { return Ok(Rope { theta, scaling: Scaling::None }) };
    if let Some(part) = raw.partial_rotary_factor.filter(|&p| p != 1.0) {
        return Err(CheckpointError::config("partial_rotary_factor", part, 1));
    }
    let scaling = match raw.rope_type.as_deref().unwrap_or("default") {
        "default" => Scaling::None,
        "linear" => Scaling::Linear { factor: factor(raw)? },
        "yarn" => yarn(raw, max_context)?,
        "longrope" => long_rope(raw, head_dim, max_context)?,
        other => {
            return Err(CheckpointError::config("rope_type", other, "default, linear, yarn or longrope"));
        }
    };
    Ok(Rope { theta, scaling })
}

fn factor(raw: &RawRope) -> Result<f32, CheckpointError> {
    match raw.factor {
        Some(f) if f.is_finite() && f >= 1.0 => Ok(f),
        other => Err(CheckpointError::config("rope factor", format!("{other:?}"), "a number of at least 1")),
    }
}

/// llama.cpp fixes β and rounds the ramp's ends for this architecture; a checkpoint that asks for others differs.
fn yarn(raw: &RawRope, max_context: u32) -> Result<Scaling, CheckpointError> {
    let fixed = [
        ("beta_fast", raw.beta_fast, 32.0),
        ("beta_slow", raw.beta_slow, 1.0),
        ("mscale", raw.mscale, 1.0),
        ("mscale_all_dim", raw.mscale_all_dim, 1.0),
    ];
    if let Some((key, found, wanted)) =
        fixed.into_iter().find(|(_, v, wanted)| v.unwrap_or(*wanted) != *wanted)
    {
        return Err(CheckpointError::config(key, found.unwrap_or_default(), wanted));
    }
    if raw.truncate == Some(false) {
        return Err(CheckpointError::config("truncate", false, true));
    }
    let factor = factor(raw)?;
    let own = 1.0 + 0.1 * factor.ln();
    Ok(Scaling::Yarn {
        factor,
        original_context: raw.original_max_position_embeddings.unwrap_or(max_context),
        attn_factor: raw.attention_factor.map_or(1.0, |wanted| wanted / own),
    })
}

/// Attention factor √(1 + ln f / ln L₀) unless given, f = the extension over the original context L₀.
fn long_rope(raw: &RawRope, head_dim: usize, max_context: u32) -> Result<Scaling, CheckpointError> {
    let factors = raw.long_factor.clone().unwrap_or_default();
    if factors.len() != head_dim / 2 || !factors.iter().all(|f| f.is_finite() && *f > 0.0) {
        let found = format!("{} numbers", factors.len());
        return Err(CheckpointError::config(
            "long_factor",
            found,
            format!("{} positive numbers", head_dim / 2),
        ));
    }
    let original = match raw.original_max_position_embeddings {
        Some(n) if n > 1 => n as f32,
        other => {
            return Err(CheckpointError::config(
                "original_max_position_embeddings",
                format!("{other:?}"),
                "above 1",
            ));
        }
    };
    let factor = raw.factor.unwrap_or(max_context as f32 / original);
    let own = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
    Ok(Scaling::LongRope { factors, attn_factor: raw.attention_factor.unwrap_or(own) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(json: &str) -> Result<Rope, CheckpointError> {
        read(Some(&serde_json::from_str(json).unwrap()), None, 8, 4096)
    }

    #[test]
    fn default_keeps_theta_only() {
        let expected = Rope { theta: 5e5, scaling: Scaling::None };
        assert_eq!(rope(r#"{"rope_type": "default", "rope_theta": 500000.0}"#).unwrap(), expected);
    }

    #[test]
    fn yarn_carries_factor_and_original_context() {
        let found = rope(
            r#"{"rope_type":"yarn","rope_theta":1e4,"factor":4.0,"original_max_position_embeddings":1024}"#,
        );
        let expected = Scaling::Yarn { factor: 4.0, original_context: 1024, attn_factor: 1.0 };
        assert_eq!(found.unwrap().scaling, expected);
    }

    #[test]
    fn yarn_attention_factor_is_relative_to_its_own() {
        let found = rope(
            r#"{"rope_type":"yarn","factor":4.0,"attention_factor":1.1386294,"original_max_position_embeddings":1024}"#,
        );
        let Scaling::Yarn { attn_factor, .. } = found.unwrap().scaling else { panic!("not yarn") };
        assert!((attn_factor - 1.0).abs() < 1e-6);
    }

    #[test]
    fn longrope_scales_attention_by_the_log_ratio() {
        let found = rope(
            r#"{"rope_type":"longrope","long_factor":[1,2,3,4],"short_factor":[1,1,1,1],"factor":4.0,"original_max_position_embeddings":2048}"#,
        );
        let Scaling::LongRope { factors, attn_factor } = found.unwrap().scaling else {
            panic!("not longrope")
        };
        assert_eq!(factors, [1.0, 2.0, 3.0, 4.0]);
        assert!((attn_factor - (1.0 + 4f32.ln() / 2048f32.ln()).sqrt()).abs() < 1e-6);
    }

    #[test]
    fn rejects_what_llama_cpp_would_silently_ignore() {
        for json in [
            r#"{"rope_type":"yarn","factor":4.0,"beta_fast":16}"#,
            r#"{"rope_type":"yarn","factor":4.0,"truncate":false}"#,
            r#"{"rope_type":"dynamic","factor":4.0}"#,
            r#"{"rope_type":"default","partial_rotary_factor":0.5}"#,
            r#"{"rope_type":"longrope","long_factor":[1,2],"original_max_position_embeddings":2048}"#,
        ] {
            assert!(matches!(rope(json), Err(CheckpointError::Config { .. })), "{json}");
        }
    }
}
