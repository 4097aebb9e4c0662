//! Packed panels to weight tiles: 16 lines, each with a pair of neighbouring k for every one of the panel's 16 rows.
//!
//! A packed vector has four neighbouring k for each row, which is two lines. A weight is `quant · scale + bias` in one rounding
//! (where a quant is stored plus 8, 16, 32 or 128, the bias takes it off again), then rounded to bf16: 2⁻⁹ of its size at most.
use super::super::matmul::{at, halves, six_bits};
use super::super::pack::{
    BLOCK_4, BLOCK_5, BLOCK_8, K_HEAD, Q4K_TILE, Q5K_TILE, Q6_SCALES, Q6_SUB, Q6_SUPER, Q6_TILE, TILE_SCALES,
    WeightType,
};
use super::super::simd::LANES;

use super::Tile;
use super::widen::Widen;

/// Whether tiles are made of this type. F32 keeps its precision instead.
pub(super) fn takes(dtype: WeightType) -> bool {
    dtype != WeightType::F32
}

/// A panel's 32 k from `32·k`.
#[inline(always)]
pub(super) fn tile<S: Widen>(s: S, dtype: WeightType, panel: &[u8], k: usize, to: &mut Tile) {
    match dtype {
        WeightType::F32 => {}
        WeightType::F16 => floats::<S, false>(s, at(panel, k * FLOATS), to),
        WeightType::Bf16 => floats::<S, true>(s, at(panel, k * FLOATS), to),
        WeightType::Q4_0 => block::<S, BLOCK_4>(s, panel, k, Some(8.0), to),
        WeightType::Q4_1 => block::<S, BLOCK_4>(s, panel, k, None, to),
        WeightType::Q5_0 => block::<S, BLOCK_5>(s, panel, k, Some(16.0), to),
        WeightType::Q5_1 => block::<S, BLOCK_5>(s, panel, k, None, to),
        WeightType::Q8_0 => block::<S, BLOCK_8>(s, panel, k, Some(128.0), to),
        WeightType::Q4K => k_block::<S, BLOCK_4>(s, at::<Q4K_TILE>(panel, k / 8 * Q4K_TILE), k % 8, to),
        WeightType::Q5K => k_block::<S, BLOCK_5>(s, at::<Q5K_TILE>(panel, k / 8 * Q5K_TILE), k % 8, to),
        WeightType::Q6K => q6_k(s, panel, k, to),
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

/// The types with blocks of 32: quants are stored plus `offset`, or there are minima behind the scales.
#[inline(always)]
fn block<S: Widen, const BLOCK: usize>(s: S, panel: &[u8], k: usize, offset: Option<f32>, to: &mut Tile) {
    let head = if offset.is_some() { TILE_SCALES } else { 2 * TILE_SCALES };
    let (start, half) = (k / 2 * (head + 2 * BLOCK), k % 2);
    let d = s.load_f16(&halves(at(panel, start + half * 32)));
    let bias = match offset {
        Some(offset) => s.mul(d, s.splat(-offset)),
        None => s.load_f16(&halves(at(panel, start + TILE_SCALES + half * 32))),
    };
    quants(s, at::<BLOCK>(panel, start + head + half * BLOCK), d, bias, to);
}

/// Q4_K and Q5_K: block `k` of the eight of a tile.
#[inline(always)]
fn k_block<S: Widen, const BLOCK: usize>(s: S, tile: &[u8], k: usize, to: &mut Tile) {
    let six = six_bits(s, tile);
    let d = s.load_f16(&halves(at(tile, 0)));
    let minus = s.mul(s.load_f16(&halves(at(tile, 32))), s.splat(-1.0));
    let scale = s.mul(d, s.load_i8(at(&six[k / 4], k % 4 * LANES)));
    let bias = s.mul(minus, s.load_i8(at(&six[2 + k / 4], k % 4 * LANES)));
    quants(s, at::<BLOCK>(tile, K_HEAD + k * BLOCK), scale, bias, to);
}

/// The quants of 32 k.
#[inline(always)]
fn quants<S: Widen, const BLOCK: usize>(s: S, from: &[u8; BLOCK], scale: S::V, bias: S::V, to: &mut Tile) {
    if BLOCK == BLOCK_8 {
        for j in 0..8 {
            quad(s, s.plus_128(s.load_bytes(at(from, j * 64))), scale, bias, to, j);
        }
    } else if BLOCK == BLOCK_4 {
        for j in 0..4 {
            let bytes = s.load_bytes(at(from, j * 64));
            quad(s, s.low(bytes), scale, bias, to, j);
            quad(s, s.high(bytes), scale, bias, to, 4 + j);
        }
    } else {
        let tops = s.load_bytes(at(from, 0));
        let (v, w) = (s.load_bytes(at(from, 64)), s.load_bytes(at(from, 128)));
        quad(s, s.with_bit::<0>(s.low(v), tops), scale, bias, to, 0);
        quad(s, s.with_bit::<1>(s.low(w), tops), scale, bias, to, 1);
        quad(s, s.with_bit::<4>(s.high(v), tops), scale, bias, to, 4);
        quad(s, s.with_bit::<5>(s.high(w), tops), scale, bias, to, 5);
        let (v, w) = (s.load_bytes(at(from, 192)), s.load_bytes(at(from, 256)));
        quad(s, s.with_bit::<2>(s.low(v), tops), scale, bias, to, 2);
        quad(s, s.with_bit::<3>(s.low(w), tops), scale, bias, to, 3);
        quad(s, s.with_bit::<6>(s.high(v), tops), scale, bias, to, 6);
        quad(s, s.with_bit::<7>(s.high(w), tops), scale, bias, to, 7);
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
