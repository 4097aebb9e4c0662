//! Panels of small integers times int8 activations: exact integer dot products inside a block, f32 across blocks.
//!
//! Per block of 32 k: `acc += (Σ w·q) · (weight scale · activation scale)`. Weights are stored unsigned (plus 8, or plus 32); the
//! integer sums start at minus that offset times Σq, which the activation knows, so the offset costs nothing.
use super::super::Activation;
use super::super::activation::Int8Row;
use super::super::pack::{Q4_TILE, Q6_SCALES, Q6_SUB, Q6_SUPER, Q6_TILE, Q8_TILE, TILE_SCALES};
use super::super::simd::{LANES, Simd};
use super::Format;

/// How far Q6_K asks for memory ahead when one row leaves the loads waiting: its unpacking fills the CPU's window before the next
/// lines are asked for. AVX2 went from 17 to 26 GB/s with it, AVX-512 stayed at 23; Q4_0 and Q8_0 lose by it.
const AHEAD: usize = 16 * Q6_TILE;

#[derive(Clone, Copy)]
pub(super) struct Q4_0;
#[derive(Clone, Copy)]
pub(super) struct Q8_0;
#[derive(Clone, Copy)]
pub(super) struct Q6K;

/// N bytes from a constant offset.
#[inline(always)]
pub(in crate::kernels) fn at<const N: usize>(bytes: &[u8], offset: usize) -> &[u8; N] {
    match bytes[offset..].first_chunk() {
        Some(chunk) => chunk,
        None => &[0; N],
    }
}

/// 32 bytes as sixteen 16-bit numbers.
#[inline(always)]
pub(in crate::kernels) fn halves(bytes: &[u8; 2 * LANES]) -> [u16; LANES] {
    // SAFETY: 32 bytes, any pattern of which is 16 numbers; an array of bytes may be read as one of any alignment.
    unsafe { bytes.as_ptr().cast::<[u16; LANES]>().read_unaligned() }
}

#[inline(always)]
fn int8_rows<const R: usize>(act: &Activation, first: usize, tiles: usize) -> [Int8Row<'_>; R] {
    let mut rows = [act.int8(first); R];
    for (r, row) in rows.iter_mut().enumerate() {
        let all = act.int8(first + r);
        *row = Int8Row {
            quads: &all.quads[..tiles],
            scales: &all.scales[..tiles],
            offsets_q4: &all.offsets_q4[..tiles],
            offsets_q6: &all.offsets_q6[..tiles],
        };
    }
    rows
}

impl Format for Q4_0 {
    #[inline(always)]
    fn product<S: Simd, const NP: usize, const R: usize>(
        self,
        s: S,
        w: [&[u8]; NP],
        act: &Activation,
        first: usize,
    ) -> [[S::V; NP]; R] {
        let tiles = w[0].len() / Q4_TILE;
        let x = int8_rows::<R>(act, first, tiles);
        let mut panels: [&[[u8; Q4_TILE]]; NP] = [&[]; NP];
        for p in 0..NP {
            panels[p] = &w[p].as_chunks().0[..tiles];
        }
        let mut acc = [[s.splat(0.0); NP]; R];
        for t in 0..tiles {
            for half in 0..2 {
                let mut dot = [[s.nibbles_start(0); NP]; R];
                for r in 0..R {
                    dot[r] = [s.nibbles_start(x[r].offsets_q4[t][half]); NP];
                }
                for j in 0..4 {
                    let vector = TILE_SCALES + half * 256 + j * 64;
                    for p in 0..NP {
                        let bytes = s.load_bytes(at(&panels[p][t], vector));
                        let (low, high) = (s.low(bytes), s.high(bytes));
                        for r in 0..R {
                            dot[r][p] = s.nibbles_dot(dot[r][p], low, x[r].quads[t][half * 8 + j]);
                            dot[r][p] = s.nibbles_dot(dot[r][p], high, x[r].quads[t][half * 8 + 4 + j]);
                        }
                    }
                }
                for p in 0..NP {
                    let d = s.load_f16(&halves(at(&panels[p][t], half * 32)));
                    for r in 0..R {
                        let scale = s.mul(d, s.splat(x[r].scales[t][half]));
                        let sum = s.nibbles_end(dot[r][p], x[r].offsets_q4[t][half]);
                        acc[r][p] = s.fma(sum, scale, acc[r][p]);
                    }
                }
            }
        }
        acc
    }
}

