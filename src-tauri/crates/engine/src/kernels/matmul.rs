//! `out [m, rows] = act [m, k] · w [rows, k]^T`.
use super::bytes::cast;
use super::error::check_len;
use super::pack::WeightType;
use super::pool::Disjoint;
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::{Activation, KernelError, PackedMatrix, Pool};
use std::ops::Range;

mod plain;

/// Every output is one sum over k, in the same order whatever m, the chunking and the number of threads.
/// F32, F16 and BF16 weights are multiplied with the f32 rows, quantized ones with the int8 rows.
pub fn matmul(pool: &Pool, w: &PackedMatrix, act: &Activation, out: &mut [f32]) -> Result<(), KernelError> {
    check_len("activation row", w.cols(), act.k())?;
    check_len("product", act.m() * w.rows(), out.len())?;
    if w.dtype().is_quantized() && !act.is_quantized() {
        return Err(KernelError::NotQuantized);
    }
    let job = Job { w, act, out: Disjoint::new(out) };
    let step = panels_per_chunk(w.panels(), pool.threads());
    pool.run(w.panels().div_ceil(step), |chunk| {
        let panels = chunk * step..w.panels().min((chunk + 1) * step);
        job.run(panels);
    });
    Ok(())
}

/// About eight chunks a thread, in whole pairs of panels.
fn panels_per_chunk(panels: usize, threads: usize) -> usize {
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
        match (self.w.dtype(), self.w.tier()) {
            (WeightType::Q4_0, _) => plain::q4_0(self, panels),
            (WeightType::Q8_0, _) => plain::q8_0(self, panels),
            (WeightType::Q6K, _) => plain::q6_k(self, panels),
            (_, tier) => dispatch(tier, FloatPanels { job: self, panels }),
        }
    }

    /// The outputs of activation row `i` and one panel.
    #[inline(always)]
    fn out(&self, i: usize, panel: usize) -> &mut [f32] {
        let rows = self.w.rows();
        let width = LANES.min(rows - panel * LANES);
        // SAFETY: a panel belongs to one chunk, and a kernel asks for each of its outputs once.
        unsafe { self.out.slice(i * rows + panel * LANES, width) }
    }
}

struct FloatPanels<'a> {
    job: &'a Job<'a>,
    panels: Range<usize>,
}

impl Kernel for FloatPanels<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for panel in self.panels {
            let bytes = self.job.w.panel(panel);
            for i in 0..self.job.act.m() {
                let mut acc = s.splat(0.0);
                for (k, x) in self.job.act.row(i).iter().enumerate() {
                    let w = match self.job.w.dtype() {
                        WeightType::F32 => {
                            s.load(cast::<f32>(bytes)[k * LANES..].first_chunk().unwrap_or(&[0.0; LANES]))
                        }
                        WeightType::F16 => {
                            s.load_f16(cast::<u16>(bytes)[k * LANES..].first_chunk().unwrap_or(&[0; LANES]))
                        }
                        _ => {
                            s.load_bf16(cast::<u16>(bytes)[k * LANES..].first_chunk().unwrap_or(&[0; LANES]))
                        }
                    };
                    acc = s.fma(w, s.splat(*x), acc);
                }
                let out = self.job.out(i, panel);
                s.store_head(acc, out);
            }
        }
    }
}
