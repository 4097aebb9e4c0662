//! Attention on every tier against f64.
use super::super::{CpuTier, KvCache, KvType, Pool, Segment, append_all, attention};
use super::{Rng, assert_close, bits, same_on_any_threads, tiers};
use half::f16;

const KINDS: [KvType; 3] = [KvType::F32, KvType::F16, KvType::Q8];

/// A head's row as a cache of that kind gives it back.
fn stored(kind: KvType, row: &[f32]) -> Vec<f64> {
    let largest = row.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    let (scale, inverse) = (largest / 127.0, 1.0 / (largest / 127.0));
    let value = |v: &f32| match kind {
        KvType::F32 => f64::from(*v),
        KvType::F16 => f64::from(f16::from_f32(*v).to_f32()),
        KvType::Q8 => f64::from((v * inverse).round_ties_even()) * f64::from(scale),
    };
    row.iter().map(value).collect()
}

struct Case {
    kind: KvType,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    len: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Case {
    fn new(
        rng: &mut Rng,
        kind: KvType,
        (heads, kv_heads, head_dim): (usize, usize, usize),
        len: usize,
    ) -> Case {
        let q = rng.vec(len * heads * head_dim, 3.0);
        let (k, v) = (rng.vec(len * kv_heads * head_dim, 2.0), rng.vec(len * kv_heads * head_dim, 1.0));
        Case { kind, heads, kv_heads, head_dim, len, q, k, v }
    }

    /// Appends and attends in calls of the given token counts.
    fn run(&self, tier: CpuTier, pool: &Pool, split: &[usize]) -> Vec<f32> {
        let mut cache = KvCache::new(self.kind, self.kv_heads, self.head_dim).unwrap();
        let (wide, narrow) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let (mut out, mut done) = (Vec::new(), 0);
        for n in split {
            let kv = done * narrow..(done + n) * narrow;
            cache.append(&self.k[kv.clone()], &self.v[kv]).unwrap();
            let q = &self.q[done * wide..(done + n) * wide];
            let mut part = vec![f32::NAN; q.len()];
            attention(tier, pool, q, self.heads, &Segment::whole(*n, &cache), 0.2, &mut part).unwrap();
            out.extend(part);
            done += n;
        }
        out
    }

    fn reference(&self) -> Vec<f64> {
        let hd = self.head_dim;
        let row = |x: &[f32], pos: usize, kv: usize| -> Vec<f64> {
            stored(self.kind, &x[(pos * self.kv_heads + kv) * hd..][..hd])
        };
        let mut out = Vec::new();
        for t in 0..self.len {
            for h in 0..self.heads {
                let kv = h / (self.heads / self.kv_heads);
                let q = &self.q[(t * self.heads + h) * hd..][..hd];
                let score = |pos| {
                    row(&self.k, pos, kv).iter().zip(q).map(|(k, q)| k * f64::from(*q)).sum::<f64>() * 0.2
                };
                let scores: Vec<f64> = (0..=t).map(score).collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let p: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
                let total: f64 = p.iter().sum();
                let mut acc = vec![0.0; hd];
                for (pos, p) in p.iter().enumerate() {
                    acc.iter_mut().zip(row(&self.v, pos, kv)).for_each(|(a, v)| *a += p / total * v);
                }
                out.extend(acc);
            }
        }
        out
    }
}

const SHAPES: [(usize, usize, usize); 4] = [(1, 1, 16), (6, 2, 32), (12, 4, 64), (5, 1, 80)];

#[test]
fn attention_agrees_with_f64_and_any_split_gives_the_same_bits() {
    let mut rng = Rng(30);
    for kind in KINDS {
        for shape in SHAPES {
            let case = Case::new(&mut rng, kind, shape, 150);
            let want = case.reference();
            for tier in tiers() {
                let whole = same_on_any_threads("attention", |pool| case.run(tier, pool, &[150]));
                let what = format!("attention {kind:?} {shape:?} {}", tier.name());
                assert_close(&what, &whole, &want, &vec![1.0; want.len()], 3e-6);
                for split in [&[1; 150][..], &[64, 64, 22], &[7, 100, 1, 42]] {
                    assert_eq!(bits(&whole), bits(&case.run(tier, &Pool::new(2), split)), "{what} {split:?}");
                }
            }
        }
    }
}

#[test]
fn long_contexts_agree_with_f64_and_any_split_gives_the_same_bits() {
    let mut rng = Rng(33);
    // Past one and two stretches of 512; the last call of one row is shared out by stretches.
    let case = Case::new(&mut rng, KvType::F16, (3, 1, 16), 1100);
    let want = case.reference();
    for tier in tiers() {
        let whole = same_on_any_threads("long attention", |pool| case.run(tier, pool, &[1100]));
        assert_close(tier.name(), &whole, &want, &vec![1.0; want.len()], 3e-6);
        for split in [&[512, 588][..], &[1000, 97, 1, 1, 1], &[511, 2, 510, 76, 1]] {
            let cut = same_on_any_threads("long attention in calls", |pool| case.run(tier, pool, split));
            assert_eq!(bits(&whole), bits(&cut), "{} {split:?}", tier.name());
        }
    }
}

#[test]
fn sequences_attending_in_one_call_get_the_bits_that_they_get_alone() {
    let mut rng = Rng(34);
    let (heads, kv_heads, hd) = (6, 2, 32);
    // (positions before, rows)
    let shapes = [(0, 1), (70, 1), (600, 1), (5, 30), (0, 40), (9, 0)];
    let cuts: Vec<usize> = shapes
        .iter()
        .scan(0, |at, s| {
            *at += s.1;
            Some(*at)
        })
        .collect();
    let m = 73;
    let (q, k, v) =
        (rng.vec(m * heads * hd, 2.0), rng.vec(m * kv_heads * hd, 1.0), rng.vec(m * kv_heads * hd, 1.0));
    let past: Vec<_> = shapes.iter().map(|s| rng.vec(s.0 * kv_heads * hd, 1.0)).collect();
    for kind in KINDS {
        let run = |pool: &Pool, which: std::ops::Range<usize>| {
            let base = if which.start == 0 { 0 } else { cuts[which.start - 1] };
            let (rows, wide, narrow) = (base..cuts[which.end - 1], heads * hd, kv_heads * hd);
            let mut caches: Vec<_> = which
                .clone()
                .map(|i| {
                    let mut cache = KvCache::new(kind, kv_heads, hd).unwrap();
                    cache.append(&past[i], &past[i]).unwrap();
                    cache
                })
                .collect();
            let at = |i: usize| {
                cuts[which.start + i] - shapes[which.start + i].1 - base..cuts[which.start + i] - base
            };
            let mut segments: Vec<_> =
                caches.iter_mut().enumerate().map(|(i, state)| Segment { rows: at(i), state }).collect();
            let kv = rows.start * narrow..rows.end * narrow;
            append_all(CpuTier::detect(), pool, &mut segments, &k[kv.clone()], &v[kv]).unwrap();
            let segments: Vec<_> =
                caches.iter().enumerate().map(|(i, state)| Segment { rows: at(i), state }).collect();
            let mut out = vec![f32::NAN; rows.len() * wide];
            let q = &q[rows.start * wide..rows.end * wide];
            attention(CpuTier::detect(), pool, q, heads, &segments, 0.2, &mut out).unwrap();
            out
        };
        let together = same_on_any_threads("together", |pool| run(pool, 0..shapes.len()));
        let alone: Vec<f32> = (0..shapes.len()).flat_map(|i| run(&Pool::new(1), i..i + 1)).collect();
        assert_eq!(bits(&together), bits(&alone), "{kind:?}");
    }
}

#[test]
fn eight_bit_keys_and_values_cost_less_than_a_hundredth() {
    let mut rng = Rng(35);
    let exact = Case::new(&mut rng, KvType::F32, (4, 2, 64), 200);
    let want = exact.reference();
    let q8 = Case { kind: KvType::Q8, ..exact };
    let got = q8.run(CpuTier::detect(), &Pool::new(1), &[200]);
    let rms = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let error = rms(&mut got.iter().zip(&want).map(|(g, w)| f64::from(*g) - w));
    assert!(error < 0.01 * rms(&mut want.iter().copied()), "{error}");
    let rows = vec![1.0; 16 * 128];
    let bytes = |kind| {
        let mut cache = KvCache::new(kind, 2, 64).unwrap();
        cache.append(&rows, &rows).unwrap();
        cache.bytes()
    };
    assert_eq!(bytes(KvType::Q8) * 32, bytes(KvType::F16) * 17);
}

#[test]
fn very_different_scores_stay_finite() {
    let mut rng = Rng(31);
    let mut case = Case::new(&mut rng, KvType::F32, (2, 1, 16), 80);
    case.q.iter_mut().for_each(|v| *v *= 1e4);
    for tier in tiers() {
        assert!(case.run(tier, &Pool::new(1), &[80]).iter().all(|v| v.abs() <= 1.0));
    }
}

#[test]
fn a_truncated_or_restored_cache_continues_with_the_same_bits() {
    let mut rng = Rng(32);
    for kind in KINDS {
        let case = Case::new(&mut rng, kind, (4, 2, 32), 40);
        let (narrow, wide) = (64, 128);
        let mut straight = KvCache::new(kind, 2, 32).unwrap();
        straight.append(&case.k, &case.v).unwrap();
        let mut cut = KvCache::new(kind, 2, 32).unwrap();
        cut.append(&case.k[..21 * narrow], &case.v[..21 * narrow]).unwrap();
        cut.append(&case.q[..30 * narrow], &case.q[..30 * narrow]).unwrap();
        cut.truncate(21);
        let mut saved = Vec::new();
        cut.save(0..17, &mut saved);
        let first = saved.len();
        cut.save(17..21, &mut saved);
        assert_eq!(saved.len(), 21 * cut.position_bytes());
        let mut restored = KvCache::new(kind, 2, 32).unwrap();
        restored.append(&case.q[..5 * narrow], &case.q[..5 * narrow]).unwrap();
        restored.truncate(0);
        assert!(restored.extend_saved(16, &saved[..first]).is_err());
        restored.extend_saved(17, &saved[..first]).unwrap();
        restored.extend_saved(4, &saved[first..]).unwrap();
        for mut cache in [cut, restored] {
            cache.append(&case.k[21 * narrow..], &case.v[21 * narrow..]).unwrap();
            assert_eq!(cache.len(), 40);
            let attend = |cache: &KvCache| {
                let mut out = vec![0.0; wide];
                let segments = Segment::whole(1, cache);
                attention(CpuTier::detect(), &Pool::new(1), &case.q[..wide], 4, &segments, 0.3, &mut out)
                    .unwrap();
                bits(&out)
            };
            assert_eq!(attend(&cache), attend(&straight));
        }
    }
}

#[test]
fn attention_refuses_shapes_that_do_not_fit() {
    assert!(KvCache::new(KvType::F16, 2, 24).is_err());
    let mut cache = KvCache::new(KvType::F16, 2, 16).unwrap();
    assert!(cache.append(&[0.0; 31], &[0.0; 31]).is_err());
    assert!(cache.append(&[0.0; 32], &[0.0; 64]).is_err());
    cache.append(&[0.0; 32], &[0.0; 32]).unwrap();
    let call = |q: usize, heads, out: usize| {
        let segments = Segment::whole(q / (heads * 16), &cache);
        attention(CpuTier::detect(), &Pool::new(1), &vec![0.0; q], heads, &segments, 1.0, &mut vec![0.0; out])
    };
    assert!(call(64, 4, 64).is_ok());
    assert!(call(48, 3, 48).is_err(), "3 heads on 2 KV heads");
    assert!(call(64, 4, 63).is_err());
    assert!(call(128, 4, 128).is_err(), "two rows, one position");
}
