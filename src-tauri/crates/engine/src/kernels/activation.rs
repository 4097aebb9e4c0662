//! Rows of activations, with their int8 form made once and shared by several products.
#[cfg(target_arch = "x86_64")]
use super::amx::Bf16Rows;
use super::pool::Disjoint;
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::{CpuTier, Pool};
#[cfg(target_arch = "x86_64")]
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Values that share a scale.
pub(super) const BLOCK: usize = 32;
/// Rows of the int8 form are padded to this many values: two blocks, a weight tile.
pub(super) const TILE: usize = 64;

/// A reusable buffer of f32 rows `[m, k]` and their symmetric int8 quantization (blocks of 32, f32 scales).
///
/// Write the rows through [`begin`](Self::begin), then [`quantize`](Self::quantize), then use it in as many products as needed.
#[derive(Default)]
pub struct Activation {
    m: usize,
    k: usize,
    stride: usize,
    values: Vec<f32>,
    /// Four int8 in the bytes of each, in memory order.
    quads: Vec<i32>,
    /// One for 32 values.
    scales: Vec<f32>,
    /// -8·Σ of 32 quants: Q4_0 weights are stored plus 8, and with this their products come out right.
    offsets_q4: Vec<i32>,
    /// -32·Σ of 16 quants, for Q6_K likewise.
    offsets_q6: Vec<i32>,
    /// Scale·Σ of 32 quants, what a weight type's minimum is multiplied with.
    sums: Vec<f32>,
    is_quantized: bool,
    #[cfg(target_arch = "x86_64")]
    bf16: Mutex<Bf16Rows>,
}

impl Activation {
    pub fn new() -> Activation {
        Activation::default()
    }

    /// Makes room for `m` rows of `k` values and hands them out to be written (they hold old values, or zeros).
    pub fn begin(&mut self, m: usize, k: usize) -> &mut [f32] {
        (self.m, self.k, self.stride) = (m, k, k.next_multiple_of(TILE));
        self.is_quantized = false;
        #[cfg(target_arch = "x86_64")]
        self.bf16.get_mut().unwrap_or_else(PoisonError::into_inner).forget();
        self.values.resize(m * k, 0.0);
        &mut self.values
    }

    pub fn m(&self) -> usize {
        self.m
    }

    pub fn k(&self) -> usize {
        self.k
    }

    /// The f32 rows `[m, k]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The same, to be written again: the int8 form is void.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.is_quantized = false;
        &mut self.values
    }

    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.k..(i + 1) * self.k]
    }

    pub fn is_quantized(&self) -> bool {
        self.is_quantized
    }

    /// The form that AMX products take, which the first of them makes.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn bf16_rows(&self) -> MutexGuard<'_, Bf16Rows> {
        self.bf16.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the int8 form: q = round(x · 127 / max|x|) in every block of 32. The same bits on every tier.
    pub fn quantize(&mut self, tier: CpuTier, pool: &Pool) {
        let (m, k, stride) = (self.m, self.k, self.stride);
        let tiles = stride / TILE;
        self.quads.resize(m * stride / 4, 0);
        self.scales.resize(m * stride / BLOCK, 0.0);
        self.offsets_q4.resize(m * stride / BLOCK, 0);
        self.offsets_q6.resize(m * stride / LANES, 0);
        self.sums.resize(m * stride / BLOCK, 0.0);
        let quads = Disjoint::new(&mut self.quads);
        let scales = Disjoint::new(&mut self.scales);
        let offsets_q4 = Disjoint::new(&mut self.offsets_q4);
        let offsets_q6 = Disjoint::new(&mut self.offsets_q6);
        let sums = Disjoint::new(&mut self.sums);
        let values = &self.values;
        let per_chunk = m.div_ceil(pool.threads() * 4).max(4);
        pool.run(m.div_ceil(per_chunk), |chunk| {
            for i in chunk * per_chunk..m.min((chunk + 1) * per_chunk) {
                // SAFETY: row i is quantized by this chunk alone.
                let row = unsafe {
                    QuantizeRow {
                        values: &values[i * k..(i + 1) * k],
                        quads: quads.slice(i * tiles * 16, tiles * 16),
                        scales: scales.slice(i * tiles * 2, tiles * 2),
                        offsets_q4: offsets_q4.slice(i * tiles * 2, tiles * 2),
                        offsets_q6: offsets_q6.slice(i * tiles * 4, tiles * 4),
                        sums: sums.slice(i * tiles * 2, tiles * 2),
                    }
                };
                dispatch(tier, row);
            }
        });
        self.is_quantized = true;
    }

    /// The int8 form of a row, by tiles of 64 values.
    #[inline(always)]
    pub(super) fn int8(&self, row: usize) -> Int8Row<'_> {
        let tiles = self.stride / TILE;
        Int8Row {
            quads: part(&self.quads, row, tiles),
            scales: part(&self.scales, row, tiles),
            offsets_q4: part(&self.offsets_q4, row, tiles),
            offsets_q6: part(&self.offsets_q6, row, tiles),
            sums: part(&self.sums, row, tiles),
        }
    }
}

