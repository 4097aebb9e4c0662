//! Panels of small integers times int8 activations: exact integer dot products inside a block, f32 across blocks.
//!
//! Per block of 32 k: `acc += (Σ w·q) · (weight scale · activation scale)`. Weights are stored unsigned (plus 8, or plus 32); the
//! integer sums start at minus that offset times Σq, which the activation knows, so the offset costs nothing.
use super::super::Activation;
use super::super::activation::Int8Row;
use super::super::pack::{
    BLOCK_4, BLOCK_5, BLOCK_8, K_HEAD, Q4K_TILE, Q5K_TILE, Q6_SCALES, Q6_SUB, Q6_SUPER, Q6_TILE, TILE_SCALES,
};
use super::super::simd::{LANES, Simd};
use super::Format;

/// How far Q6_K asks for memory ahead when one row leaves the loads waiting: its unpacking fills the CPU's window before the next
/// lines are asked for. AVX2 went from 17 to 26 GB/s with it, AVX-512 stayed at 23; Q4_0 and Q8_0 lose by it.
const AHEAD: usize = 16 * Q6_TILE;

/// Scales and minima of a tile of two blocks.
const WITH_MINIMA: usize = 2 * TILE_SCALES;

#[derive(Clone, Copy)]
pub(super) struct Q4_0;
#[derive(Clone, Copy)]
pub(super) struct Q4_1;
#[derive(Clone, Copy)]
pub(super) struct Q5_0;
#[derive(Clone, Copy)]
pub(super) struct Q5_1;
#[derive(Clone, Copy)]
pub(super) struct Q8_0;
#[derive(Clone, Copy)]
pub(super) struct Q4K;
#[derive(Clone, Copy)]
pub(super) struct Q5K;
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
            sums: &all.sums[..tiles],
        };
    }
    rows
}

/// How the integers of a block of 32 k, BLOCK bytes for 16 rows, are multiplied.
trait Quants<const BLOCK: usize> {
    /// The dot products of NP blocks with R×32 activations, plus `offset` of each row.
    fn dots<S: Simd, const NP: usize, const R: usize>(
        s: S,
        w: [&[u8; BLOCK]; NP],
        x: [&[i32; 8]; R],
        offset: [i32; R],
    ) -> [[S::V; NP]; R];
}

struct Four;
struct Five;
struct Eight;

impl Quants<BLOCK_4> for Four {
    #[inline(always)]
    fn dots<S: Simd, const NP: usize, const R: usize>(
        s: S,
        w: [&[u8; BLOCK_4]; NP],
        x: [&[i32; 8]; R],
        offset: [i32; R],
    ) -> [[S::V; NP]; R] {
        let mut dot = [[s.nibbles_start(0); NP]; R];
        for r in 0..R {
            dot[r] = [s.nibbles_start(offset[r]); NP];
        }
        for j in 0..4 {
            for p in 0..NP {
                let bytes = s.load_bytes(at(w[p], j * 64));
                let (low, high) = (s.low(bytes), s.high(bytes));
                for r in 0..R {
                    dot[r][p] = s.nibbles_dot(dot[r][p], low, x[r][j]);
                    dot[r][p] = s.nibbles_dot(dot[r][p], high, x[r][4 + j]);
                }
            }
        }
        let mut out = [[s.splat(0.0); NP]; R];
        for r in 0..R {
            for p in 0..NP {
                out[r][p] = s.nibbles_end(dot[r][p], offset[r]);
            }
        }
        out
    }
}

impl Quants<BLOCK_5> for Five {
    #[inline(always)]
    fn dots<S: Simd, const NP: usize, const R: usize>(
        s: S,
        w: [&[u8; BLOCK_5]; NP],
        x: [&[i32; 8]; R],
        offset: [i32; R],
    ) -> [[S::V; NP]; R] {
        let mut dot = [[s.sums_start(0); NP]; R];
        for r in 0..R {
            dot[r] = [s.sums_start(offset[r]); NP];
        }
        for p in 0..NP {
            let tops = s.load_bytes(at(w[p], 0));
            let (a, b) = (s.load_bytes(at(w[p], 64)), s.load_bytes(at(w[p], 128)));
            let (c, d) = (s.load_bytes(at(w[p], 192)), s.load_bytes(at(w[p], 256)));
            let first = [
                s.with_bit::<0>(s.low(a), tops),
                s.with_bit::<1>(s.low(b), tops),
                s.with_bit::<2>(s.low(c), tops),
                s.with_bit::<3>(s.low(d), tops),
            ];
            let second = [
                s.with_bit::<4>(s.high(a), tops),
                s.with_bit::<5>(s.high(b), tops),
                s.with_bit::<6>(s.high(c), tops),
                s.with_bit::<7>(s.high(d), tops),
            ];
            for r in 0..R {
                let ([x0, x1], _) = x[r].as_chunks::<4>() else { continue };
                dot[r][p] = s.sums_dot(s.sums_dot(dot[r][p], first, *x0), second, *x1);
            }
        }
        ends(s, dot)
    }
}

