//! Mamba-2's selective scan, token by token inside a head, heads in parallel.
//!
//! Per head: `dt' = softplus(dt + bias)`, `dA = exp(dt'·A)`, `S[n][p] = S[n][p]·dA + (dt'·x[p])·B[n]`,
//! `y[p] = Σ_n S[n][p]·C[n] + D·x[p]`. Letters: H heads, P head size, N state size, G groups, m tokens.
use super::elementwise::Columns;
use super::error::check_len;
use super::pool::Disjoint;
use super::segments::check_segments;
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::{CpuTier, KernelError, Pool, Rows, Segment};
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SsmShape {
    /// H.
    pub heads: usize,
    /// P, a multiple of 16.
    pub head_dim: usize,
    /// N.
    pub state: usize,
    /// G; head h uses the B and C of group h / (H / G).
    pub groups: usize,
}

impl SsmShape {
    /// di = H·P.
    pub fn inner(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Values of the recurrent state, `[H][N][P]`.
    pub fn state_len(&self) -> usize {
        self.inner() * self.state
    }

    /// di + 2·G·N: what the convolution runs over.
    pub fn conv_dim(&self) -> usize {
        self.inner() + 2 * self.groups * self.state
    }

    fn check(&self) -> Result<(), KernelError> {
        if self.head_dim == 0 || !self.head_dim.is_multiple_of(LANES) {
            return Err(KernelError::HeadDim { head_dim: self.head_dim, multiple: LANES });
        }
        if self.groups == 0 || !self.heads.is_multiple_of(self.groups) {
            return Err(KernelError::Groups { heads: self.heads, groups: self.groups });
        }
        Ok(())
    }
}

/// Per-head parameters, each `[H]`. `a` is the file's `ssm_a`: already `-exp(A_log)`.
#[derive(Clone, Copy, Debug)]
pub struct SsmWeights<'a> {
    pub a: &'a [f32],
    pub d: &'a [f32],
    pub dt_bias: &'a [f32],
}

/// Advances the state `[H][N][P]` (n outer, p inner) of every segment over its rows of `xbc` (x|B|C, after conv and silu; conv_dim wide) and
/// `dt` (raw, H wide), and writes `y [m, H·P]`. The state and y have the same bits whatever the split of the tokens into calls.
#[allow(clippy::too_many_arguments)]
pub fn ssm_scan(
    tier: CpuTier,
    pool: &Pool,
    shape: &SsmShape,
    w: SsmWeights,
    xbc: Rows,
    dt: Rows,
    segments: &mut [Segment<&mut [f32]>],
    y: &mut [f32],
) -> Result<(), KernelError> {
    shape.check()?;
    let heads = shape.heads;
    for (what, values) in [("ssm_a", w.a), ("ssm_d", w.d), ("ssm_dt bias", w.dt_bias)] {
        check_len(what, heads, values.len())?;
    }
    check_len("xBC row", shape.conv_dim(), xbc.width())?;
    check_len("dt row", heads, dt.width())?;
    check_len("dt rows", xbc.len(), dt.len())?;
    check_segments(segments, xbc.len())?;
    for segment in segments.iter() {
        check_len("scan state", shape.state_len(), segment.state.len())?;
    }
    check_len("scan output", xbc.len() * shape.inner(), y.len())?;
    let y = Columns::new(y, shape.inner());
    let per_head = shape.state * shape.head_dim;
    let states: Vec<_> = segments.iter_mut().map(|s| (s.rows.clone(), Disjoint::new(s.state))).collect();
    pool.run(states.len() * heads, |job| {
        let (head, (rows, state)) = (job % heads, &states[job / heads]);
        // SAFETY: this job alone has this head of this segment.
        let state = unsafe { state.slice(head * per_head, per_head) };
        dispatch(tier, Head { shape, w, xbc, dt, rows: rows.clone(), head, state, y: &y });
    });
    Ok(())
}

struct Head<'a> {
    shape: &'a SsmShape,
    w: SsmWeights<'a>,
    xbc: Rows<'a>,
    dt: Rows<'a>,
    rows: Range<usize>,
    head: usize,
    state: &'a mut [f32],
    y: &'a Columns<'a>,
}

