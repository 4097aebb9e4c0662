//! Grouped-query attention: `softmax(scale · q kᵀ + causal) v`, RoPE on q and k unless the model has none.
use super::sequence::KvState;
use super::{CPU, RopeSpec, linear, softmax};
use candle_core::{IndexOp, Result, Tensor};
use chimera_gguf::RopePairs;

pub(super) struct Attention {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub scale: f32,
    pub q: Projection,
    pub k: Projection,
    pub v: Projection,
    pub out: Projection,
}

/// A matrix and, in some models, a bias.
pub(super) struct Projection {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

impl Projection {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = linear(x, &self.weight)?;
        self.bias.as_ref().map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))
    }
}

impl Attention {
    pub fn forward(
        &self,
        h_md: &Tensor,
        rope: Option<&RopeSpec>,
        at: usize,
        state: &mut KvState,
    ) -> Result<Tensor> {
        let (heads, size, m) = (self.heads, self.head_dim, h_md.dim(0)?);
        let split = |w: &Projection, heads: usize| {
            w.forward(h_md)?.reshape((m, heads, size))?.transpose(0, 1)?.contiguous()
        };
        let q_hms = rotate(&split(&self.q, heads)?, rope, at)?;
        let k_cms = rotate(&split(&self.k, self.kv_heads)?, rope, at)?;
        state.k_cts = Tensor::cat(&[&state.k_cts, &k_cms], 1)?;
        state.v_cts = Tensor::cat(&[&state.v_cts, &split(&self.v, self.kv_heads)?], 1)?;
        let (k_hts, v_hts) = (repeat_heads(&state.k_cts, heads)?, repeat_heads(&state.v_cts, heads)?);
        let scores = (q_hms.matmul(&k_hts.transpose(1, 2)?.contiguous()?)? * f64::from(self.scale))?;
        let p_hmt = softmax(&scores.broadcast_add(&causal_mask(m, at)?)?)?;
        let y_ma = p_hmt.matmul(&v_hts)?.transpose(0, 1)?.reshape((m, heads * size))?;
        self.out.forward(&y_ma)
    }
}

/// RoPE: pair j turns by `position · inv_freq[j]`. A pair is (2j, 2j+1) or (j, j + n_rot/2).
fn rotate(x_hms: &Tensor, rope: Option<&RopeSpec>, at: usize) -> Result<Tensor> {
    let Some(rope) = rope else { return Ok(x_hms.clone()) };
    let (heads, m, size) = x_hms.dims3()?;
    let pairs = rope.inv_freq.len();
    let turned = x_hms.narrow(2, 0, 2 * pairs)?;
    let (one, other) = match rope.pairs {
        RopePairs::Adjacent => {
            let turned = turned.reshape((heads, m, pairs, 2))?;
            (turned.i((.., .., .., 0))?, turned.i((.., .., .., 1))?)
        }
        RopePairs::Halves => (turned.narrow(2, 0, pairs)?, turned.narrow(2, pairs, pairs)?),
    };
    let angles = (at..at + m).flat_map(|p| rope.inv_freq.iter().map(move |f| p as f64 * f));
    let (sin, cos): (Vec<f32>, Vec<f32>) =
        angles.map(|a| ((a.sin() * rope.magnitude) as f32, (a.cos() * rope.magnitude) as f32)).unzip();
    let (sin, cos) = (Tensor::from_vec(sin, (m, pairs), CPU)?, Tensor::from_vec(cos, (m, pairs), CPU)?);
    let first = (one.broadcast_mul(&cos)? - other.broadcast_mul(&sin)?)?;
    let second = (one.broadcast_mul(&sin)? + other.broadcast_mul(&cos)?)?;
    let turned = match rope.pairs {
        RopePairs::Adjacent => Tensor::stack(&[first, second], 3)?.reshape((heads, m, 2 * pairs))?,
        RopePairs::Halves => Tensor::cat(&[first, second], 2)?,
    };
    match size - 2 * pairs {
        0 => Ok(turned),
        rest => Tensor::cat(&[turned, x_hms.narrow(2, 2 * pairs, rest)?], 2),
    }
}

/// `[c, t, s]` → `[h, t, s]`: query head h reads key head h / (heads/c).
fn repeat_heads(x_cts: &Tensor, heads: usize) -> Result<Tensor> {
    let (c, t, s) = x_cts.dims3()?;
    x_cts.unsqueeze(1)?.broadcast_as((c, heads / c, t, s))?.reshape((heads, t, s))
}

/// 0 where token `at + i` may look at position j, -∞ where it may not.
fn causal_mask(m: usize, at: usize) -> Result<Tensor> {
    let allowed = |i: usize, j: usize| if j <= at + i { 0.0 } else { f32::NEG_INFINITY };
    let mask: Vec<f32> = (0..m).flat_map(|i| (0..at + m).map(move |j| allowed(i, j))).collect();
    Tensor::from_vec(mask, (m, at + m), CPU)
}