/// Row `row` of a matrix of rows of `tiles` chunks.
#[inline(always)]
fn part<T, const N: usize>(data: &[T], row: usize, tiles: usize) -> &[[T; N]] {
    &data.as_chunks::<N>().0[row * tiles..(row + 1) * tiles]
}

/// One entry for 64 values.
#[derive(Clone, Copy)]
pub(super) struct Int8Row<'a> {
    pub(super) quads: &'a [[i32; 16]],
    pub(super) scales: &'a [[f32; 2]],
    pub(super) offsets_q4: &'a [[i32; 2]],
    pub(super) offsets_q6: &'a [[i32; 4]],
    pub(super) sums: &'a [[f32; 2]],
}

struct QuantizeRow<'a> {
    values: &'a [f32],
    quads: &'a mut [i32],
    scales: &'a mut [f32],
    offsets_q4: &'a mut [i32],
    offsets_q6: &'a mut [i32],
    sums: &'a mut [f32],
}

impl Kernel for QuantizeRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (blocks, tail) = self.values.as_chunks::<BLOCK>();
        debug_assert!(tail.is_empty());
        // The padding up to a whole tile has to be zeros: the buffer may have held longer rows.
        self.quads[blocks.len() * 8..].fill(0);
        self.scales[blocks.len()..].fill(0.0);
        self.offsets_q4[blocks.len()..].fill(0);
        self.offsets_q6[blocks.len() * 2..].fill(0);
        self.sums[blocks.len()..].fill(0.0);
        let (quads, offsets_q6) = (self.quads.as_chunks_mut::<8>().0, self.offsets_q6.as_chunks_mut::<2>().0);
        for (b, block) in blocks.iter().enumerate() {
            let (scale, sums) = quantize_block(s, block, &mut quads[b]);
            self.scales[b] = scale;
            self.sums[b] = scale * (sums[0] + sums[1]) as f32;
            self.offsets_q4[b] = -8 * (sums[0] + sums[1]);
            offsets_q6[b] = sums.map(|sum| -32 * sum);
        }
    }
}

/// The scale, and the sums of the two halves.
#[inline(always)]
fn quantize_block<S: Simd>(s: S, block: &[f32; BLOCK], quads: &mut [i32; 8]) -> (f32, [i32; 2]) {
    let (halves, _) = block.as_chunks::<LANES>();
    let v = [s.load(&halves[0]), s.load(&halves[1])];
    let largest = s.max_lane(s.max(s.abs(v[0]), s.abs(v[1])));
    if largest == 0.0 {
        quads.fill(0);
        return (0.0, [0, 0]);
    }
    let inverse = s.splat(127.0 / largest);
    let mut sums = [0; 2];
    for half in 0..2 {
        let q = s.to_i8(s.mul(v[half], inverse));
        sums[half] = q.iter().map(|q| i32::from(*q)).sum();
        for (quad, q) in quads[half * 4..].iter_mut().zip(q.as_chunks::<4>().0) {
            *quad = i32::from_ne_bytes(q.map(|q| q as u8));
        }
    }
    (largest / 127.0, sums)
}
