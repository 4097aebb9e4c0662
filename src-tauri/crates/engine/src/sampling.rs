//! From logits to a token. Order: repetition penalty, temperature, top-k, top-p, min-p, draw (the order of
//! Transformers' generation). Same logits, options and seed: same token.
use crate::{EngineError, Sampling, TokenId};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

pub(crate) struct Sampler {
    options: Sampling,
    random: SplitMix64,
    /// Penalized logits of the step; kept to spare an allocation a token.
    logits_v: Vec<f32>,
}

/// A candidate; greater = more likely, ties go to the smaller id.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    logit: f32,
    id: TokenId,
}
impl Eq for Candidate {}
impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.logit.total_cmp(&other.logit).then(other.id.cmp(&self.id))
    }
}
impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Sampler {
    pub fn new(options: &Sampling) -> Result<Self, EngineError> {
        check(options)?;
        Ok(Self { options: options.clone(), random: SplitMix64(options.seed), logits_v: Vec::new() })
    }

    /// How many of the last tokens [`Sampler::sample`] wants to see as `recent`.
    pub fn window(&self) -> usize {
        if self.options.repetition_penalty == 1.0 { 0 } else { self.options.repetition_window }
    }

    /// `recent` are the tokens to penalize; `position` is only for the error.
    pub fn sample(
        &mut self,
        logits_v: &[f32],
        recent: impl Iterator<Item = TokenId>,
        position: usize,
    ) -> Result<TokenId, EngineError> {
        if !logits_v.iter().all(|l| l.is_finite()) {
            return Err(EngineError::NonFiniteLogits { position });
        }
        self.logits_v.clear();
        self.logits_v.extend_from_slice(logits_v);
        penalize(&mut self.logits_v, logits_v, recent, self.options.repetition_penalty);
        if self.options.temperature == 0.0 {
            return Ok(candidates(&self.logits_v).max().map_or(0, |c| c.id));
        }
        Ok(draw(&distribution(&self.logits_v, &self.options), self.random.unit()))
    }
}

fn check(options: &Sampling) -> Result<(), EngineError> {
    let Sampling { temperature, top_p, min_p, repetition_penalty, .. } = *options;
    let rules = [
        ("temperature", temperature, temperature.is_finite() && temperature >= 0.0),
        ("top_p", top_p, top_p > 0.0 && top_p <= 1.0),
        ("min_p", min_p, (0.0..=1.0).contains(&min_p)),
        (
            "repetition_penalty",
            repetition_penalty,
            repetition_penalty.is_finite() && repetition_penalty > 0.0,
        ),
    ];
    match rules.into_iter().find(|(_, _, holds)| !holds) {
        Some((name, value, _)) => Err(EngineError::InvalidSampling { name, value }),
        None => Ok(()),
    }
}

/// CTRL's penalty (Keskar et al. 2019): l/θ for l > 0, l·θ otherwise; once per token however often it occurred.
fn penalize(logits_v: &mut [f32], original_v: &[f32], recent: impl Iterator<Item = TokenId>, theta: f32) {
    for id in recent {
        if let (Some(logit), Some(&l)) = (logits_v.get_mut(id as usize), original_v.get(id as usize)) {
            *logit = (if l > 0.0 { l / theta } else { l * theta }).clamp(f32::MIN, f32::MAX);
        }
    }
}

fn candidates(logits_v: &[f32]) -> impl Iterator<Item = Candidate> + '_ {
    logits_v.iter().zip(0..).map(|(&logit, id)| Candidate { logit, id })
}

/// What is left after top-k, top-p and min-p, most likely first, with probabilities that sum to 1.
fn distribution(logits_v: &[f32], options: &Sampling) -> Vec<(TokenId, f64)> {
    let best = most_likely(logits_v, options.top_k);
    let max = best.first().map_or(0.0, |c| c.logit);
    let weight = |c: &Candidate| (f64::from(c.logit - max) / f64::from(options.temperature)).exp();
    let mut kept: Vec<(TokenId, f64)> = best.iter().map(|c| (c.id, weight(c))).collect();
    kept.truncate(nucleus(&kept, f64::from(options.top_p)));
    // min-p is relative to the most likely token, whose weight is 1.
    let likely = kept.partition_point(|(_, w)| *w >= f64::from(options.min_p));
    kept.truncate(likely.max(1));
    let mass: f64 = kept.iter().map(|(_, w)| w).sum();
    kept.iter_mut().for_each(|(_, w)| *w /= mass);
    kept
}

/// The `k` greatest logits (all for k = 0), in descending order.
fn most_likely(logits_v: &[f32], k: usize) -> Vec<Candidate> {
    if k == 0 || k >= logits_v.len() {
        let mut all: Vec<Candidate> = candidates(logits_v).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        return all;
    }
    let mut heap = BinaryHeap::with_capacity(k + 1);
    let mut floor = f32::NEG_INFINITY;
    for candidate in candidates(logits_v) {
        // Equal logits lose to the smaller id, which came first.
        if heap.len() < k || candidate.logit > floor {
            heap.push(Reverse(candidate));
            if heap.len() > k {
                heap.pop();
            }
            floor = heap.peek().map_or(floor, |Reverse(c)| c.logit);
        }
    }
    heap.into_sorted_vec().into_iter().map(|Reverse(c)| c).collect()
}

