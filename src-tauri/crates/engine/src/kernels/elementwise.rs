//! Norms, gates and sums over rows of f32.
use super::pool::Disjoint;
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::{CpuTier, Pool, Rows};

/// `out = body(a, b, out)` over slices of one length, the tail through a padded vector. A macro, not a function of a closure:
/// see `simd`.
macro_rules! map3 {
    ($s:ident, $a:expr, $b:expr, $out:expr, |$x:pat_param, $y:pat_param, $z:pat_param| $body:expr) => {
        let (a, b, out) = ($a, $b, $out);
        for ((a, b), out) in a.chunks(LANES).zip(b.chunks(LANES)).zip(out.chunks_mut(LANES)) {
            let ($x, $y, $z) = ($s.read(a), $s.read(b), $s.read(out));
            $s.write($body, out);
        }
    };
}

/// Rows that one chunk takes: small enough to share out, large enough to be worth a claim.
const ROWS_PER_CHUNK: usize = 8;

/// `out = x / sqrt(mean(x²) + eps) · weight`, for every row of `x [m, d]`; `weight [d]`.
pub fn rms_norm(tier: CpuTier, pool: &Pool, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let d = weight.len();
    assert!(d > 0 && x.len() == out.len() && x.len().is_multiple_of(d));
    pool.run_mut(out, ROWS_PER_CHUNK * d, |chunk, out| {
        let x = &x[chunk * ROWS_PER_CHUNK * d..][..out.len()];
        for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
            dispatch(tier, RmsNorm { x, weight, eps, out });
        }
    });
}

/// `out = silu(gate) · up`, value by value.
pub fn silu_mul(tier: CpuTier, pool: &Pool, gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert!(gate.len() == up.len() && gate.len() == out.len());
    const RUN: usize = 4096;
    pool.run_mut(out, RUN, |chunk, out| {
        let at = chunk * RUN;
        dispatch(tier, SiluMul { gate: &gate[at..][..out.len()], up: &up[at..][..out.len()], out });
    });
}

/// Mamba-2's gate and norm: `v = y · silu(z)`, then an RMS norm of each of `groups` equal parts of the row, times `weight`.
/// `y [m, di]`, `z` m rows of di, `weight [di]`, `out [m, di]`.
#[allow(clippy::too_many_arguments)]
pub fn gated_rms_norm(
    tier: CpuTier,
    pool: &Pool,
    y: &[f32],
    z: Rows,
    weight: &[f32],
    groups: usize,
    eps: f32,
    out: &mut [f32],
) {
    let di = weight.len();
    assert!(di > 0 && groups > 0 && di.is_multiple_of(groups) && z.width() == di);
    assert!(y.len() == out.len() && y.len() == z.len() * di);
    pool.run_mut(out, ROWS_PER_CHUNK * di, |chunk, out| {
        for (r, out) in out.chunks_exact_mut(di).enumerate() {
            let i = chunk * ROWS_PER_CHUNK + r;
            dispatch(tier, SiluMul { gate: z.row(i), up: &y[i * di..(i + 1) * di], out });
            let part = di / groups;
            for (out, weight) in out.chunks_exact_mut(part).zip(weight.chunks_exact(part)) {
                dispatch(tier, NormInPlace { weight, eps, row: out });
            }
        }
    });
}

/// Mamba-2's gate alone: `out = y · silu(z)`; shapes as in [`gated_rms_norm`].
pub fn gate(tier: CpuTier, pool: &Pool, y: &[f32], z: Rows, out: &mut [f32]) {
    let di = z.width();
    assert!(di > 0 && y.len() == out.len() && y.len() == z.len() * di);
    pool.run_mut(out, ROWS_PER_CHUNK * di, |chunk, out| {
        for (r, out) in out.chunks_exact_mut(di).enumerate() {
            let i = chunk * ROWS_PER_CHUNK + r;
            dispatch(tier, SiluMul { gate: z.row(i), up: &y[i * di..(i + 1) * di], out });
        }
    });
}

/// `x += scale · y`: a residual connection.
pub fn add_scaled(tier: CpuTier, pool: &Pool, x: &mut [f32], y: &[f32], scale: f32) {
    assert_eq!(x.len(), y.len());
    const RUN: usize = 8192;
    pool.run_mut(x, RUN, |chunk, x| dispatch(tier, AddScaled { y: &y[chunk * RUN..][..x.len()], x, scale }));
}

struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for RmsNorm<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let factor = s.splat(norm_factor(s, self.x, self.eps));
        map3!(s, self.x, self.weight, self.out, |x, w, _| s.mul(s.mul(x, factor), w));
    }
}

struct NormInPlace<'a> {
    weight: &'a [f32],
    eps: f32,
    row: &'a mut [f32],
}

impl Kernel for NormInPlace<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let factor = s.splat(norm_factor(s, self.row, self.eps));
        map3!(s, self.weight, self.weight, self.row, |w, _, v| s.mul(s.mul(v, factor), w));
    }
}

struct SiluMul<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for SiluMul<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        map3!(s, self.gate, self.up, self.out, |gate, up, _| s.mul(s.silu(gate), up));
    }
}

struct AddScaled<'a> {
    y: &'a [f32],
    x: &'a mut [f32],
    scale: f32,
}

impl Kernel for AddScaled<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let scale = s.splat(self.scale);
        map3!(s, self.y, self.y, self.x, |y, _, x| s.fma(y, scale, x));
    }
}

/// 1 / sqrt(mean(x²) + eps); sixteen f32 partial sums, added up in f64.
#[inline(always)]
fn norm_factor<S: Simd>(s: S, x: &[f32], eps: f32) -> f32 {
    let (vectors, tail) = x.as_chunks::<LANES>();
    let mut acc = s.splat(0.0);
    for v in vectors {
        let v = s.load(v);
        acc = s.fma(v, v, acc);
    }
    let tail = s.load_head(tail);
    let lanes = s.to_array(s.fma(tail, tail, acc));
    let sum: f64 = lanes.iter().map(|v| f64::from(*v)).sum();
    (1.0 / (sum / x.len() as f64 + f64::from(eps)).sqrt()) as f32
}

/// Rows of one matrix, written by several chunks that each own some columns.
pub(super) struct Columns<'a> {
    data: Disjoint<'a, f32>,
    stride: usize,
}

impl<'a> Columns<'a> {
    pub(super) fn new(data: &'a mut [f32], stride: usize) -> Self {
        Columns { data: Disjoint::new(data), stride }
    }

    /// # Safety
    /// No two live slices may overlap.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn slice(&self, row: usize, start: usize, width: usize) -> &mut [f32] {
        debug_assert!(start + width <= self.stride);
        // SAFETY: the caller's promise.
        unsafe { self.data.slice(row * self.stride + start, width) }
    }
}
