//! Rotary positions: from the file's keys to one inverse frequency a pair and one magnitude
//! (specification: llama.cpp's `ggml_rope_yarn`; equals Transformers' `rope_type` default, linear, yarn).
use chimera_gguf::{RopeConfig, RopePairs, RopeScaling};
use std::f64::consts::PI;

/// YaRN's β_fast and β_slow: rotations within the original context above which a pair is kept as trained, and below
/// which it is interpolated (Peng et al. 2023).
const BETA_FAST: f64 = 32.0;
const BETA_SLOW: f64 = 1.0;

/// The angle of pair j at position p is `p · inv_freq[j]`; cos and sin are multiplied by `magnitude`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RopeSpec {
    pub pairs: RopePairs,
    pub inv_freq: Vec<f64>,
    pub magnitude: f64,
}

impl RopeSpec {
    /// `freq_factors` is `rope_freqs.weight` (LongRoPE's factors), one a pair, or empty.
    pub fn new(config: &RopeConfig, freq_factors: &[f32]) -> Self {
        let pairs = config.n_rot / 2;
        let base = f64::from(config.theta);
        let plain = |j: usize| base.powf(-2.0 * j as f64 / config.n_rot as f64);
        let divided = |j: usize| plain(j) / freq_factors.get(j).map_or(1.0, |f| f64::from(*f));
        let scaled = |j: usize| divided(j) * frequency_scale(config, j);
        Self { pairs: config.pairs, inv_freq: (0..pairs).map(scaled).collect(), magnitude: magnitude(config) }
    }
}

/// What pair j's angle is multiplied by: linear 1/s; YaRN between 1/s (slow pairs) and 1 (fast pairs).
fn frequency_scale(config: &RopeConfig, j: usize) -> f64 {
    match config.scaling {
        RopeScaling::None => 1.0,
        RopeScaling::Linear { factor } => 1.0 / f64::from(factor),
        RopeScaling::Yarn { factor, original_context } => {
            let kept = yarn_ramp(config, original_context, j);
            (1.0 - kept) / f64::from(factor) + kept
        }
    }
}

/// 1 where the pair turns fast enough to keep its trained frequency, 0 where it must be interpolated.
fn yarn_ramp(config: &RopeConfig, original_context: usize, j: usize) -> f64 {
    let n_rot = config.n_rot as f64;
    let ln_base = f64::from(config.theta).ln();
    // The pair that makes β rotations in the original context.
    let pair = |beta: f64| n_rot * (original_context as f64 / (beta * 2.0 * PI)).ln() / (2.0 * ln_base);
    let low = pair(BETA_FAST).floor().max(0.0);
    let high = pair(BETA_SLOW).ceil().min(n_rot - 1.0);
    1.0 - ((j as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0)
}

fn magnitude(config: &RopeConfig) -> f64 {
    let own = f64::from(config.attn_factor);
    match config.scaling {
        RopeScaling::Yarn { factor, .. } => own * (1.0 + 0.1 * f64::from(factor).ln()),
        _ => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::LN_10;

    fn config(scaling: RopeScaling) -> RopeConfig {
        let pairs = RopePairs::Adjacent;
        RopeConfig { pairs, theta: 10_000.0, n_rot: 64, scaling, attn_factor: 1.0, has_freq_factors: false }
    }

    #[test]
    fn default_is_the_geometric_series() {
        let spec = RopeSpec::new(&config(RopeScaling::Linear { factor: 1.0 }), &[]);
        assert_eq!((spec.inv_freq.len(), spec.inv_freq[0], spec.magnitude), (32, 1.0, 1.0));
        assert!((spec.inv_freq[16] - (-2.0 * LN_10).exp()).abs() < 1e-15);
    }

    #[test]
    fn linear_divides_every_angle() {
        let plain = RopeSpec::new(&config(RopeScaling::None), &[]);
        let half = RopeSpec::new(&config(RopeScaling::Linear { factor: 2.0 }), &[]);
        assert!(plain.inv_freq.iter().zip(&half.inv_freq).all(|(a, b)| a / 2.0 == *b));
    }

    /// Values of Transformers 5.17's `_compute_yarn_parameters` (factor 4, original context 2048, head size 64).
    #[test]
    fn yarn_keeps_fast_pairs_and_interpolates_slow_ones() {
        let plain = RopeSpec::new(&config(RopeScaling::None), &[]);
        let yarn = RopeSpec::new(&config(RopeScaling::Yarn { factor: 4.0, original_context: 2048 }), &[]);
        assert!((yarn.magnitude - 1.138_629_436).abs() < 1e-8);
        // low = floor(8.06) = 8, high = ceil(20.1) = 21
        let ratio = |j: usize| yarn.inv_freq[j] / plain.inv_freq[j];
        assert_eq!((ratio(0), ratio(8)), (1.0, 1.0));
        assert!((ratio(21) - 0.25).abs() < 1e-12 && (ratio(31) - 0.25).abs() < 1e-12);
        assert!((ratio(12) - (1.0 - 0.75 * 4.0 / 13.0)).abs() < 1e-12);
    }

    #[test]
    fn freq_factors_divide_and_attn_factor_multiplies() {
        let rope = RopeConfig { attn_factor: 1.2, ..config(RopeScaling::None) };
        let spec = RopeSpec::new(&rope, &[2.0; 32]);
        assert_eq!((spec.inv_freq[0], spec.magnitude), (0.5, f64::from(1.2f32)));
    }
}
