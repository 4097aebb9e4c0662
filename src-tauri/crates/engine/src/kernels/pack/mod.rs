//! Weights, repacked once at load into panels of 16 rows so that one vector lane belongs to one row.
//!
//! | type | panel of 16 rows | bits a weight |
//! |---|---|---|
//! | Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 | tiles of 64 k: 2×16 f16 scales, 2×16 f16 minima (the types `_1`), two blocks of quants (`blocks`) | 4.5, 5, 5.5, 6, 8.5 |
//! | Q4_K, Q5_K | tiles of 256 k: 16 f16 scales and minima, 8×16 six-bit scales and minima, eight blocks of quants (`k_quants`) | 4.5, 5.5 |
//! | Q6_K | tiles of 64 k: 4×16 i8 sub-scales, then per 16 k two vectors of nibbles and one of 2-bit tops; f16 super-scales at the panel's end | 6.5625 |
//! | F32, F16, BF16 | `[k][16]` | 32, 16, 16 |
//!
//! The bits are those of the file, to the byte, in another order.
//!
//! A vector of 64 bytes holds, for each of the 16 rows, 4 consecutive k: what one `vpdpbusd` takes. The last panel is
//! padded with rows of zeros, and the last tile of an odd number of 32-blocks with a block of zeros.
mod blocks;
mod k_quants;

use super::bytes::{AlignedBytes, cast};
use super::error::check_len;
use super::simd::{LANES, bf16_to_f32, f16_to_f32};
use super::{CpuTier, KernelError, Pool};

/// How a matrix is stored in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightType {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

impl WeightType {
    /// Weights in a block, and the block's bytes in the file.
    const fn block(self) -> (usize, usize) {
        match self {
            WeightType::F32 => (1, 4),
            WeightType::F16 | WeightType::Bf16 => (1, 2),
            WeightType::Q4_0 => (32, 18),
            WeightType::Q4_1 => (32, 20),
            WeightType::Q5_0 => (32, 22),
            WeightType::Q5_1 => (32, 24),
            WeightType::Q8_0 => (32, 34),
            WeightType::Q4K => (256, 144),
            WeightType::Q5K => (256, 176),
            WeightType::Q6K => (256, 210),
        }
    }

    /// Whether products take the int8 form of the activations.
    pub fn is_quantized(self) -> bool {
        self.block().0 > 1
    }

    /// Row lengths must be multiples of this.
    fn column_multiple(self) -> usize {
        self.block().0.max(super::activation::BLOCK)
    }

    /// Bytes of one row in the file.
    pub fn row_bytes(self, cols: usize) -> usize {
        let (weights, bytes) = self.block();
        cols / weights * bytes
    }

    /// Bytes of one packed panel.
    fn panel_bytes(self, cols: usize) -> usize {
        match self {
            WeightType::F32 => cols * LANES * 4,
            WeightType::F16 | WeightType::Bf16 => cols * LANES * 2,
            WeightType::Q6K => cols / TILE_K * Q6_TILE + (cols / 256 * Q6_SUPER).next_multiple_of(64),
            WeightType::Q4K | WeightType::Q5K => self.row_bytes(cols) * LANES,
            _ => self.row_bytes(cols.next_multiple_of(TILE_K)) * LANES,
        }
    }
}

/// Bytes of the file that are packed before its pages are given back.
const BAND: usize = 8 << 20;
/// k of a tile of the types with blocks of 32: two blocks.
const TILE_K: usize = 64;
/// Bytes of the f16 scales, or the f16 minima, of such a tile.
pub(super) const TILE_SCALES: usize = 64;
/// Bytes of a block's 32 k for 16 rows, in four bits, five or eight.
pub(super) const BLOCK_4: usize = 4 * 64;
pub(super) const BLOCK_5: usize = 64 + BLOCK_4;
pub(super) const BLOCK_8: usize = 8 * 64;
/// Bytes before the blocks of a Q4_K or Q5_K tile: 16 f16 scales and minima, then the six-bit ones of eight blocks.
pub(super) const K_HEAD: usize = 256;
pub(super) const Q4K_TILE: usize = K_HEAD + 8 * BLOCK_4;
pub(super) const Q5K_TILE: usize = K_HEAD + 8 * BLOCK_5;
/// Bytes of a Q6_K tile's 4 sub-blocks × 16 rows of i8 scales.
pub(super) const Q6_SCALES: usize = 64;
/// Bytes of one sub-block of 16 k: two vectors of nibbles, one of two-bit tops.
pub(super) const Q6_SUB: usize = 3 * 64;
/// Four sub-blocks. Memory is read strictly forwards: with the tops in a place of their own it went half as fast.
pub(super) const Q6_TILE: usize = Q6_SCALES + 4 * Q6_SUB;
/// Bytes of 16 f16 super-scales.
pub(super) const Q6_SUPER: usize = 32;

/// A weight matrix `[rows, cols]`, packed.
pub struct PackedMatrix {
    dtype: WeightType,
    rows: usize,
    cols: usize,
    tier: CpuTier,
    panel_bytes: usize,
    data: AlignedBytes,
}

impl PackedMatrix {
    /// Repacks ggml bytes (rows after one another, as in a GGUF), panels in parallel. `source` is not needed afterwards.
    /// The memory comes from segments that the pool's matrices share. The packed form is the same for every tier; `tier` chooses the products' instructions (lowered to what the CPU has).
    pub fn pack(
        dtype: WeightType,
        rows: usize,
        cols: usize,
        source: &[u8],
        tier: CpuTier,
        pool: &Pool,
    ) -> Result<Self, KernelError> {
        Self::pack_in_bands(dtype, rows, cols, source, tier, pool, &|_| ())
    }

