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
        let a = self.shared;
        let first = self.tile * ROWS;
        for r in first..(first + ROWS).min(a.m * a.group) {
            let (token, head) = (r / a.group, self.kv * a.group + r % a.group);
            self.row(s, token, head);
        }
    }
}

impl<T: Element> Tile<'_, T> {
    #[inline(always)]
    fn row<S: Simd>(&self, s: S, token: usize, head: usize) {
        let a = self.shared;
        let hd = a.head_dim;
        let q = &a.q[(token * a.heads + head) * hd..][..hd];
        let seen = a.first + token + 1;
        // SAFETY: this row and head belong to this chunk, and no other slice of them is live.
        let out = unsafe { a.out.slice(token, head * hd, hd) };
        out.fill(0.0);
        let (mut largest, mut total) = (f32::NEG_INFINITY, 0.0);
        for start in (0..seen).step_by(SPAN) {
            let mut scores = [f32::NEG_INFINITY; SPAN];
            for (b, scores) in scores.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                let at = start + b * LANES;
                if at >= seen {
                    break;
                }
                let keys = &self.store.keys[at * hd..][..LANES * hd];
                let mut acc = s.splat(0.0);
                for (k, q) in keys.as_chunks::<LANES>().0.iter().zip(q) {
                    acc = s.fma(T::load(s, k), s.splat(*q), acc);
                }
                s.store(s.mul(acc, s.splat(a.scale)), scores);
            }
            let count = SPAN.min(seen - start);
            scores[count..].fill(f32::NEG_INFINITY);
            let now = scores.iter().copied().fold(largest, f32::max);
            let shrink = (largest - now).exp();
            largest = now;
            total *= shrink;
            out.iter_mut().for_each(|v| *v *= shrink);
            for (j, score) in scores[..count].iter().enumerate() {
                let p = (score - now).exp();
                total += p;
                let value = &self.store.values[(start + j) * hd..][..hd];
                out.iter_mut().zip(value).for_each(|(o, v)| *o += p * v.widen());
            }
        }
        out.iter_mut().for_each(|v| *v /= total);
    }
}