/// How many leading entries reach the share `top_p` of the mass (at least 1).
fn nucleus(weights: &[(TokenId, f64)], top_p: f64) -> usize {
    let mass: f64 = weights.iter().map(|(_, w)| w).sum();
    let mut cumulated = 0.0;
    for (count, (_, w)) in weights.iter().enumerate() {
        cumulated += w;
        if cumulated >= top_p * mass {
            return count + 1;
        }
    }
    weights.len()
}

/// The entry in which `unit` ∈ [0, 1) falls.
fn draw(distribution: &[(TokenId, f64)], unit: f64) -> TokenId {
    let mut rest = unit;
    for &(id, p) in distribution {
        rest -= p;
        if rest < 0.0 {
            return id;
        }
    }
    distribution.last().map_or(0, |(id, _)| *id)
}

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (2014). Any seed is a good seed.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1), 53 bits.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OFF: Sampling = Sampling {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        repetition_window: 0,
        seed: 1,
    };

    fn draws(logits_v: &[f32], options: &Sampling, n: usize) -> Vec<TokenId> {
        let mut sampler = Sampler::new(options).unwrap();
        (0..n).map(|i| sampler.sample(logits_v, std::iter::empty(), i).unwrap()).collect()
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let ids = draws(&[2f32.ln(), 0.0, 1e-9, f32::MIN], &OFF, 40_000);
        let share = |id| ids.iter().filter(|i| **i == id).count() as f64 / 40_000.0;
        assert!((share(0) - 0.5).abs() < 0.01 && (share(1) - 0.25).abs() < 0.01 && share(3) == 0.0);
    }

    #[test]
    fn splitmix_gives_the_published_sequence() {
        let mut random = SplitMix64(1234567);
        assert_eq!([random.next(), random.next()], [6457827717110365317, 3203168211198807973]);
    }

    #[test]
    fn penalty_lowers_both_signs_and_only_once() {
        let mut logits = [2.0, -2.0, 1.0];
        penalize(&mut logits, &[2.0, -2.0, 1.0], [0, 1, 1, 0, 99].into_iter(), 2.0);
        assert_eq!(logits, [1.0, -4.0, 1.0]);
    }

    #[test]
    fn refuses_logits_and_options_that_are_no_numbers() {
        let mut sampler = Sampler::new(&OFF).unwrap();
        let result = sampler.sample(&[0.0, f32::NAN], std::iter::empty(), 7);
        assert!(matches!(result, Err(EngineError::NonFiniteLogits { position: 7 })));
        for bad in [
            Sampling { temperature: f32::NAN, ..OFF },
            Sampling { temperature: -1.0, ..OFF },
            Sampling { top_p: 0.0, ..OFF },
            Sampling { min_p: 1.5, ..OFF },
            Sampling { repetition_penalty: 0.0, ..OFF },
        ] {
            assert!(matches!(Sampler::new(&bad), Err(EngineError::InvalidSampling { .. })));
        }
    }

    fn logits() -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(prop_oneof![-30f32..30.0, Just(0.0), Just(1e30), Just(-1e30)], 1..200)
    }

    fn options() -> impl Strategy<Value = Sampling> {
        (0.01f32..3.0, 0usize..50, 0.01f32..=1.0, 0f32..0.9, 0.5f32..2.0, any::<u64>()).prop_map(
            |(temperature, top_k, top_p, min_p, repetition_penalty, seed)| Sampling {
                temperature,
                top_k,
                top_p,
                min_p,
                repetition_penalty,
                repetition_window: 64,
                seed,
            },
        )
    }

    proptest! {
        #[test]
        fn distribution_is_one_of_probabilities(logits in logits(), options in options()) {
            let kept = distribution(&logits, &options);
            prop_assert!(!kept.is_empty() && (options.top_k == 0 || kept.len() <= options.top_k));
            prop_assert!((kept.iter().map(|(_, p)| p).sum::<f64>() - 1.0).abs() < 1e-9);
            prop_assert!(kept.iter().all(|(_, p)| p.is_finite() && *p >= 0.0));
            prop_assert!(kept.windows(2).all(|w| w[0].1 >= w[1].1), "most likely first");
            prop_assert!(kept.iter().all(|(_, p)| *p >= f64::from(options.min_p) * kept[0].1));
        }

        #[test]
        fn nucleus_is_the_smallest_that_reaches_top_p(logits in logits(), top_p in 0.01f32..1.0) {
            let all = distribution(&logits, &OFF);
            let kept = distribution(&logits, &Sampling { top_p, ..OFF });
            let mass = |n: usize| all[..n].iter().map(|(_, p)| p).sum::<f64>();
            prop_assert!(mass(kept.len()) >= f64::from(top_p) - 1e-9);
            prop_assert!(mass(kept.len() - 1) < f64::from(top_p) + 1e-9);
        }

        #[test]
        fn top_k_keeps_the_greatest(logits in logits(), k in 1usize..60) {
            let sorted = most_likely(&logits, 0);
            prop_assert_eq!(&most_likely(&logits, k)[..], &sorted[..k.min(sorted.len())]);
        }

        #[test]
        fn temperature_zero_is_the_argmax(logits in logits(), seed in any::<u64>()) {
            let id = draws(&logits, &Sampling { temperature: 0.0, seed, ..OFF }, 1)[0] as usize;
            prop_assert!(logits.iter().all(|l| *l <= logits[id]));
            prop_assert!(logits[..id].iter().all(|l| *l < logits[id]), "the first of equals");
        }

        #[test]
        fn same_seed_same_tokens(logits in logits(), options in options()) {
            prop_assert_eq!(draws(&logits, &options, 20), draws(&logits, &options, 20));
        }
    }
}
