//! The types with blocks of 256 weights and six-bit (Q4_K, Q5_K) or eight-bit (Q6_K) scales of smaller blocks.
use super::blocks::{Five, put_quads};
use super::{BLOCK_4, BLOCK_5, K_HEAD, Q6_SCALES, Q6_SUB, Q6_SUPER, Q6_TILE, TILE_K};
use crate::kernels::bytes::cast;
use crate::kernels::simd::{LANES, f16_to_f32};

/// ggml's block_q4_K and block_q5_K: f16 d, f16 dmin, 12 bytes of six-bit scales and minima, (Q5_K) 32 bytes of fifth bits,
/// 128 bytes of nibbles. Weight i of block s of 32 is `d · scale[s] · q - dmin · min[s]`.
///
/// A tile's head: 16 f16 d, 16 f16 dmin; `[8][16]` bytes, the low nibble of a scale and above it that of the minimum;
/// `[4][16]` bytes of tops, two bits each of the scale and the minimum of block s and then of block s + 4.
pub(super) fn pack<const SIZE: usize, const TILE: usize>(from: &[u8], r: usize, panel: &mut [u8]) {
    let tiles = panel.as_chunks_mut::<TILE>().0;
    for (block, tile) in from.as_chunks::<SIZE>().0.iter().zip(tiles) {
        put_head(block, r, tile);
        let nibbles = &block[SIZE - 128..];
        let size = (TILE - K_HEAD) / 8;
        for (pair, out) in tile[K_HEAD..].chunks_exact_mut(2 * size).enumerate() {
            let (even, odd) = out.split_at_mut(size);
            let (even_tops, odd_tops) = (even.len() - BLOCK_4, odd.len() - BLOCK_4);
            for j in 0..4 {
                let word =
                    |at: usize| nibbles[pair * 32 + at..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
                let (first, second) = (word(4 * j), word(16 + 4 * j));
                // Its low nibbles are one block of 32, its high ones the next; here a byte holds weights i and i + 16 of one.
                const LOW: u32 = 0x0f0f_0f0f;
                put_quads(&mut even[even_tops..], j, r, first & LOW | (second & LOW) << 4);
                put_quads(&mut odd[odd_tops..], j, r, first >> 4 & LOW | second & !LOW);
            }
            if size == BLOCK_5 {
                let tops = |s: usize| Five::of(|k| block[16 + k] >> s & 1);
                put_quads(even, 0, r, tops(2 * pair));
                put_quads(odd, 0, r, tops(2 * pair + 1));
            }
        }
    }
}

fn put_head(block: &[u8], r: usize, tile: &mut [u8]) {
    for half in 0..2 {
        let bits = u16::from_le_bytes([block[2 * half], block[2 * half + 1]]);
        tile[half * 32 + 2 * r..][..2].copy_from_slice(&bits.to_ne_bytes());
    }
    for s in 0..8 {
        let (scale, min) = six_bits(&block[4..16], s);
        tile[64 + s * LANES + r] = scale & 15 | min << 4;
        let tops = (scale >> 4 | min >> 4 << 2) << (s / 4 * 4);
        tile[192 + s % 4 * LANES + r] |= tops;
    }
}

/// `get_scale_min_k4` of ggml-quants.c: the scale and the minimum of block `s`.
fn six_bits(packed: &[u8], s: usize) -> (u8, u8) {
    if s < 4 {
        return (packed[s] & 63, packed[s + 4] & 63);
    }
    let low = packed[s + 4];
    (low & 15 | packed[s - 4] >> 6 << 4, low >> 4 | packed[s] >> 6 << 4)
}

pub(super) fn unpack<const BLOCK: usize, const TILE: usize>(panel: &[u8], r: usize, out: &mut [f32]) {
    let (tiles, _) = panel.as_chunks::<TILE>();
    for (b, out) in out.chunks_exact_mut(32).enumerate() {
        let (tile, s) = (&tiles[b / 8], b % 8);
        let halves = cast::<u16>(&tile[..64]);
        let (low, tops) = (tile[64 + s * LANES + r], tile[192 + s % 4 * LANES + r] >> (s / 4 * 4));
        let scale = f16_to_f32(halves[r]) * f32::from(low & 15 | (tops & 3) << 4);
        let min = f16_to_f32(halves[LANES + r]) * f32::from(low >> 4 | (tops >> 2 & 3) << 4);
        let block = &tile[K_HEAD + s * BLOCK..][..BLOCK];
        let nibbles = &block[BLOCK - BLOCK_4..];
        for (k, v) in out.iter_mut().enumerate() {
            let mut q = nibbles[k % 16 / 4 * 64 + r * 4 + k % 4] >> (k / 16 * 4) & 15;
            if BLOCK == BLOCK_5 {
                q |= Five::bit(block, r, k) << 4;
            }
            *v = scale * f32::from(q) - min;
        }
    }
}

/// ggml's block_q6_K: ql[128], qh[64], 16 i8 scales, f16 d. Weight i of 256 is `d · scale[i/16] · (q - 32)`, where q's low
/// nibble is in ql and its top two bits in qh, in an interleaved order that [`q6_of`] resolves.
pub(super) fn pack_q6_k(from: &[u8], supers: usize, r: usize, panel: &mut [u8]) {
    for (b, block) in from.chunks_exact(210).enumerate() {
        let d = u16::from_le_bytes([block[208], block[209]]).to_ne_bytes();
        panel[supers * 4 * Q6_TILE + b * Q6_SUPER + r * 2..][..2].copy_from_slice(&d);
        for s in 0..16 {
            let tile = &mut panel[(b * 4 + s / 4) * Q6_TILE..][..Q6_TILE];
            tile[s % 4 * LANES + r] = block[192 + s];
            let sub = &mut tile[Q6_SCALES + s % 4 * Q6_SUB..][..Q6_SUB];
            let q = |k: usize| q6_of(block, s * 16 + k);
            for i in 0..8 {
                sub[i / 4 * 64 + r * 4 + i % 4] = q(i) & 15 | q(8 + i) << 4;
            }
            for i in 0..4 {
                let top = |v: usize| q(4 * v + i) >> 4;
                sub[128 + r * 4 + i] = top(0) | top(1) << 2 | top(2) << 4 | top(3) << 6;
            }
        }
    }
}

/// The six bits of weight `i` of a ggml block.
fn q6_of(block: &[u8], i: usize) -> u8 {
    let (half, part, l) = (i / 128, i % 128 / 32, i % 32);
    let low = block[half * 64 + part % 2 * 32 + l] >> (part / 2 * 4) & 15;
    let top = block[128 + half * 32 + l] >> (part * 2) & 3;
    low | top << 4
}

pub(super) fn unpack_q6_k(panel: &[u8], r: usize, out: &mut [f32]) {
    let tiles = out.len() / TILE_K;
    for (sub, out) in out.chunks_exact_mut(16).enumerate() {
        let d = f16_to_f32(cast::<u16>(&panel[tiles * Q6_TILE + sub / 16 * Q6_SUPER..][..Q6_SUPER])[r]);
        let tile = &panel[sub / 4 * Q6_TILE..][..Q6_TILE];
        let d = d * f32::from(tile[sub % 4 * LANES + r] as i8);
        let sub = &tile[Q6_SCALES + sub % 4 * Q6_SUB..][..Q6_SUB];
        for (k, v) in out.iter_mut().enumerate() {
            let low = sub[k % 8 / 4 * 64 + r * 4 + k % 4] >> (k / 8 * 4) & 15;
            let top = sub[128 + r * 4 + k % 4] >> (k / 4 * 2) & 3;
            *v = d * f32::from((low | top << 4) as i8 - 32);
        }
    }
}
