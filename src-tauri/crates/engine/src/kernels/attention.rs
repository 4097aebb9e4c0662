//! Causal attention of the newest m positions over a [`KvCache`], grouped query heads, softmax in one pass.
//!
//! Keys are taken in spans of 64 positions that always start at multiples of 64, and a row's sums run in the same order
//! however many rows are computed together: splitting the tokens into other chunks changes no bit.
use super::elementwise::Columns;
use super::error::check_len;
use super::kv::{Element, HeadStore, KvCache, Store};
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::{CpuTier, KernelError, Pool};

/// Positions between two updates of the running maximum.
const SPAN: usize = 64;
/// Query rows that share one pass over keys and values.
const ROWS: usize = 4;

/// `q [m, heads, head_dim]` (turned by RoPE) against the cache, whose last m positions are those of q; `out` has q's shape.
/// Row i sees positions `0 ..= len - m + i`. Query head h uses KV head h / (heads / kv_heads).
pub fn attention(
    tier: CpuTier,
    pool: &Pool,
    q: &[f32],
    heads: usize,
    cache: &KvCache,
    scale: f32,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let (head_dim, kv_heads) = (cache.head_dim, cache.kv_heads());
    if kv_heads == 0 || heads == 0 || !heads.is_multiple_of(kv_heads) {
        return Err(KernelError::Groups { heads, groups: kv_heads });
    }
    let m = q.len() / (heads * head_dim);
    check_len("queries", m * heads * head_dim, q.len())?;
    check_len("attention output", q.len(), out.len())?;
    if m > cache.len() {
        return Err(KernelError::Length { what: "positions in the cache", expected: m, actual: cache.len() });
    }
    let out = Columns::new(out, heads * head_dim);
    let tiles = (m * heads / kv_heads).div_ceil(ROWS);
    let shared =
        Shared { q, heads, head_dim, group: heads / kv_heads, first: cache.len() - m, m, scale, out: &out };
    pool.run(kv_heads * tiles, |item| {
        let (kv, tile) = (item / tiles, item % tiles);
        match &cache.store {
            Store::F32(stores) => dispatch(tier, Tile { shared: &shared, store: &stores[kv], kv, tile }),
            Store::F16(stores) => dispatch(tier, Tile { shared: &shared, store: &stores[kv], kv, tile }),
        }
    });
    Ok(())
}

struct Shared<'a> {
    q: &'a [f32],
    heads: usize,
    head_dim: usize,
    /// Query heads of a KV head.
    group: usize,
    /// Position of row 0.
    first: usize,
    m: usize,
    scale: f32,
    out: &'a Columns<'a>,
}

/// Up to `ROWS` query rows of one KV head; row r of them is token r / group, head r % group.
struct Tile<'a, T> {
    shared: &'a Shared<'a>,
    store: &'a HeadStore<T>,
    kv: usize,
    tile: usize,
}

impl<T: Element> Kernel for Tile<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let first = self.tile * ROWS;
        match self.shared.m * self.shared.group - first {
            1 => self.rows::<S, 1>(s, first),
            2 => self.rows::<S, 2>(s, first),
            3 => self.rows::<S, 3>(s, first),
            _ => self.rows::<S, ROWS>(s, first),
        }
    }
}

