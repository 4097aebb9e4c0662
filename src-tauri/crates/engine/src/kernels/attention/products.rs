//! The two products of attention over one span of positions, and the softmax between them.
//!
//! A register tile is up to six query rows by four vectors (one where there are 16 registers). Every output is one sum in one
//! order, whatever the tile: scores over the head size, values over the positions.
use super::super::kv::Element;
use super::super::simd::{LANES, Simd};
use super::SPAN;

/// The most query rows of a register tile.
pub(super) const TILE_ROWS: usize = 6;

/// A span's keys (`[block][head_dim][16]`) or values (`[position][head_dim]`), in the type that they are multiplied from.
pub(super) struct Span<'a, T> {
    pub keys: &'a [T],
    pub values: &'a [T],
    /// Of every position, where the type has them.
    pub key_scales: Option<&'a [f32]>,
    pub value_scales: Option<&'a [f32]>,
    pub head_dim: usize,
    /// Positions that count.
    pub count: usize,
}

/// `p[r][j] = scale · q[r] · key[j]` for j < count and what else its block of 16 holds.
#[inline(always)]
pub(super) fn scores<S: Simd, T: Element, const R: usize>(
    s: S,
    span: &Span<T>,
    q: &[&[f32]; R],
    scale: f32,
    p: &mut [[f32; SPAN]],
) {
    let blocks = span.count.div_ceil(LANES);
    let mut block = 0;
    while S::WIDE && block + 4 <= blocks {
        score_blocks::<S, T, R, 4>(s, span, block, q, scale, p);
        block += 4;
    }
    while !S::WIDE && R <= 3 && block + 2 <= blocks {
        score_blocks::<S, T, R, 2>(s, span, block, q, scale, p);
        block += 2;
    }
    while block < blocks {
        score_blocks::<S, T, R, 1>(s, span, block, q, scale, p);
        block += 1;
    }
}

/// C neighbouring blocks of 16 keys.
#[inline(always)]
fn score_blocks<S: Simd, T: Element, const R: usize, const C: usize>(
    s: S,
    span: &Span<T>,
    block: usize,
    q: &[&[f32]; R],
    scale: f32,
    p: &mut [[f32; SPAN]],
) {
    let hd = span.head_dim;
    let keys = &span.keys[block * LANES * hd..].as_chunks::<LANES>().0[..C * hd];
    let mut x = *q;
    for r in 0..R {
        x[r] = &q[r][..hd];
    }
    let mut acc = [[s.splat(0.0); C]; R];
    for d in 0..hd {
        let mut key = [s.splat(0.0); C];
        for c in 0..C {
            key[c] = T::load(s, &keys[c * hd + d]);
        }
        for r in 0..R {
            let x = s.splat(x[r][d]);
            for c in 0..C {
                acc[r][c] = s.fma(key[c], x, acc[r][c]);
            }
        }
    }
    for c in 0..C {
        let at = (block + c) * LANES;
        let scale = match span.key_scales {
            Some(scales) => s.mul(s.read(&scales[at..][..LANES]), s.splat(scale)),
            None => s.splat(scale),
        };
        for r in 0..R {
            s.write(s.mul(acc[r][c], scale), &mut p[r][at..][..LANES]);
        }
    }
}

/// `out[r] = out[r] · shrink[r] + Σ_j p[r][j] · value[j]`; `out` are R rows of head_dim.
#[inline(always)]
pub(super) fn add_values<S: Simd, T: Element, const R: usize>(
    s: S,
    span: &Span<T>,
    p: &[[f32; SPAN]],
    shrink: &[f32],
    out: &mut [f32],
) {
    let hd = span.head_dim;
    let mut d = 0;
    while S::WIDE && d + 4 * LANES <= hd {
        value_lanes::<S, T, R, 4>(s, span, d, p, shrink, out);
        d += 4 * LANES;
    }
    while !S::WIDE && R <= 3 && d + 2 * LANES <= hd {
        value_lanes::<S, T, R, 2>(s, span, d, p, shrink, out);
        d += 2 * LANES;
    }
    while d < hd {
        value_lanes::<S, T, R, 1>(s, span, d, p, shrink, out);
        d += LANES;
    }
}

#[inline(always)]
fn value_lanes<S: Simd, T: Element, const R: usize, const C: usize>(
    s: S,
    span: &Span<T>,
    d: usize,
    p: &[[f32; SPAN]],
    shrink: &[f32],
    out: &mut [f32],
) {
    let hd = span.head_dim;
    let mut acc = [[s.splat(0.0); C]; R];
    for r in 0..R {
        for c in 0..C {
            acc[r][c] = s.mul(s.read(&out[r * hd + d + c * LANES..][..LANES]), s.splat(shrink[r]));
        }
    }
    let p: &[[f32; SPAN]; R] = &p[..R].as_chunks().0[0];
    for (j, value) in span.values.chunks_exact(hd).take(span.count.min(SPAN)).enumerate() {
        let value = value[d..d + C * LANES].as_chunks::<LANES>().0;
        let mut v = [s.splat(0.0); C];
        for c in 0..C {
            v[c] = T::load(s, &value[c]);
        }
        for r in 0..R {
            let p = s.splat(p[r][j]);
            for c in 0..C {
                acc[r][c] = s.fma(v[c], p, acc[r][c]);
            }
        }
    }
    for r in 0..R {
        for c in 0..C {
            s.write(acc[r][c], &mut out[r * hd + d + c * LANES..][..LANES]);
        }
    }
}

/// Turns the scores of `seen` positions into weights relative to the new maximum, and those of the others into 0. `largest` and
/// the sixteen partial sums `total` move on; returns the factor for what was summed before.
#[inline(always)]
pub(super) fn softmax_step<S: Simd>(
    s: S,
    p: &mut [f32; SPAN],
    seen: usize,
    largest: &mut f32,
    total: &mut [f32; LANES],
) -> f32 {
    p[seen..].fill(f32::NEG_INFINITY);
    let vectors = p.as_chunks_mut::<LANES>().0;
    let mut most = s.splat(*largest);
    for v in vectors.iter() {
        most = s.max(s.load(v), most);
    }
    let now = s.max_lane(most);
    let shrink = s.to_array(s.exp(s.splat(*largest - now)))[0];
    let mut sum = s.mul(s.load(total), s.splat(shrink));
    for v in vectors.iter_mut() {
        // A masked score gives 1.2e-38 here (see `exp`): nothing, beside a sum of at least 1.
        let e = s.exp(s.sub(s.load(v), s.splat(now)));
        s.store(e, v);
        sum = s.add(sum, e);
    }
    s.store(sum, total);
    p[seen..].fill(0.0);
    *largest = now;
    shrink
}

/// `p[j] *= scales[j]` of a span.
#[inline(always)]
pub(super) fn weigh<S: Simd>(s: S, p: &mut [f32; SPAN], scales: &[f32]) {
    for (v, scale) in p.chunks_exact_mut(LANES).zip(scales.chunks(LANES)) {
        s.write(s.mul(s.read(v), s.read(scale)), v);
    }
}

/// A span's keys or values as f32, for a tile that multiplies them more than once.
#[inline(always)]
pub(super) fn widen<S: Simd, T: Element>(s: S, from: &[T], to: &mut [f32]) {
    for (from, to) in from.as_chunks::<LANES>().0.iter().zip(to.as_chunks_mut::<LANES>().0) {
        s.store(T::load(s, from), to);
    }
}
