//! Mamba-2: in_proj, conv, scan, gated norm, out_proj.
use super::{FastNet, Part, Scratch, Segment};
use crate::kernels::{self, ConvWeights, KernelError, PackedMatrix, Rows, SsmShape, SsmWeights};

pub(in crate::model) struct Mamba {
    /// Index into `State::mamba`.
    pub at: usize,
    pub shape: SsmShape,
    pub in_ed: PackedMatrix,
    pub conv: ConvWeights,
    /// `-exp(A_log)`, D and the bias of dt.
    pub a_h: Vec<f32>,
    pub d_h: Vec<f32>,
    pub dt_bias_h: Vec<f32>,
    /// Empty: y is only gated.
    pub norm_di: Vec<f32>,
    pub out_d_di: PackedMatrix,
}

impl Part for Mamba {
    fn run(&self, net: &FastNet, segments: &mut [Segment<'_>], t: &mut Scratch) -> Result<(), KernelError> {
        net.product(&self.in_ed, &t.input, &mut t.a)?;
        self.mix(net, segments, t)?;
        let (m, di) = (t.input.m(), self.shape.inner());
        let z = Rows::part(&t.a, self.in_ed.rows(), 0, di);
        let y_m_di = t.wide.begin(m, di);
        let (tier, pool, eps) = (net.tier, &net.pool, net.scales.eps);
        if self.norm_di.is_empty() {
            kernels::gate(tier, pool, &t.c, z, y_m_di);
        } else {
            let groups = self.shape.groups;
            kernels::gated_rms_norm(tier, pool, &t.c, z, &self.norm_di, groups, eps, y_m_di);
        }
        t.wide.quantize(net.tier, &net.pool);
        net.product(&self.out_d_di, &t.wide, &mut t.a)
    }
}

impl Mamba {
    /// What depends on earlier tokens: from `t.a` (z|x|B|C|dt) through `t.b` (x|B|C after the convolution) to `t.c` (y).
    fn mix(&self, net: &FastNet, segments: &mut [Segment<'_>], t: &mut Scratch) -> Result<(), KernelError> {
        let (tier, pool, shape) = (net.tier, &net.pool, &self.shape);
        let (di, conv_dim, e, m) = (shape.inner(), shape.conv_dim(), self.in_ed.rows(), t.input.m());
        t.b.resize(m * conv_dim, 0.0);
        t.c.resize(m * di, 0.0);
        let (mut windows, mut states) = (Vec::new(), Vec::new());
        for segment in segments {
            let rows = segment.rows();
            let state = &mut segment.state.mamba[self.at];
            windows.push(kernels::Segment { rows: rows.clone(), state: &mut state.conv[..] });
            states.push(kernels::Segment { rows, state: &mut state.ssm_hnp[..] });
        }
        let raw_xbc = Rows::part(&t.a, e, di, conv_dim);
        kernels::conv_silu(tier, pool, &self.conv, raw_xbc, &mut windows, &mut t.b)?;
        let (xbc, dt) = (Rows::new(&t.b, conv_dim), Rows::part(&t.a, e, di + conv_dim, shape.heads));
        let heads = SsmWeights { a: &self.a_h, d: &self.d_h, dt_bias: &self.dt_bias_h };
        kernels::ssm_scan(tier, pool, shape, heads, xbc, dt, &mut states, &mut t.c)
    }
}