impl<T: Element> Tile<'_, T> {
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&self, s: S, first: usize) {
        let a = self.shared;
        let hd = a.head_dim;
        let mut q: [&[f32]; R] = [&[]; R];
        let mut out: [&mut [f32]; R] = std::array::from_fn(|_| Default::default());
        let mut seen = [0; R];
        for r in 0..R {
            let (token, head) = ((first + r) / a.group, self.kv * a.group + (first + r) % a.group);
            q[r] = &a.q[(token * a.heads + head) * hd..][..hd];
            seen[r] = a.first + token + 1;
            // SAFETY: this row and head belong to this chunk, and no other slice of them is live.
            out[r] = unsafe { a.out.slice(token, head * hd, hd) };
            out[r].fill(0.0);
        }
        let (mut largest, mut total) = ([f32::NEG_INFINITY; R], [0.0; R]);
        // Rows are in order of tokens: the last one sees most.
        for start in (0..seen[R - 1]).step_by(SPAN) {
            let count = SPAN.min(seen[R - 1] - start);
            let mut p = [[f32::NEG_INFINITY; SPAN]; R];
            self.scores(s, start, count, &q, &mut p);
            let mut shrink = [0.0; R];
            for r in 0..R {
                p[r][seen[r].saturating_sub(start).min(SPAN)..].fill(f32::NEG_INFINITY);
                (largest[r], shrink[r]) = softmax_step(s, &mut p[r], largest[r], &mut total[r]);
                p[r][seen[r].saturating_sub(start).min(SPAN)..].fill(0.0);
            }
            self.add_values(s, start, count, &p, &shrink, &mut out);
        }
        for r in 0..R {
            out[r].iter_mut().for_each(|v| *v /= total[r]);
        }
    }

    /// `p[r][j] = scale · q[r] · key[start + j]` for j < count and what else its block of 16 holds.
    #[inline(always)]
    fn scores<S: Simd, const R: usize>(
        &self,
        s: S,
        start: usize,
        count: usize,
        q: &[&[f32]; R],
        p: &mut [[f32; SPAN]; R],
    ) {
        let mut block = 0;
        while (block + 1) * LANES < count {
            self.score_blocks::<S, R, 2>(s, start, block, q, p);
            block += 2;
        }
        if block * LANES < count {
            self.score_blocks::<S, R, 1>(s, start, block, q, p);
        }
    }

    /// C neighbouring blocks of 16 keys.
    #[inline(always)]
    fn score_blocks<S: Simd, const R: usize, const C: usize>(
        &self,
        s: S,
        start: usize,
        block: usize,
        q: &[&[f32]; R],
        p: &mut [[f32; SPAN]; R],
    ) {
        let hd = self.shared.head_dim;
        let keys = &self.store.keys[(start + block * LANES) * hd..][..C * LANES * hd].as_chunks::<LANES>().0
            [..C * hd];
        let mut x = *q;
        for r in 0..R {
            x[r] = &q[r][..hd];
        }
        let mut acc = [[s.splat(0.0); C]; R];
        for d in 0..hd {
            for c in 0..C {
                let key = T::load(s, &keys[c * hd + d]);
                for r in 0..R {
                    acc[r][c] = s.fma(key, s.splat(x[r][d]), acc[r][c]);
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                let v = s.mul(acc[r][c], s.splat(self.shared.scale));
                s.write(v, &mut p[r][(block + c) * LANES..][..LANES]);
            }
        }
    }

    /// `out[r] = out[r] · shrink[r] + Σ_j p[r][j] · value[start + j]`.
    #[inline(always)]
    fn add_values<S: Simd, const R: usize>(
        &self,
        s: S,
        start: usize,
        count: usize,
        p: &[[f32; SPAN]; R],
        shrink: &[f32; R],
        out: &mut [&mut [f32]; R],
    ) {
        let hd = self.shared.head_dim;
        let values = &self.store.values[start * hd..][..count * hd];
        let mut d = 0;
        while d + 2 * LANES <= hd {
            add_value_lanes::<S, T, R, 2>(s, values, hd, d, p, shrink, out);
            d += 2 * LANES;
        }
        if d < hd {
            add_value_lanes::<S, T, R, 1>(s, values, hd, d, p, shrink, out);
        }
    }
}

#[inline(always)]
fn add_value_lanes<S: Simd, T: Element, const R: usize, const C: usize>(
    s: S,
    values: &[T],
    hd: usize,
    d: usize,
    p: &[[f32; SPAN]; R],
    shrink: &[f32; R],
    out: &mut [&mut [f32]; R],
) {
    let mut acc = [[s.splat(0.0); C]; R];
    for r in 0..R {
        for c in 0..C {
            acc[r][c] = s.mul(s.read(&out[r][d + c * LANES..][..LANES]), s.splat(shrink[r]));
        }
    }
    for (j, value) in values.chunks_exact(hd).take(SPAN).enumerate() {
        for (c, value) in value[d..d + C * LANES].as_chunks::<LANES>().0.iter().enumerate() {
            let value = T::load(s, value);
            for r in 0..R {
                acc[r][c] = s.fma(value, s.splat(p[r][j]), acc[r][c]);
            }
        }
    }
    for r in 0..R {
        for c in 0..C {
            s.write(acc[r][c], &mut out[r][d + c * LANES..][..LANES]);
        }
    }
}

/// Turns scores into weights relative to the new maximum, which is returned with the factor for what was summed before.
#[inline(always)]
fn softmax_step<S: Simd>(s: S, p: &mut [f32; SPAN], largest: f32, total: &mut f32) -> (f32, f32) {
    let vectors = p.as_chunks_mut::<LANES>().0;
    let mut most = s.splat(largest);
    for v in vectors.iter() {
        most = s.max(s.load(v), most);
    }
    let now = s.max_lane(most);
    let mut sum = s.splat(0.0);
    for v in vectors.iter_mut() {
        // A masked score gives 1.2e-38 here (see `exp`): nothing, beside a sum of at least 1.
        let e = s.exp(s.sub(s.load(v), s.splat(now)));
        s.store(e, v);
        sum = s.add(sum, e);
    }
    let shrink = s.to_array(s.exp(s.splat(largest - now)))[0];
    *total = *total * shrink + s.sum(sum);
    (now, shrink)
}