impl Quants<BLOCK_8> for Eight {
    #[inline(always)]
    fn dots<S: Simd, const NP: usize, const R: usize>(
        s: S,
        w: [&[u8; BLOCK_8]; NP],
        x: [&[i32; 8]; R],
        offset: [i32; R],
    ) -> [[S::V; NP]; R] {
        let mut dot = [[s.sums_start8(0); NP]; R];
        for r in 0..R {
            dot[r] = [s.sums_start8(offset[r]); NP];
        }
        for j in 0..8 {
            for p in 0..NP {
                let bytes = s.load_bytes(at(w[p], j * 64));
                for r in 0..R {
                    dot[r][p] = s.sums_dot8(dot[r][p], bytes, x[r][j]);
                }
            }
        }
        ends(s, dot)
    }
}

#[inline(always)]
fn ends<S: Simd, const NP: usize, const R: usize>(s: S, dot: [[S::Sums; NP]; R]) -> [[S::V; NP]; R] {
    let mut out = [[s.splat(0.0); NP]; R];
    for r in 0..R {
        for p in 0..NP {
            out[r][p] = s.sums_end(dot[r][p]);
        }
    }
    out
}

/// Types with blocks of 32. A weight is `d · (q - 8·OFFSET)`, and `+ m` with HEAD for scales and minima.
/// (For signed quants OFFSET says what [`Simd::sums_start8`] wants to know.)
#[inline(always)]
fn blocks<
    S: Simd,
    Q: Quants<BLOCK>,
    const BLOCK: usize,
    const HEAD: usize,
    const TILE: usize,
    const OFFSET: i32,
    const NP: usize,
    const R: usize,
>(
    s: S,
    w: [&[u8]; NP],
    act: &Activation,
    first: usize,
) -> [[S::V; NP]; R] {
    let tiles = w[0].len() / TILE;
    let x = int8_rows::<R>(act, first, tiles);
    let mut panels: [&[[u8; TILE]]; NP] = [&[]; NP];
    for p in 0..NP {
        panels[p] = &w[p].as_chunks().0[..tiles];
    }
    let mut acc = [[s.splat(0.0); NP]; R];
    for t in 0..tiles {
        for half in 0..2 {
            let (mut block, mut quads, mut offset) = ([&[0; BLOCK]; NP], [&[0; 8]; R], [0; R]);
            for p in 0..NP {
                block[p] = at(&panels[p][t], HEAD + half * BLOCK);
            }
            for r in 0..R {
                quads[r] = eight(&x[r].quads[t], half);
                offset[r] = OFFSET * x[r].offsets_q4[t][half];
            }
            let dot = Q::dots(s, block, quads, offset);
            for p in 0..NP {
                let d = s.load_f16(&halves(at(&panels[p][t], half * 32)));
                for r in 0..R {
                    acc[r][p] = s.fma(dot[r][p], s.mul(d, s.splat(x[r].scales[t][half])), acc[r][p]);
                }
                if HEAD > TILE_SCALES {
                    let m = s.load_f16(&halves(at(&panels[p][t], TILE_SCALES + half * 32)));
                    for r in 0..R {
                        acc[r][p] = s.fma(m, s.splat(x[r].sums[t][half]), acc[r][p]);
                    }
                }
            }
        }
    }
    acc
}

/// Half of a tile's quads.
#[inline(always)]
fn eight(quads: &[i32; 16], half: usize) -> &[i32; 8] {
    &quads.as_chunks().0[half]
}

/// Q4_K and Q5_K: a weight is `d · scale · q - dmin · min`, with scale and min of a block of 32 in six bits.
#[inline(always)]
fn k_blocks<
    S: Simd,
    Q: Quants<BLOCK>,
    const BLOCK: usize,
    const TILE: usize,
    const NP: usize,
    const R: usize,
