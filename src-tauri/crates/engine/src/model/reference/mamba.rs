//! Mamba-2 (Dao & Gu 2024), as a recurrence over tokens:
//! `S ← S·exp(Δ·A) + (Δ·x) Bᵀ`, `y = S·C + D·x`, then `out( rms(y ⊙ silu(z)) )`, the norm group by group.
use super::sequence::MambaState;
use super::{linear, rms};
use candle_core::{D, IndexOp, Result, Tensor};
use chimera_gguf::SsmConfig;

pub(super) struct Mamba {
    pub ssm: SsmConfig,
    /// Rows z|x|B|C|dt.
    pub in_ed: Tensor,
    pub conv_ck: Tensor,
    /// Zeros if the file has none.
    pub conv_bias_c: Tensor,
    /// A = -exp(A_log).
    pub a_h: Tensor,
    pub d_h: Tensor,
    pub dt_bias_h: Tensor,
    /// `[G, di/G]`. Small Falcon-H1 have no norm here, only the gate.
    pub norm_g: Option<Tensor>,
    pub out_d_di: Tensor,
}

impl Mamba {
    pub fn forward(&self, h_md: &Tensor, eps: f32, state: &mut MambaState) -> Result<Tensor> {
        let ssm = &self.ssm;
        let (m, di, gn) = (h_md.dim(0)?, ssm.d_inner, ssm.n_group * ssm.d_state);
        let zxbcdt = linear(h_md, &self.in_ed)?;
        let z_m_di = zxbcdt.narrow(1, 0, di)?;
        let raw_mc = zxbcdt.narrow(1, di, di + 2 * gn)?;
        let dt_mh = zxbcdt.narrow(1, 2 * di + 2 * gn, ssm.n_head)?;
        let dt_mh = softplus(&dt_mh.broadcast_add(&self.dt_bias_h)?)?;
        let xbc_mc = self.conv_silu(&raw_mc, &mut state.conv_kc)?;
        let y_m_di = self.scan(&xbc_mc, &dt_mh, &mut state.ssm_hpn)?;
        let gated = (y_m_di * z_m_di.silu()?)?;
        let Some(norm_g) = &self.norm_g else { return linear(&gated, &self.out_d_di) };
        let gated_mg = gated.reshape((m, ssm.n_group, di / ssm.n_group))?;
        linear(&rms(&gated_mg, norm_g, eps)?.reshape((m, di))?, &self.out_d_di)
    }

    fn scan(&self, xbc_mc: &Tensor, dt_mh: &Tensor, ssm_hpn: &mut Tensor) -> Result<Tensor> {
        let ssm = &self.ssm;
        let (m, di, gn) = (xbc_mc.dim(0)?, ssm.d_inner, ssm.n_group * ssm.d_state);
        let x_mhp = xbc_mc.narrow(1, 0, di)?.reshape((m, ssm.n_head, ssm.head_dim))?;
        let b_mhn = spread_groups(&xbc_mc.narrow(1, di, gn)?, ssm)?;
        let c_mhn = spread_groups(&xbc_mc.narrow(1, di + gn, gn)?, ssm)?;
        let mut rows = Vec::with_capacity(m);
        for t in 0..m {
            let (x_hp, dt_h) = (x_mhp.i(t)?, dt_mh.i(t)?);
            let decay_h11 = (&dt_h * &self.a_h)?.exp()?.reshape((ssm.n_head, 1, 1))?;
            let dtx_hp1 = x_hp.broadcast_mul(&dt_h.unsqueeze(1)?)?.unsqueeze(2)?;
            let write_hpn = dtx_hp1.broadcast_mul(&b_mhn.i(t)?.unsqueeze(1)?)?;
            *ssm_hpn = (ssm_hpn.broadcast_mul(&decay_h11)? + write_hpn)?;
            let read_hp = ssm_hpn.broadcast_mul(&c_mhn.i(t)?.unsqueeze(1)?)?.sum(D::Minus1)?;
            let y_hp = (read_hp + x_hp.broadcast_mul(&self.d_h.unsqueeze(1)?)?)?;
            rows.push(y_hp.flatten_all()?);
        }
        Tensor::stack(&rows, 0)
    }

    /// Causal depthwise convolution, tap K-1 on the current token, then silu; `conv_kc` moves on to the newest K-1 inputs.
    fn conv_silu(&self, raw_mc: &Tensor, conv_kc: &mut Tensor) -> Result<Tensor> {
        let (m, taps) = (raw_mc.dim(0)?, self.conv_ck.dim(1)?);
        let padded = Tensor::cat(&[&*conv_kc, raw_mc], 0)?;
        let mut sum = self.conv_bias_c.broadcast_as(raw_mc.shape())?.contiguous()?;
        for k in 0..taps {
            sum = (sum + padded.narrow(0, k, m)?.broadcast_mul(&self.conv_ck.i((.., k))?)?)?;
        }
        *conv_kc = padded.narrow(0, m, taps - 1)?.contiguous()?;
        sum.silu()
    }
}

/// `[m, G·N]` → `[m, H, N]`: head h reads group h / (H/G).
fn spread_groups(x: &Tensor, ssm: &SsmConfig) -> Result<Tensor> {
    let (m, per_group) = (x.dim(0)?, ssm.n_head / ssm.n_group);
    let grouped = x.reshape((m, ssm.n_group, 1, ssm.d_state))?;
    grouped.broadcast_as((m, ssm.n_group, per_group, ssm.d_state))?.reshape((m, ssm.n_head, ssm.d_state))
}

/// ln(1 + eˣ) = max(x, 0) + ln(1 + e^-|x|), which cannot overflow.
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}
