//! Mamba-2's causal depthwise convolution of width 4 and its silu, with carried state.
use super::elementwise::Columns;
use super::error::check_len;
use super::pool::Disjoint;
use super::segments::check_segments;
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::{CpuTier, KernelError, Pool, Rows, Segment};
use std::ops::Range;

/// Taps.
pub const CONV_WIDTH: usize = 4;
/// Earlier inputs that the next token needs.
pub const CONV_STATE: usize = CONV_WIDTH - 1;
/// Channels that one chunk takes.
const RUN: usize = 256;

/// Taps transposed to `[4][conv_dim]` (tap 3 multiplies the current token), and the bias.
pub struct ConvWeights {
    taps: [Vec<f32>; CONV_WIDTH],
    bias: Vec<f32>,
}

impl ConvWeights {
    /// From the file's `[conv_dim][4]` and `[conv_dim]`.
    pub fn new(weight: &[f32], bias: &[f32]) -> Result<ConvWeights, KernelError> {
        check_len("convolution weights", bias.len() * CONV_WIDTH, weight.len())?;
        let tap = |k: usize| weight.iter().skip(k).step_by(CONV_WIDTH).copied().collect();
        Ok(ConvWeights { taps: [tap(0), tap(1), tap(2), tap(3)], bias: bias.to_vec() })
    }

    pub fn conv_dim(&self) -> usize {
        self.bias.len()
    }
}

/// `out[t][c] = silu(bias[c] + Σ_k taps[k][c] · x[t-3+k][c])` for m tokens; `x` m rows of conv_dim, `out [m, conv_dim]`.
///
/// A segment's state `[3][conv_dim]` holds the last three rows of raw x, oldest first; zeros before the first token. It is read as
/// x[-3..0] and left holding the newest three, so any split of the tokens gives the same bits.
pub fn conv_silu(
    tier: CpuTier,
    pool: &Pool,
    w: &ConvWeights,
    x: Rows,
    segments: &mut [Segment<&mut [f32]>],
    out: &mut [f32],
) -> Result<(), KernelError> {
    let dim = w.conv_dim();
    check_len("convolution row", dim, x.width())?;
    check_len("convolution output", x.len() * dim, out.len())?;
    check_segments(segments, x.len())?;
    for segment in segments.iter() {
        check_len("convolution state", CONV_STATE * dim, segment.state.len())?;
    }
    let out = Columns::new(out, dim);
    let states: Vec<_> = segments.iter_mut().map(|s| (s.rows.clone(), Disjoint::new(s.state))).collect();
    let runs = dim.div_ceil(RUN);
    pool.run(states.len() * runs, |job| {
        let (rows, state) = &states[job / runs];
        let start = job % runs * RUN;
        let end = dim.min(start + RUN);
        dispatch(tier, ConvRun { w, x, rows: rows.clone(), state, out: &out, start, end });
    });
    Ok(())
}

struct ConvRun<'a> {
    w: &'a ConvWeights,
    x: Rows<'a>,
    rows: Range<usize>,
    state: &'a Disjoint<'a, f32>,
    out: &'a Columns<'a>,
    start: usize,
    end: usize,
}

impl Kernel for ConvRun<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut at = self.start;
        while at < self.end {
            let width = LANES.min(self.end - at);
            self.lanes(s, at, width);
            at += width;
        }
    }
}

impl ConvRun<'_> {
    /// All tokens of `width` channels from `at`: the window slides through registers.
    #[inline(always)]
    fn lanes<S: Simd>(&self, s: S, at: usize, width: usize) {
        let dim = self.w.conv_dim();
        let run = at..at + width;
        let mut taps = [s.splat(0.0); CONV_WIDTH];
        for (k, tap) in taps.iter_mut().enumerate() {
            *tap = s.read(&self.w.taps[k][run.clone()]);
        }
        let bias = s.read(&self.w.bias[run.clone()]);
        // SAFETY: these channels of this segment belong to this job, and no other slice of them is live.
        let held = |k: usize| unsafe { self.state.slice(k * dim + at, width) };
        let mut window = [s.read(held(0)), s.read(held(1)), s.read(held(2))];
        for t in self.rows.clone() {
            let now = s.read(&self.x.row(t)[run.clone()]);
            let mut acc = s.fma(taps[0], window[0], bias);
            acc = s.fma(taps[1], window[1], acc);
            acc = s.fma(taps[2], window[2], acc);
            acc = s.fma(taps[3], now, acc);
            // SAFETY: as above.
            s.write(s.silu(acc), unsafe { self.out.slice(t, at, width) });
            window = [window[1], window[2], now];
        }
        for (k, v) in window.into_iter().enumerate() {
            s.write(v, held(k));
        }
    }
}