    /// As [`pack`](Self::pack), and tells of every part of `source` as soon as it is not needed any more: so little of it is
    /// in memory at any time, if it is a map of a file.
    pub fn pack_in_bands(
        dtype: WeightType,
        rows: usize,
        cols: usize,
        source: &[u8],
        tier: CpuTier,
        pool: &Pool,
        done: &dyn Fn(&[u8]),
    ) -> Result<Self, KernelError> {
        if rows == 0 || cols == 0 {
            return Err(KernelError::Empty { rows, cols });
        }
        let multiple = dtype.column_multiple();
        if !cols.is_multiple_of(multiple) {
            return Err(KernelError::Columns { dtype, cols, multiple });
        }
        let row_bytes = dtype.row_bytes(cols);
        let expected = rows.saturating_mul(row_bytes);
        if source.len() != expected {
            return Err(KernelError::Bytes { dtype, rows, cols, expected, actual: source.len() });
        }
        let panel_bytes = dtype.panel_bytes(cols);
        let mut data = pool.memory(rows.div_ceil(LANES) * panel_bytes)?;
        let band = (BAND / (row_bytes * LANES)).max(1);
        for (to, from) in
            data.bytes_mut().chunks_mut(band * panel_bytes).zip(source.chunks(band * LANES * row_bytes))
        {
            pool.run_mut(to, panel_bytes, |panel, to| {
                let rows = from.chunks_exact(row_bytes).skip(panel * LANES).take(LANES);
                for (r, row) in rows.enumerate() {
                    pack_row(dtype, cols, row, r, to);
                }
            });
            done(from);
        }
        Ok(PackedMatrix { dtype, rows, cols, tier: tier.or_supported(), panel_bytes, data })
    }

    /// Memory that a matrix of these sizes takes once it is packed.
    pub fn packed_bytes(dtype: WeightType, rows: usize, cols: usize) -> usize {
        rows.div_ceil(LANES).saturating_mul(dtype.panel_bytes(cols))
    }

    pub fn dtype(&self) -> WeightType {
        self.dtype
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    pub fn tier(&self) -> CpuTier {
        self.tier
    }

    /// Memory taken, padding included.
    pub fn bytes(&self) -> usize {
        self.data.bytes().len()
    }

    pub(super) fn panels(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    #[inline]
    pub(super) fn panel(&self, index: usize) -> &[u8] {
        &self.data.bytes()[index * self.panel_bytes..(index + 1) * self.panel_bytes]
    }

    /// One row as f32: the embedding lookup of a tied matrix.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) -> Result<(), KernelError> {
        if row >= self.rows {
            return Err(KernelError::Row { row, rows: self.rows });
        }
        check_len("a row", self.cols, out.len())?;
        let (panel, r) = (self.panel(row / LANES), row % LANES);
        match self.dtype {
            WeightType::F32 => gather(cast::<f32>(panel), r, out, |v| v),
            WeightType::F16 => gather(cast::<u16>(panel), r, out, f16_to_f32),
            WeightType::Bf16 => gather(cast::<u16>(panel), r, out, bf16_to_f32),
            WeightType::Q4_0 => blocks::Q4_0.unpack(panel, r, out),
            WeightType::Q4_1 => blocks::Q4_1.unpack(panel, r, out),
            WeightType::Q5_0 => blocks::Q5_0.unpack(panel, r, out),
            WeightType::Q5_1 => blocks::Q5_1.unpack(panel, r, out),
            WeightType::Q8_0 => blocks::Q8_0.unpack(panel, r, out),
            WeightType::Q4K => k_quants::unpack::<BLOCK_4, Q4K_TILE>(panel, r, out),
            WeightType::Q5K => k_quants::unpack::<BLOCK_5, Q5K_TILE>(panel, r, out),
            WeightType::Q6K => k_quants::unpack_q6_k(panel, r, out),
        }
        Ok(())
    }
}

fn pack_row(dtype: WeightType, cols: usize, from: &[u8], r: usize, panel: &mut [u8]) {
    match dtype {
        WeightType::F32 => scatter::<4>(from, r, panel),
        WeightType::F16 | WeightType::Bf16 => scatter::<2>(from, r, panel),
        WeightType::Q4_0 => blocks::Q4_0.pack(from, r, panel),
        WeightType::Q4_1 => blocks::Q4_1.pack(from, r, panel),
        WeightType::Q5_0 => blocks::Q5_0.pack(from, r, panel),
        WeightType::Q5_1 => blocks::Q5_1.pack(from, r, panel),
        WeightType::Q8_0 => blocks::Q8_0.pack(from, r, panel),
        WeightType::Q4K => k_quants::pack::<144, Q4K_TILE>(from, r, panel),
        WeightType::Q5K => k_quants::pack::<176, Q5K_TILE>(from, r, panel),
        WeightType::Q6K => k_quants::pack_q6_k(from, cols / 256, r, panel),
    }
}

fn scatter<const SIZE: usize>(from: &[u8], r: usize, panel: &mut [u8]) {
    let (values, _) = from.as_chunks::<SIZE>();
    for (value, lanes) in values.iter().zip(panel.chunks_exact_mut(SIZE * LANES)) {
        let value = if cfg!(target_endian = "big") { reversed(*value) } else { *value };
        lanes[r * SIZE..(r + 1) * SIZE].copy_from_slice(&value);
    }
}

fn reversed<const SIZE: usize>(mut value: [u8; SIZE]) -> [u8; SIZE] {
    value.reverse();
    value
}

fn gather<T: Copy>(panel: &[T], r: usize, out: &mut [f32], widen: impl Fn(T) -> f32) {
    for (lanes, v) in panel.chunks_exact(LANES).zip(out) {
        *v = widen(lanes[r]);
    }
}
