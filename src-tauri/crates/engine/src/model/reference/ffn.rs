//! Feed-forward networks.
use super::{CPU, linear, softmax};
use candle_core::{Result, Tensor};

pub(super) enum Ffn {
    Gated(Gated),
    /// `down(relu(up·g)²)`.
    Squared {
        up_fd: Tensor,
        down_df: Tensor,
    },
    Experts(Experts),
}

/// `down(silu(gate·g) ⊙ up·g)`.
pub(super) struct Gated {
    pub gate_fd: Tensor,
    pub up_fd: Tensor,
    pub down_df: Tensor,
}

/// Every token goes through its `used` best experts, weighted by the softmax of the scores of these alone (the softmax of
/// all, taken from the best and made to sum to 1, is the same), and through the shared one.
pub(super) struct Experts {
    pub used: usize,
    pub router_xd: Tensor,
    pub experts: Vec<Gated>,
    pub shared: Option<Gated>,
}

impl Ffn {
    pub fn forward(&self, g_md: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gated(w) => w.forward(g_md),
            Self::Squared { up_fd, down_df } => linear(&linear(g_md, up_fd)?.relu()?.sqr()?, down_df),
            Self::Experts(w) => w.forward(g_md),
        }
    }
}

impl Gated {
    pub fn forward(&self, g_md: &Tensor) -> Result<Tensor> {
        let hidden_mf = (linear(g_md, &self.gate_fd)?.silu()? * linear(g_md, &self.up_fd)?)?;
        linear(&hidden_mf, &self.down_df)
    }
}

impl Experts {
    fn forward(&self, g_md: &Tensor) -> Result<Tensor> {
        let scores_mx = linear(g_md, &self.router_xd)?.to_vec2::<f32>()?;
        let rows = scores_mx.iter().enumerate();
        let rows = rows.map(|(t, scores_x)| self.token(&g_md.narrow(0, t, 1)?, scores_x));
        let routed_md = Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)?;
        match &self.shared {
            Some(shared) => routed_md + shared.forward(g_md)?,
            None => Ok(routed_md),
        }
    }

    fn token(&self, g_1d: &Tensor, scores_x: &[f32]) -> Result<Tensor> {
        let mut best: Vec<usize> = (0..scores_x.len()).collect();
        best.sort_by(|a, b| scores_x[*b].total_cmp(&scores_x[*a]));
        best.truncate(self.used);
        let chosen: Vec<f32> = best.iter().map(|x| scores_x[*x]).collect();
        let weights = softmax(&Tensor::new(chosen, CPU)?)?.to_vec1::<f32>()?;
        let mut sum_1d = g_1d.zeros_like()?;
        for (x, weight) in best.iter().zip(weights) {
            sum_1d = (sum_1d + (self.experts[*x].forward(g_1d)? * f64::from(weight))?)?;
        }
        Ok(sum_1d)
    }
}
