//! Weights, repacked once at load into panels of 16 rows so that one vector lane belongs to one row.
//!
//! | type | panel of 16 rows | bits a weight |
//! |---|---|---|
//! | Q4_0 | tiles of 64 k: 2×16 f16 scales, then 8 vectors of 16×4 bytes (two nibbles each) | 4.5, as in the file |
//! | Q8_0 | tiles of 64 k: 2×16 f16 scales, then 16 vectors of 16×4 bytes | 8.5, as in the file |
//! | Q6_K | tiles of 64 k: 4×16 i8 sub-scales, then per 16 k two vectors of nibbles and one of 2-bit tops; f16 super-scales at the panel's end | 6.5625, as in the file |
//! | F32, F16, BF16 | `[k][16]` | 32, 16, 16 |
//!
//! A vector of 64 bytes holds, for each of the 16 rows, 4 consecutive k: what one `vpdpbusd` takes. The last panel is
//! padded with rows of zeros, and the last tile of an odd number of 32-blocks with a block of zeros.
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
    Q8_0,
    Q6K,
}

impl WeightType {
    /// Weights in a block, and the block's bytes in the file.
    const fn block(self) -> (usize, usize) {
        match self {
            WeightType::F32 => (1, 4),
            WeightType::F16 | WeightType::Bf16 => (1, 2),
            WeightType::Q4_0 => (32, 18),
            WeightType::Q8_0 => (32, 34),
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
            WeightType::Q4_0 => cols.div_ceil(TILE_K) * Q4_TILE,
            WeightType::Q8_0 => cols.div_ceil(TILE_K) * Q8_TILE,
            WeightType::Q6K => cols / TILE_K * Q6_TILE + (cols / 256 * Q6_SUPER).next_multiple_of(64),
        }
    }
}

/// k of a Q4_0 or Q8_0 tile: two blocks of 32.
pub(super) const TILE_K: usize = 64;
/// Bytes of a tile's 2×16 f16 scales.
pub(super) const TILE_SCALES: usize = 64;
pub(super) const Q4_TILE: usize = TILE_SCALES + 8 * 64;
pub(super) const Q8_TILE: usize = TILE_SCALES + 16 * 64;
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
        pool.run_mut(data.bytes_mut(), panel_bytes, |panel, to| {
            let end = rows.min((panel + 1) * LANES);
            for row in panel * LANES..end {
                pack_row(dtype, cols, &source[row * row_bytes..(row + 1) * row_bytes], row % LANES, to);
            }
        });
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
            WeightType::Q4_0 => unpack_q4_0(panel, r, out),
            WeightType::Q8_0 => unpack_q8_0(panel, r, out),
            WeightType::Q6K => unpack_q6_k(panel, r, out),
        }
        Ok(())
    }
}

fn pack_row(dtype: WeightType, cols: usize, from: &[u8], r: usize, panel: &mut [u8]) {
    match dtype {
        WeightType::F32 => scatter::<4>(from, r, panel),
        WeightType::F16 | WeightType::Bf16 => scatter::<2>(from, r, panel),
        WeightType::Q4_0 => pack_q4_0(from, r, panel),
        WeightType::Q8_0 => pack_q8_0(from, r, panel),
        WeightType::Q6K => pack_q6_k(from, cols / 256, r, panel),
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

/// ggml's block_q4_0: f16 d, 16 bytes; the low nibble of byte i is weight i, the high one weight i + 16. The 16 bytes
/// become 4 dwords of 4 vectors, unchanged.
fn pack_q4_0(from: &[u8], r: usize, panel: &mut [u8]) {
    for (b, block) in from.chunks_exact(18).enumerate() {
        let tile = &mut panel[b / 2 * Q4_TILE..][..Q4_TILE];
        put_scale(tile, b % 2, r, block);
        for (j, quads) in block[2..].chunks_exact(4).enumerate() {
            let at = TILE_SCALES + (b % 2 * 4 + j) * 64 + r * 4;
            tile[at..at + 4].copy_from_slice(quads);
        }
    }
}

fn unpack_q4_0(panel: &[u8], r: usize, out: &mut [f32]) {
    for (b, out) in out.chunks_exact_mut(32).enumerate() {
        let tile = &panel[b / 2 * Q4_TILE..][..Q4_TILE];
        let d = get_scale(tile, b % 2, r);
        for i in 0..16 {
            let byte = tile[TILE_SCALES + (b % 2 * 4 + i / 4) * 64 + r * 4 + i % 4];
            out[i] = d * f32::from((byte & 15) as i8 - 8);
            out[i + 16] = d * f32::from((byte >> 4) as i8 - 8);
        }
    }
}

/// ggml's block_q8_0: f16 d, 32 i8.
fn pack_q8_0(from: &[u8], r: usize, panel: &mut [u8]) {
    for (b, block) in from.chunks_exact(34).enumerate() {
        let tile = &mut panel[b / 2 * Q8_TILE..][..Q8_TILE];
        put_scale(tile, b % 2, r, block);
        for (j, quads) in block[2..].chunks_exact(4).enumerate() {
            let at = TILE_SCALES + (b % 2 * 8 + j) * 64 + r * 4;
            tile[at..at + 4].copy_from_slice(quads);
        }
    }
}

fn unpack_q8_0(panel: &[u8], r: usize, out: &mut [f32]) {
    for (b, out) in out.chunks_exact_mut(32).enumerate() {
        let tile = &panel[b / 2 * Q8_TILE..][..Q8_TILE];
        let d = get_scale(tile, b % 2, r);
        for (i, v) in out.iter_mut().enumerate() {
            *v = d * f32::from(tile[TILE_SCALES + (b % 2 * 8 + i / 4) * 64 + r * 4 + i % 4] as i8);
        }
    }
}

fn put_scale(tile: &mut [u8], half: usize, r: usize, block: &[u8]) {
    let d = u16::from_le_bytes([block[0], block[1]]).to_ne_bytes();
    tile[half * 32 + r * 2..][..2].copy_from_slice(&d);
}

fn get_scale(tile: &[u8], half: usize, r: usize) -> f32 {
    f16_to_f32(cast::<u16>(&tile[..TILE_SCALES])[half * LANES + r])
}

/// ggml's block_q6_K: ql[128], qh[64], 16 i8 scales, f16 d. Weight i of 256 is `d · scale[i/16] · (q - 32)`, where q's low
/// nibble is in ql and its top two bits in qh, in an interleaved order that [`q6_of`] resolves.
fn pack_q6_k(from: &[u8], supers: usize, r: usize, panel: &mut [u8]) {
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

fn unpack_q6_k(panel: &[u8], r: usize, out: &mut [f32]) {
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
