//! Rows of activations, with their int8 form made once and shared by several products.
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::{CpuTier, Pool};

/// Values that share a scale.
pub(super) const BLOCK: usize = 32;
/// Rows of the int8 form are padded to this many values: two blocks, a weight tile.
const STRIDE: usize = 64;

/// A reusable buffer of f32 rows `[m, k]` and their symmetric int8 quantization (blocks of 32, f32 scales).
///
/// Write the rows through [`begin`](Self::begin), then [`quantize`](Self::quantize), then use it in as many products as needed.
#[derive(Default)]
pub struct Activation {
    m: usize,
    k: usize,
    stride: usize,
    values: Vec<f32>,
    quants: Vec<i8>,
    scales: Vec<f32>,
    /// Sums of 16 quants: the offsets of Q4_0, Q6_K and Q8_0 weights come out of the loop with them.
    sums: Vec<i32>,
    is_quantized: bool,
}

impl Activation {
    pub fn new() -> Activation {
        Activation::default()
    }

    /// Makes room for `m` rows of `k` values and hands them out to be written (they hold old values, or zeros).
    pub fn begin(&mut self, m: usize, k: usize) -> &mut [f32] {
        (self.m, self.k, self.stride) = (m, k, k.next_multiple_of(STRIDE));
        self.is_quantized = false;
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

    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.k..(i + 1) * self.k]
    }

    pub fn is_quantized(&self) -> bool {
        self.is_quantized
    }

    /// Makes the int8 form: q = round(x · 127 / max|x|) in every block of 32. The same bits on every tier.
    pub fn quantize(&mut self, tier: CpuTier, pool: &Pool) {
        let (m, k, stride) = (self.m, self.k, self.stride);
        self.quants.resize(m * stride, 0);
        self.scales.resize(m * stride / BLOCK, 0.0);
        self.sums.resize(m * stride / LANES, 0);
        let quants = super::pool::Disjoint::new(&mut self.quants);
        let scales = super::pool::Disjoint::new(&mut self.scales);
        let sums = super::pool::Disjoint::new(&mut self.sums);
        let values = &self.values;
        let per_chunk = m.div_ceil(pool.threads() * 4).max(4);
        pool.run(m.div_ceil(per_chunk), |chunk| {
            for i in chunk * per_chunk..m.min((chunk + 1) * per_chunk) {
                // SAFETY: row i is quantized by this chunk alone.
                let (quants, scales, sums) = unsafe {
                    (
                        quants.slice(i * stride, stride),
                        scales.slice(i * stride / BLOCK, stride / BLOCK),
                        sums.slice(i * stride / LANES, stride / LANES),
                    )
                };
                dispatch(tier, QuantizeRow { values: &values[i * k..(i + 1) * k], quants, scales, sums });
            }
        });
        self.is_quantized = true;
    }

    #[inline(always)]
    pub(super) fn quants(&self, row: usize) -> &[i8] {
        &self.quants[row * self.stride..(row + 1) * self.stride]
    }

    /// One scale a block of 32.
    #[inline(always)]
    pub(super) fn scales(&self, row: usize) -> &[f32] {
        let blocks = self.stride / BLOCK;
        &self.scales[row * blocks..(row + 1) * blocks]
    }

    /// One sum for every 16 quants.
    #[inline(always)]
    pub(super) fn sums(&self, row: usize) -> &[i32] {
        let subs = self.stride / LANES;
        &self.sums[row * subs..(row + 1) * subs]
    }
}

struct QuantizeRow<'a> {
    values: &'a [f32],
    quants: &'a mut [i8],
    scales: &'a mut [f32],
    sums: &'a mut [i32],
}

impl Kernel for QuantizeRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (blocks, tail) = self.values.as_chunks::<BLOCK>();
        debug_assert!(tail.len() < BLOCK);
        self.quants.fill(0);
        self.scales.fill(0.0);
        self.sums.fill(0);
        let (quants, _) = self.quants.as_chunks_mut::<BLOCK>();
        let (sums, _) = self.sums.as_chunks_mut::<2>();
        for (((block, quants), scale), sums) in blocks.iter().zip(quants).zip(self.scales).zip(sums) {
            *scale = quantize_block(s, block, quants, sums);
        }
    }
}

#[inline(always)]
fn quantize_block<S: Simd>(s: S, block: &[f32; BLOCK], quants: &mut [i8; BLOCK], sums: &mut [i32; 2]) -> f32 {
    let (halves, _) = block.as_chunks::<LANES>();
    let zero = s.splat(0.0);
    let abs = |v| s.max(s.sub(zero, v), v);
    let (a, b) = (s.load(&halves[0]), s.load(&halves[1]));
    let largest = s.max_lane(s.max(abs(a), abs(b)));
    if largest == 0.0 {
        return 0.0;
    }
    let inverse = s.splat(127.0 / largest);
    let (quants, _) = quants.as_chunks_mut::<LANES>();
    for ((half, quants), sum) in [a, b].into_iter().zip(quants).zip(sums) {
        let rounded = s.to_array(s.round(s.mul(half, inverse)));
        *sum = 0;
        for (q, v) in quants.iter_mut().zip(rounded) {
            *q = v as i8;
            *sum += i32::from(*q);
        }
    }
    largest / 127.0
}
