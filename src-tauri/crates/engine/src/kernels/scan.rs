//! Mamba-2's selective scan, token by token inside a head, heads in parallel.
//!
//! Per head: `dt' = softplus(dt + bias)`, `dA = exp(dt'·A)`, `S[n][p] = S[n][p]·dA + (dt'·x[p])·B[n]`,
//! `y[p] = Σ_n S[n][p]·C[n] + D·x[p]`. Letters: H heads, P head size, N state size, G groups, m tokens.
use super::elementwise::{Columns, softplus};
use super::error::check_len;
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::{CpuTier, KernelError, Pool, Rows};

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

/// Advances `state [H][N][P]` (n outer, p inner) over the m rows of `xbc` (x|B|C, after conv and silu; conv_dim wide) and
/// `dt` (raw, H wide), and writes `y [m, H·P]`. The state and y have the same bits whatever the split of the tokens into calls.
#[allow(clippy::too_many_arguments)]
pub fn ssm_scan(
    tier: CpuTier,
    pool: &Pool,
    shape: &SsmShape,
    w: SsmWeights,
    xbc: Rows,
    dt: Rows,
    state: &mut [f32],
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
    check_len("scan state", shape.state_len(), state.len())?;
    check_len("scan output", xbc.len() * shape.inner(), y.len())?;
    let y = Columns::new(y, shape.inner());
    let per_head = shape.state * shape.head_dim;
    pool.run_mut(state, per_head, |head, state| {
        dispatch(tier, Head { shape, w, xbc, dt, head, state, y: &y });
    });
    Ok(())
}

struct Head<'a> {
    shape: &'a SsmShape,
    w: SsmWeights<'a>,
    xbc: Rows<'a>,
    dt: Rows<'a>,
    head: usize,
    state: &'a mut [f32],
    y: &'a Columns<'a>,
}

impl Kernel for Head<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let SsmShape { heads, head_dim, state: n, groups } = *self.shape;
        let (h, group) = (self.head, self.head / (heads / groups));
        let (di, gn) = (heads * head_dim, groups * n);
        for t in 0..self.xbc.len() {
            let row = self.xbc.row(t);
            let dt = softplus(self.dt.row(t)[h] + self.w.dt_bias[h]);
            let da = s.splat((dt * self.w.a[h]).exp());
            let (b, c) = (&row[di + group * n..][..n], &row[di + gn + group * n..][..n]);
            for p in (0..head_dim).step_by(LANES) {
                let x = super::conv::read(s, &row[h * head_dim + p..][..LANES]);
                let dtx = s.mul(s.splat(dt), x);
                let mut acc = s.splat(0.0);
                for ((row, b), c) in self.state.chunks_exact_mut(head_dim).zip(b).zip(c) {
                    let row = &mut row[p..p + LANES];
                    let held = s.fma(super::conv::read(s, row), da, s.mul(dtx, s.splat(*b)));
                    super::conv::write(s, held, row);
                    acc = s.fma(held, s.splat(*c), acc);
                }
                let acc = s.fma(s.splat(self.w.d[h]), x, acc);
                // SAFETY: the columns of head h belong to this chunk, and no other slice of them is live.
                super::conv::write(s, acc, unsafe { self.y.slice(t, h * head_dim + p, LANES) });
            }
        }
    }
}
