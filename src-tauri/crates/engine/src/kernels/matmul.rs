//! `out [m, rows] = act [m, k] · w [rows, k]^T`.
use super::error::check_len;
use super::pack::WeightType;
use super::pool::Disjoint;
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::{Activation, KernelError, PackedMatrix, Pool};
#[cfg(target_arch = "x86_64")]
use super::{CpuTier, amx};
use std::ops::Range;

mod float;
mod quantized;

#[cfg(target_arch = "x86_64")]
pub(super) use quantized::{at, halves, six_bits};

/// Every output is one sum over k, in the same order whatever m, the chunking and the number of threads.
/// F32, F16 and BF16 weights are multiplied with the f32 rows, quantized ones with the int8 rows.
pub fn matmul(pool: &Pool, w: &PackedMatrix, act: &Activation, out: &mut [f32]) -> Result<(), KernelError> {
    check_len("activation row", w.cols(), act.k())?;
    check_len("product", act.m() * w.rows(), out.len())?;
    if w.dtype().is_quantized() && !act.is_quantized() {
        return Err(KernelError::NotQuantized);
    }
    #[cfg(target_arch = "x86_64")]
    if w.tier() == CpuTier::Amx && amx::takes(w, act.m()) {
        amx::multiply(pool, w, act, out);
        return Ok(());
    }
    let job = Job { w, act, out: Disjoint::new(out) };
    let step = panels_per_chunk(w.panels(), pool.threads());
    pool.run(w.panels().div_ceil(step), |chunk| {
        job.run(chunk * step..w.panels().min((chunk + 1) * step));
    });
    Ok(())
}

/// About eight chunks a thread, in whole pairs of panels.
pub(super) fn panels_per_chunk(panels: usize, threads: usize) -> usize {
    if threads == 1 {
        return panels;
    }
    panels.div_ceil(threads * 8).next_multiple_of(2)
}

struct Job<'a> {
    w: &'a PackedMatrix,
    act: &'a Activation,
    out: Disjoint<'a, f32>,
}

impl Job<'_> {
    fn run(&self, panels: Range<usize>) {
        let tier = self.w.tier();
        match self.w.dtype() {
            WeightType::F32 => dispatch(tier, Sweep { job: self, panels, format: float::F32 }),
            WeightType::F16 => dispatch(tier, Sweep { job: self, panels, format: float::F16 }),
            WeightType::Bf16 => dispatch(tier, Sweep { job: self, panels, format: float::Bf16 }),
            WeightType::Q4_0 => dispatch(tier, Sweep { job: self, panels, format: quantized::Q4_0 }),
            WeightType::Q4_1 => dispatch(tier, Sweep { job: self, panels, format: quantized::Q4_1 }),
            WeightType::Q5_0 => dispatch(tier, Sweep { job: self, panels, format: quantized::Q5_0 }),
            WeightType::Q5_1 => dispatch(tier, Sweep { job: self, panels, format: quantized::Q5_1 }),
            WeightType::Q8_0 => dispatch(tier, Sweep { job: self, panels, format: quantized::Q8_0 }),
            WeightType::Q4K => dispatch(tier, Sweep { job: self, panels, format: quantized::Q4K }),
            WeightType::Q5K => dispatch(tier, Sweep { job: self, panels, format: quantized::Q5K }),
            WeightType::Q6K => dispatch(tier, Sweep { job: self, panels, format: quantized::Q6K }),
        }
    }
}

/// How a panel of some type is multiplied.
trait Format: Copy {
    /// Whether eight activation rows at a time are faster than four where the sums of the quants are 16-bit
    /// ([`Simd::TALL`]).
    const TALL: bool;
    /// The products of NP panels with the R activation rows from `first`.
    fn product<S: Simd, const NP: usize, const R: usize>(
        self,
        s: S,
        w: [&[u8]; NP],
        act: &Activation,
        first: usize,
    ) -> [[S::V; NP]; R];
}

/// Activation rows that go by before the next panel is taken: their int8 form stays in L1 or L2, and their outputs are written
/// to few enough pages at a time (all 512 rows of a prefill at once cost a third of the speed).
const ROW_BLOCK: usize = 48;

/// Some panels against all rows.
struct Sweep<'a, F> {
    job: &'a Job<'a>,
    panels: Range<usize>,
    format: F,
}

impl<F: Format> Kernel for Sweep<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let m = self.job.act.m();
        for start in (0..m).step_by(ROW_BLOCK) {
            let rows = start..m.min(start + ROW_BLOCK);
            let mut panel = self.panels.start;
            // One panel at a time is one stream of memory: with two, a single row came to half the speed. A panel stays in L1
            // while its rows go by.
            while panel < self.panels.end {
                let mut left = rows.clone();
                if S::TALL && F::TALL {
                    left = self.rows::<S, 1, 8>(s, panel, left);
                }
                left = self.rows::<S, 1, 4>(s, panel, left);
                left = self.rows::<S, 1, 2>(s, panel, left);
                self.rows::<S, 1, 1>(s, panel, left);
                panel += 1;
            }
        }
    }
}

impl<F: Format> Sweep<'_, F> {
    /// As many groups of R of the rows as there are; returns the rows left.
    #[inline(always)]
    fn rows<S: Simd, const NP: usize, const R: usize>(
        &self,
        s: S,
        panel: usize,
        rows: Range<usize>,
    ) -> Range<usize> {
        let mut w: [&[u8]; NP] = [&[]; NP];
        for (p, w) in w.iter_mut().enumerate() {
            *w = self.job.w.panel(panel + p);
        }
        let mut row = rows.start;
        while row + R <= rows.end {
            let products = self.format.product::<S, NP, R>(s, w, self.job.act, row);
            for (r, products) in products.iter().enumerate() {
                for (p, v) in products.iter().enumerate() {
                    self.write(s, row + r, panel + p, *v);
                }
            }
            row += R;
        }
        row..rows.end
    }

    #[inline(always)]
    fn write<S: Simd>(&self, s: S, row: usize, panel: usize, v: S::V) {
        let rows = self.job.w.rows();
        let width = LANES.min(rows - panel * LANES);
        // SAFETY: a panel belongs to one chunk, and only this slice of it is live.
        let out = unsafe { self.job.out.slice(row * rows + panel * LANES, width) };
        s.write(v, out);
    }
}
