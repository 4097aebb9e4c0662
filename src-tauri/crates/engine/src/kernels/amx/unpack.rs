//! Packed panels to weight tiles: `[k/2]` lines, each with a pair of neighbouring k for every one of the panel's 16 rows.
//!
//! A packed vector has four neighbouring k for each row, which is two lines. A weight is `quant · scale + bias` in one rounding
//! (a quant is stored plus 8, 32 or 128, which the bias takes off again), then rounded to bf16: 2⁻⁹ of its size at most.
use super::super::matmul::{at, halves};
use super::super::pack::{Q6_SCALES, Q6_SUB, Q6_SUPER, Q6_TILE, TILE_SCALES, WeightType};
use super::super::simd::LANES;

use super::Line;
use super::widen::Widen;

/// Scales of two blocks, then their quants.
const Q4_TILE: usize = TILE_SCALES + 2 * 256;
const Q8_TILE: usize = TILE_SCALES + 2 * 512;

/// Whether tiles are made of this type. F32 keeps its precision instead, other types go the way of AVX-512 VNNI.
pub(super) fn takes(dtype: WeightType) -> bool {
    use WeightType::{Bf16, F16, Q4_0, Q6K, Q8_0};
    matches!(dtype, F16 | Bf16 | Q4_0 | Q8_0 | Q6K)
}

/// `to` has a line for every two columns.
#[inline(always)]
pub(super) fn unpack<S: Widen>(s: S, dtype: WeightType, panel: &[u8], to: &mut [Line]) {
    match dtype {
        WeightType::F16 => floats::<S, false>(s, panel, to),
        WeightType::Bf16 => floats::<S, true>(s, panel, to),
        WeightType::Q4_0 => q4_0(s, panel, to),
        WeightType::Q8_0 => q8_0(s, panel, to),
        WeightType::Q6K => q6_k(s, panel, to),
        _ => {}
    }
}

#[inline(always)]
fn floats<S: Widen, const BF16: bool>(s: S, panel: &[u8], to: &mut [Line]) {
    for (pair, to) in panel.as_chunks::<{ 4 * LANES }>().0.iter().zip(to) {
        let (even, odd) = (halves(at(pair, 0)), halves(at(pair, 2 * LANES)));
        *to = if BF16 {
            s.pairs(s.load_bf16(&even), s.load_bf16(&odd))
        } else {
            s.pairs(s.load_f16(&even), s.load_f16(&odd))
        };
    }
}

/// Four k of every row.
#[inline(always)]
fn quad<S: Widen>(s: S, bytes: S::Bytes, scale: S::V, bias: S::V, to: &mut [Line; 2]) {
    let (a, b) = (s.byte::<0>(bytes), s.byte::<1>(bytes));
    to[0] = s.pairs(s.fma(a, scale, bias), s.fma(b, scale, bias));
    let (a, b) = (s.byte::<2>(bytes), s.byte::<3>(bytes));
    to[1] = s.pairs(s.fma(a, scale, bias), s.fma(b, scale, bias));
}

/// The lines of a block of 32 k. The last tile may be half padding, which has no lines.
#[inline(always)]
fn blocks(to: &mut [Line]) -> &mut [[[Line; 2]; 8]] {
    to.as_chunks_mut().0.as_chunks_mut().0
}

#[inline(always)]
fn q4_0<S: Widen>(s: S, panel: &[u8], to: &mut [Line]) {
    for (b, to) in blocks(to).iter_mut().enumerate() {
        let tile: &[u8; Q4_TILE] = at(panel, b / 2 * Q4_TILE);
        let d = s.load_f16(&halves(at(tile, b % 2 * 32)));
        let bias = s.mul(d, s.splat(-8.0));
        for j in 0..4 {
            let bytes = s.load_bytes(at(tile, TILE_SCALES + b % 2 * 256 + j * 64));
            quad(s, s.low(bytes), d, bias, &mut to[j]);
            quad(s, s.high(bytes), d, bias, &mut to[4 + j]);
        }
    }
}

#[inline(always)]
fn q8_0<S: Widen>(s: S, panel: &[u8], to: &mut [Line]) {
    for (b, to) in blocks(to).iter_mut().enumerate() {
        let tile: &[u8; Q8_TILE] = at(panel, b / 2 * Q8_TILE);
        let d = s.load_f16(&halves(at(tile, b % 2 * 32)));
        let bias = s.mul(d, s.splat(-128.0));
        for (j, to) in to.iter_mut().enumerate() {
            let bytes = s.load_bytes(at(tile, TILE_SCALES + b % 2 * 512 + j * 64));
            quad(s, s.plus_128(bytes), d, bias, to);
        }
    }
}

#[inline(always)]
fn q6_k<S: Widen>(s: S, panel: &[u8], to: &mut [Line]) {
    let tiles = to.len() / 32;
    // Sub-blocks of 16 k.
    for (b, to) in to.as_chunks_mut::<2>().0.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let tile: &[u8; Q6_TILE] = at(panel, b / 4 * Q6_TILE);
        let d = s.load_f16(&halves(at(panel, tiles * Q6_TILE + b / 16 * Q6_SUPER)));
        let d = s.mul(d, s.load_i8(at(tile, b % 4 * LANES)));
        let bias = s.mul(d, s.splat(-32.0));
        let start = Q6_SCALES + b % 4 * Q6_SUB;
        let (v, w) = (s.load_bytes(at(tile, start)), s.load_bytes(at(tile, start + 64)));
        let tops = s.load_bytes(at(tile, start + 128));
        quad(s, s.with_top::<0>(s.low(v), tops), d, bias, &mut to[0]);
        quad(s, s.with_top::<1>(s.low(w), tops), d, bias, &mut to[1]);
        quad(s, s.with_top::<2>(s.high(v), tops), d, bias, &mut to[2]);
        quad(s, s.with_top::<3>(s.high(w), tops), d, bias, &mut to[3]);
    }
}
