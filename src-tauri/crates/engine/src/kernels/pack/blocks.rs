//! The types with blocks of 32 weights: an f16 scale, perhaps an f16 minimum, and quants of four, five or eight bits.
//!
//! A block of 16 rows is (five bits) a vector of fifth bits, then vectors of 16×4 bytes, for each row four k or, in nibbles,
//! four and the four that come 16 later.
use super::{BLOCK_4, BLOCK_5, BLOCK_8, TILE_SCALES};
use crate::kernels::bytes::cast;
use crate::kernels::simd::{LANES, f16_to_f32};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bits {
    Four,
    Five,
    Eight,
}

/// A weight is `d · (q - offset)`, or `d · q + m`.
#[derive(Clone, Copy)]
pub(super) struct Blocks {
    bits: Bits,
    offset: u8,
    has_min: bool,
}

/// ggml's block_q4_0: f16 d, 16 bytes; the low nibble of byte i is weight i, the high one weight i + 16.
pub(super) const Q4_0: Blocks = Blocks { bits: Bits::Four, offset: 8, has_min: false };
/// block_q4_1: f16 d, f16 m, 16 bytes.
pub(super) const Q4_1: Blocks = Blocks { bits: Bits::Four, offset: 0, has_min: true };
/// block_q5_0: f16 d, 32 fifth bits, 16 bytes.
pub(super) const Q5_0: Blocks = Blocks { bits: Bits::Five, offset: 16, has_min: false };
/// block_q5_1: f16 d, f16 m, 32 fifth bits, 16 bytes.
pub(super) const Q5_1: Blocks = Blocks { bits: Bits::Five, offset: 0, has_min: true };
/// block_q8_0: f16 d, 32 i8.
pub(super) const Q8_0: Blocks = Blocks { bits: Bits::Eight, offset: 0, has_min: false };

impl Blocks {
    /// Bytes of 16 rows of quants.
    fn block(self) -> usize {
        match self.bits {
            Bits::Four => BLOCK_4,
            Bits::Five => BLOCK_5,
            Bits::Eight => BLOCK_8,
        }
    }

    /// Bytes of a tile before its quants.
    fn head(self) -> usize {
        TILE_SCALES * (1 + usize::from(self.has_min))
    }

    fn tile(self) -> usize {
        self.head() + 2 * self.block()
    }

    /// A row's blocks into its place in the panel.
    pub(super) fn pack(self, from: &[u8], r: usize, panel: &mut [u8]) {
        let halves = if self.has_min { 4 } else { 2 };
        for (b, block) in from.chunks_exact(halves + self.block() / LANES).enumerate() {
            let tile = &mut panel[b / 2 * self.tile()..][..self.tile()];
            for (i, half) in block[..halves].chunks_exact(2).enumerate() {
                let bits = u16::from_le_bytes([half[0], half[1]]).to_ne_bytes();
                tile[i * TILE_SCALES + b % 2 * 32 + r * 2..][..2].copy_from_slice(&bits);
            }
            let to = &mut tile[self.head() + b % 2 * self.block()..][..self.block()];
            let (words, _) = block[halves..].as_chunks::<4>();
            for (j, word) in words.iter().enumerate() {
                let word = u32::from_le_bytes(*word);
                let is_tops = self.bits == Bits::Five && j == 0;
                put_quads(to, j, r, if is_tops { Five::of(|k| (word >> k & 1) as u8) } else { word });
            }
        }
    }

    pub(super) fn unpack(self, panel: &[u8], r: usize, out: &mut [f32]) {
        for (b, out) in out.chunks_exact_mut(32).enumerate() {
            let tile = &panel[b / 2 * self.tile()..][..self.tile()];
            let half = |i: usize| {
                f16_to_f32(cast::<u16>(&tile[i * TILE_SCALES..][..TILE_SCALES])[b % 2 * LANES + r])
            };
            let (d, m) = (half(0), if self.has_min { half(1) } else { 0.0 });
            let block = &tile[self.head() + b % 2 * self.block()..][..self.block()];
            for (k, v) in out.iter_mut().enumerate() {
                *v = d * f32::from(self.quant(block, r, k)) + m;
            }
        }
    }

    fn quant(self, block: &[u8], r: usize, k: usize) -> i8 {
        let nibble = |block: &[u8]| block[k % 16 / 4 * 64 + r * 4 + k % 4] >> (k / 16 * 4) & 15;
        match self.bits {
            Bits::Four => nibble(block) as i8 - self.offset as i8,
            Bits::Five => (nibble(&block[64..]) | Five::bit(block, r, k) << 4) as i8 - self.offset as i8,
            Bits::Eight => block[k / 4 * 64 + r * 4 + k % 4] as i8,
        }
    }
}

/// Four bytes of row `r` in vector `j`.
#[inline]
pub(super) fn put_quads(to: &mut [u8], j: usize, r: usize, quads: u32) {
    to[j * 64 + r * 4..][..4].copy_from_slice(&quads.to_le_bytes());
}

/// Where the fifth bits of a block are: bit v of byte i is that of weight 4v + i, so that one shift serves a whole vector.
pub(super) struct Five;

impl Five {
    /// Four bytes, from the bit of each weight.
    pub(super) fn of(bit: impl Fn(usize) -> u8) -> u32 {
        (0..32).fold(0, |word, k| word | u32::from(bit(k)) << (k % 4 * 8 + k / 4))
    }

    pub(super) fn bit(block: &[u8], r: usize, k: usize) -> u8 {
        block[r * 4 + k % 4] >> (k / 4) & 1
    }
}
