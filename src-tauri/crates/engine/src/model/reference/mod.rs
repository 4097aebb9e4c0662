//! The yardstick: the whole forward pass of every family in plain f32 candle, dequantized weights, no own kernel.
//! Slow and plain on purpose; every kernel of `fast` is tested against it. Read it from top to bottom:
//!
//! ```text
//! x = E[token] · embedding_scale
//! for each block:   x += residual_scale · part(rms(x, norm))    part: Mamba-2, attention, both added, or an FFN
//! logits = head · rms(x, output_norm) / logit_scale             head: E unless the file has its own
//! ```
//!
//! Letters: m tokens, d width, V vocabulary, f FFN width, H heads, P head size, N state size, G groups of Mamba-2, h and c
//! query and key heads of attention, s head size, t tokens read so far, K = 4 taps, x experts. A name's suffix is its shape.
mod attention;
mod ffn;
mod load;
mod mamba;
mod sequence;

pub(super) use sequence::ReferenceSequence;

use super::rope::RopeSpec;
use crate::TokenId;
use candle_core::{D, Device, Result, Tensor};
use chimera_gguf::ModelConfig;
use sequence::PartState;

const CPU: &Device = &Device::Cpu;

pub(super) struct ReferenceNet {
    config: ModelConfig,
    embedding_vd: Tensor,
    head_vd: Tensor,
    output_norm_d: Tensor,
    blocks: Vec<Block>,
    rope: Option<RopeSpec>,
}

/// `x += residual_scale · part(rms(x) · norm_d)`.
struct Block {
    norm_d: Tensor,
    part: Part,
}

struct Part {
    mamba: Option<mamba::Mamba>,
    attention: Option<attention::Attention>,
    ffn: Option<ffn::Ffn>,
}

impl ReferenceNet {
    fn forward(&self, tokens: &[TokenId], at: usize, states: &mut [PartState]) -> Result<Tensor> {
        let c = &self.config;
        let ids = Tensor::new(tokens, CPU)?;
        let mut x_md = (self.embedding_vd.index_select(&ids, 0)? * f64::from(c.embedding_scale))?;
        for (block, state) in self.blocks.iter().zip(states) {
            let h_md = rms(&x_md, &block.norm_d, c.rms_eps)?;
            let y_md = (self.part(&block.part, &h_md, at, state)? * f64::from(c.residual_scale))?;
            x_md = (x_md + y_md)?;
        }
        Ok(x_md)
    }

    /// The sum of what is there.
    fn part(&self, part: &Part, h_md: &Tensor, at: usize, state: &mut PartState) -> Result<Tensor> {
        let mut sum = h_md.zeros_like()?;
        if let (Some(w), Some(state)) = (&part.mamba, &mut state.mamba) {
            sum = (sum + w.forward(h_md, self.config.rms_eps, state)?)?;
        }
        if let (Some(w), Some(state)) = (&part.attention, &mut state.attention) {
            sum = (sum + w.forward(h_md, self.rope.as_ref(), at, state)?)?;
        }
        if let Some(w) = &part.ffn {
            sum = (sum + w.forward(h_md)?)?;
        }
        Ok(sum)
    }

    fn logits(&self, x_md: &Tensor) -> Result<Tensor> {
        let h_md = rms(x_md, &self.output_norm_d, self.config.rms_eps)?;
        linear(&h_md, &self.head_vd)? / f64::from(self.config.logit_scale)
    }
}

/// x · Wᵀ
fn linear(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    x.matmul(&w.t()?)
}

/// x / sqrt(mean(x²) + eps) ⊙ w over the last dimension.
fn rms(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean + f64::from(eps))?.sqrt()?)?.broadcast_mul(weight)
}

fn softmax(x: &Tensor) -> Result<Tensor> {
    let e = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}