impl Format for Q8_0 {
    #[inline(always)]
    fn product<S: Simd, const NP: usize, const R: usize>(
        self,
        s: S,
        w: [&[u8]; NP],
        act: &Activation,
        first: usize,
    ) -> [[S::V; NP]; R] {
        let tiles = w[0].len() / Q8_TILE;
        let x = int8_rows::<R>(act, first, tiles);
        let mut panels: [&[[u8; Q8_TILE]]; NP] = [&[]; NP];
        for p in 0..NP {
            panels[p] = &w[p].as_chunks().0[..tiles];
        }
        let mut acc = [[s.splat(0.0); NP]; R];
        for t in 0..tiles {
            for half in 0..2 {
                let mut dot = [[s.sums_start(0); NP]; R];
                for r in 0..R {
                    dot[r] = [s.sums_start8(x[r].offsets_q4[t][half]); NP];
                }
                for j in 0..8 {
                    for p in 0..NP {
                        let bytes = s.load_bytes(at(&panels[p][t], TILE_SCALES + half * 512 + j * 64));
                        for r in 0..R {
                            dot[r][p] = s.sums_dot8(dot[r][p], bytes, x[r].quads[t][half * 8 + j]);
                        }
                    }
                }
                for p in 0..NP {
                    let d = s.load_f16(&halves(at(&panels[p][t], half * 32)));
                    for r in 0..R {
                        let scale = s.mul(d, s.splat(x[r].scales[t][half]));
                        acc[r][p] = s.fma(s.sums_end(dot[r][p]), scale, acc[r][p]);
                    }
                }
            }
        }
        acc
    }
}

impl Format for Q6K {
    #[inline(always)]
    fn product<S: Simd, const NP: usize, const R: usize>(
        self,
        s: S,
        w: [&[u8]; NP],
        act: &Activation,
        first: usize,
    ) -> [[S::V; NP]; R] {
        let (supers, tiles) = (act.k() / 256, act.k() / 64);
        let x = int8_rows::<R>(act, first, tiles);
        let mut panels: [&[[u8; Q6_TILE]]; NP] = [&[]; NP];
        for p in 0..NP {
            panels[p] = &w[p].as_chunks().0[..tiles];
        }
        let mut acc = [[s.splat(0.0); NP]; R];
        for b in 0..supers {
            let mut sum = [[s.splat(0.0); NP]; R];
            for t in b * 4..b * 4 + 4 {
                for half in 0..2 {
                    for p in 0..NP {
                        let dots = q6_block::<S, R>(s, &panels[p][t], &x, t, half);
                        for r in 0..R {
                            sum[r][p] = s.fma(dots[r], s.splat(x[r].scales[t][half]), sum[r][p]);
                        }
                    }
                }
            }
            for p in 0..NP {
                let d = s.load_f16(&halves(at(w[p], tiles * Q6_TILE + b * Q6_SUPER)));
                for r in 0..R {
                    acc[r][p] = s.fma(sum[r][p], d, acc[r][p]);
                }
            }
        }
        acc
    }
}

/// Half a tile: two sub-blocks of 16 k, each dot product times its i8 scale.
#[inline(always)]
fn q6_block<S: Simd, const R: usize>(
    s: S,
    tile: &[u8; Q6_TILE],
    x: &[Int8Row; R],
    t: usize,
    half: usize,
) -> [S::V; R] {
    let mut out = [s.splat(0.0); R];
    if R == 1 && half == 0 {
        s.prefetch(at(tile, 0), AHEAD);
    }
    for sub in half * 2..half * 2 + 2 {
        let start = Q6_SCALES + sub * Q6_SUB;
        if R == 1 {
            for line in [start, start + 64, start + 128] {
                s.prefetch(at(tile, line), AHEAD);
            }
        }
        let (a, c) = (s.load_bytes(at(tile, start)), s.load_bytes(at(tile, start + 64)));
        let tops = s.load_bytes(at(tile, start + 128));
        let first = [s.with_top::<0>(s.low(a), tops), s.with_top::<1>(s.low(c), tops)];
        let second = [s.with_top::<2>(s.high(a), tops), s.with_top::<3>(s.high(c), tops)];
        let scale = s.load_i8(at(tile, sub * LANES));
        for r in 0..R {
            let quads = &x[r].quads[t];
            let q = sub * 4;
            let dot = s.sums_start(x[r].offsets_q6[t][sub]);
            let dot = s.sums_dot6(dot, first, [quads[q], quads[q + 1]]);
            let dot = s.sums_dot6(dot, second, [quads[q + 2], quads[q + 3]]);
            out[r] = s.fma(s.sums_end(dot), scale, out[r]);
        }
    }
    out
}