impl Kernel for Head<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let Range { start: mut t, end: m } = self.rows.clone();
        while t + 4 <= m {
            self.tokens::<S, 4>(s, t);
            t += 4;
        }
        while t < m {
            self.tokens::<S, 1>(s, t);
            t += 1;
        }
    }
}

/// What T tokens bring to one head.
struct Tokens<'a, const T: usize> {
    first: usize,
    x: [&'a [f32]; T],
    b: [&'a [f32]; T],
    c: [&'a [f32]; T],
    dt: [f32; T],
    da: [f32; T],
}

impl Head<'_> {
    /// Advances the head by T tokens: every state value is loaded once and goes through all T of them in order, with the
    /// same operations for any T.
    #[inline(always)]
    fn tokens<S: Simd, const T: usize>(&mut self, s: S, first: usize) {
        let SsmShape { heads, head_dim, state: n, groups } = *self.shape;
        let (h, group, di) = (self.head, self.head / (heads / groups), heads * head_dim);
        let mut tokens = Tokens { first, x: [&[]; T], b: [&[]; T], c: [&[]; T], dt: [0.0; T], da: [0.0; T] };
        for t in 0..T {
            let row = self.xbc.row(first + t);
            tokens.x[t] = &row[h * head_dim..][..head_dim];
            tokens.b[t] = &row[di + group * n..][..n];
            tokens.c[t] = &row[di + (groups + group) * n..][..n];
            tokens.dt[t] = self.dt.row(first + t)[h];
        }
        let dt = s.softplus(s.add(s.read(&tokens.dt), s.splat(self.w.dt_bias[h])));
        let da = s.exp(s.mul(dt, s.splat(self.w.a[h])));
        tokens.dt.copy_from_slice(&s.to_array(dt)[..T]);
        tokens.da.copy_from_slice(&s.to_array(da)[..T]);
        let mut p = 0;
        // One token wants its state in whole rows from memory; several want their sums in registers.
        while T == 1 && p + 4 * LANES <= head_dim {
            self.lanes::<S, T, 4>(s, p, &tokens);
            p += 4 * LANES;
        }
        while p + 2 * LANES <= head_dim {
            self.lanes::<S, T, 2>(s, p, &tokens);
            p += 2 * LANES;
        }
        while p < head_dim {
            self.lanes::<S, T, 1>(s, p, &tokens);
            p += LANES;
        }
    }

    /// C vectors of the head from p on.
    #[inline(always)]
    fn lanes<S: Simd, const T: usize, const C: usize>(&mut self, s: S, p: usize, tokens: &Tokens<T>) {
        let SsmShape { head_dim, state: n, .. } = *self.shape;
        let mut dtx = [[s.splat(0.0); C]; T];
        for t in 0..T {
            for c in 0..C {
                dtx[t][c] = s.mul(s.splat(tokens.dt[t]), s.read(&tokens.x[t][p + c * LANES..][..LANES]));
            }
        }
        let (mut b, mut cs): ([&[f32]; T], [&[f32]; T]) = ([&[]; T], [&[]; T]);
        for t in 0..T {
            (b[t], cs[t]) = (&tokens.b[t][..n], &tokens.c[t][..n]);
        }
        let mut y = [[s.splat(0.0); C]; T];
        for (i, row) in self.state.chunks_exact_mut(head_dim).take(n).enumerate() {
            for (c, row) in row[p..p + C * LANES].as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                let mut held = s.load(row);
                for t in 0..T {
                    held = s.fma(held, s.splat(tokens.da[t]), s.mul(dtx[t][c], s.splat(b[t][i])));
                    y[t][c] = s.fma(held, s.splat(cs[t][i]), y[t][c]);
                }
                s.store(held, row);
            }
        }
        for t in 0..T {
            for c in 0..C {
                let at = p + c * LANES;
                let v = s.fma(s.splat(self.w.d[self.head]), s.read(&tokens.x[t][at..][..LANES]), y[t][c]);
                // SAFETY: the columns of this head belong to this chunk, and no other slice of them is live.
                s.write(v, unsafe { self.y.slice(tokens.first + t, self.head * head_dim + at, LANES) });
            }
        }
    }
}