>(
    s: S,
    w: [&[u8]; NP],
    act: &Activation,
    first: usize,
) -> [[S::V; NP]; R] {
    let tiles = act.k() / 256;
    let x = int8_rows::<R>(act, first, tiles * 4);
    let mut panels: [&[[u8; TILE]]; NP] = [&[]; NP];
    for p in 0..NP {
        panels[p] = &w[p].as_chunks().0[..tiles];
    }
    let mut acc = [[s.splat(0.0); NP]; R];
    for b in 0..tiles {
        let mut six = [[[0; 64]; 4]; NP];
        for p in 0..NP {
            six[p] = six_bits(s, &panels[p][b]);
        }
        for block in 0..8 {
            let (t, half) = (b * 4 + block / 2, block % 2);
            let (mut bytes, mut quads) = ([&[0; BLOCK]; NP], [&[0; 8]; R]);
            for p in 0..NP {
                bytes[p] = at(&panels[p][b], K_HEAD + block * BLOCK);
            }
            for r in 0..R {
                quads[r] = eight(&x[r].quads[t], half);
            }
            let dot = Q::dots(s, bytes, quads, [0; R]);
            for p in 0..NP {
                let scale = s.load_i8(at(&six[p][block / 4], block % 4 * LANES));
                let min = s.load_i8(at(&six[p][2 + block / 4], block % 4 * LANES));
                let d = s.mul(scale, s.load_f16(&halves(at(&panels[p][b], 0))));
                let m = s.mul(min, s.load_f16(&halves(at(&panels[p][b], 32))));
                for r in 0..R {
                    acc[r][p] = s.fma(dot[r][p], s.mul(d, s.splat(x[r].scales[t][half])), acc[r][p]);
                    acc[r][p] = s.fma(m, s.splat(-x[r].sums[t][half]), acc[r][p]);
                }
            }
        }
    }
    acc
}

/// The scales of blocks 0 to 3 and 4 to 7, then the minima, 16 rows of each.
#[inline(always)]
pub(in crate::kernels) fn six_bits<S: Simd>(s: S, head: &[u8]) -> [[u8; 64]; 4] {
    let (a, b, tops) = (s.load_bytes(at(head, 64)), s.load_bytes(at(head, 128)), s.load_bytes(at(head, 192)));
    let mut out = [[0; 64]; 4];
    s.store_bytes(s.with_top::<0>(s.low(a), tops), &mut out[0]);
    s.store_bytes(s.with_top::<2>(s.low(b), tops), &mut out[1]);
    s.store_bytes(s.with_top::<1>(s.high(a), tops), &mut out[2]);
    s.store_bytes(s.with_top::<3>(s.high(b), tops), &mut out[3]);
    out
}

macro_rules! format {
    ($($name:ident = $frame:ident::<$quants:ident, $block:ident, $($param:tt),+>;)+) => { $(
        impl Format for $name {
            const TALL: bool = $block != BLOCK_8;
            #[inline(always)]
            fn product<S: Simd, const NP: usize, const R: usize>(
                self,
                s: S,
                w: [&[u8]; NP],
                act: &Activation,
                first: usize,
            ) -> [[S::V; NP]; R] {
                $frame::<S, $quants, $block, $($param),+, NP, R>(s, w, act, first)
            }
        }
    )+ };
}
format! {
    Q4_0 = blocks::<Four, BLOCK_4, TILE_SCALES, { TILE_SCALES + 2 * BLOCK_4 }, 1>;
    Q4_1 = blocks::<Four, BLOCK_4, WITH_MINIMA, { WITH_MINIMA + 2 * BLOCK_4 }, 0>;
    Q5_0 = blocks::<Five, BLOCK_5, TILE_SCALES, { TILE_SCALES + 2 * BLOCK_5 }, 2>;
    Q5_1 = blocks::<Five, BLOCK_5, WITH_MINIMA, { WITH_MINIMA + 2 * BLOCK_5 }, 0>;
    Q8_0 = blocks::<Eight, BLOCK_8, TILE_SCALES, { TILE_SCALES + 2 * BLOCK_8 }, 1>;
    Q4K = k_blocks::<Four, BLOCK_4, Q4K_TILE>;
    Q5K = k_blocks::<Five, BLOCK_5, Q5K_TILE>;
}

impl Format for Q6K {
    const TALL: bool = true;
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
            let dot = s.sums_dot(dot, first, [quads[q], quads[q + 1]]);
            let dot = s.sums_dot(dot, second, [quads[q + 2], quads[q + 3]]);
            out[r] = s.fma(s.sums_end(dot), scale, out[r]);
        }
    }
    out
}
