//! Packed panels to weight tiles: 16 lines, each with a pair of neighbouring k for every one of the panel's 16 rows.
//!
//! A packed vector has four neighbouring k for each row, which is two lines. A weight is `quant · scale + bias` in one rounding
//! (a quant is stored plus 8, 32 or 128, which the bias takes off again), then rounded to bf16: 2⁻⁹ of its size at most.
use super::super::matmul::{at, halves};
use super::super::pack::{Q6_SCALES, Q6_SUB, Q6_SUPER, Q6_TILE, TILE_SCALES, WeightType};
use super::super::simd::LANES;

use super::Tile;
use super::widen::Widen;

/// Scales of two blocks, then their quants.
const Q4_TILE: usize = TILE_SCALES + 2 * 256;
const Q8_TILE: usize = TILE_SCALES + 2 * 512;

/// Whether tiles are made of this type. F32 keeps its precision instead, other types go the way of AVX-512 VNNI.
pub(super) fn takes(dtype: WeightType) -> bool {
    use WeightType::{Bf16, F16, Q4_0, Q6K, Q8_0};
    matches!(dtype, F16 | Bf16 | Q4_0 | Q8_0 | Q6K)
}

/// A panel's 32 k from `32·k`.
#[inline(always)]
pub(super) fn tile<S: Widen>(s: S, dtype: WeightType, panel: &[u8], k: usize, to: &mut Tile) {
    match dtype {
        WeightType::F16 => floats::<S, false>(s, at(panel, k * FLOATS), to),
        WeightType::Bf16 => floats::<S, true>(s, at(panel, k * FLOATS), to),
        WeightType::Q4_0 => q4_0(s, at(panel, k / 2 * Q4_TILE), k % 2, to),
        WeightType::Q8_0 => q8_0(s, at(panel, k / 2 * Q8_TILE), k % 2, to),
        WeightType::Q6K => q6_k(s, panel, k, to),
        _ => {}
    }
}

/// Bytes of 32 k of 16-bit numbers.
const FLOATS: usize = 32 * 2 * LANES;

#[inline(always)]
fn floats<S: Widen, const BF16: bool>(s: S, panel: &[u8; FLOATS], to: &mut Tile) {
    for (pair, to) in panel.as_chunks::<{ 4 * LANES }>().0.iter().zip(to) {
        let (even, odd) = (halves(at(pair, 0)), halves(at(pair, 2 * LANES)));
        *to = if BF16 {
            s.pairs(s.load_bf16(&even), s.load_bf16(&odd))
        } else {
            s.pairs(s.load_f16(&even), s.load_f16(&odd))
        };
    }
}

/// Four k of every row: lines 2·QUAD and 2·QUAD + 1.
#[inline(always)]
fn quad<S: Widen>(s: S, bytes: S::Bytes, scale: S::V, bias: S::V, to: &mut Tile, quad: usize) {
    let (a, b) = (s.byte::<0>(bytes), s.byte::<1>(bytes));
    to[2 * quad] = s.pairs(s.fma(a, scale, bias), s.fma(b, scale, bias));
    let (a, b) = (s.byte::<2>(bytes), s.byte::<3>(bytes));
    to[2 * quad + 1] = s.pairs(s.fma(a, scale, bias), s.fma(b, scale, bias));
}

#[inline(always)]
fn q4_0<S: Widen>(s: S, tile: &[u8; Q4_TILE], half: usize, to: &mut Tile) {
    let d = s.load_f16(&halves(at(tile, half * 32)));
    let bias = s.mul(d, s.splat(-8.0));
    for j in 0..4 {
        let bytes = s.load_bytes(at(tile, TILE_SCALES + half * 256 + j * 64));
        quad(s, s.low(bytes), d, bias, to, j);
        quad(s, s.high(bytes), d, bias, to, 4 + j);
    }
}

#[inline(always)]
fn q8_0<S: Widen>(s: S, tile: &[u8; Q8_TILE], half: usize, to: &mut Tile) {
    let d = s.load_f16(&halves(at(tile, half * 32)));
    let bias = s.mul(d, s.splat(-128.0));
    for j in 0..8 {
        let bytes = s.load_bytes(at(tile, TILE_SCALES + half * 512 + j * 64));
        quad(s, s.plus_128(bytes), d, bias, to, j);
    }
}

/// Two sub-blocks of 16 k. The super-scales follow the panel's tiles.
#[inline(always)]
fn q6_k<S: Widen>(s: S, panel: &[u8], k: usize, to: &mut Tile) {
    let supers = panel.len() / (4 * Q6_TILE + Q6_SUPER);
    let tile: &[u8; Q6_TILE] = at(panel, k / 2 * Q6_TILE);
    let super_scale = s.load_f16(&halves(at(panel, supers * 4 * Q6_TILE + k / 8 * Q6_SUPER)));
    for sub in 0..2 {
        let b = k % 2 * 2 + sub;
        let d = s.mul(super_scale, s.load_i8(at(tile, b * LANES)));
        let bias = s.mul(d, s.splat(-32.0));
        let start = Q6_SCALES + b * Q6_SUB;
        let (v, w) = (s.load_bytes(at(tile, start)), s.load_bytes(at(tile, start + 64)));
        let tops = s.load_bytes(at(tile, start + 128));
        quad(s, s.with_top::<0>(s.low(v), tops), d, bias, to, sub * 4);
        quad(s, s.with_top::<1>(s.low(w), tops), d, bias, to, sub * 4 + 1);
        quad(s, s.with_top::<2>(s.high(v), tops), d, bias, to, sub * 4 + 2);
        quad(s, s.with_top::<3>(s.high(w), tops), d, bias, to, sub * 4 + 3);
    }
}
