//! A file's blocks as parts of the fast pass: every family is a list of norms with what follows them.
use super::super::fast::{
    Attention, Block, Experts, FastNet, KvShape, Mamba, Parallel, Part, Projection, Shapes, SquaredRelu,
    SwiGlu,
};
use super::source::{Source, kv_type};
use crate::EngineError;
use crate::kernels::{ConvWeights, HEAD_MULTIPLE, KernelError, PackedMatrix, SsmShape};
use chimera_gguf::{Ffn, Mixer, RopePairs, SsmConfig};

pub(super) fn net(source: Source<'_>) -> Result<FastNet, EngineError> {
    let mut shapes = Shapes::new(kv_type(source.valid));
    let mut blocks = Vec::new();
    let config = &source.valid.config;
    for (i, block) in config.layers.iter().enumerate() {
        let layer = Layer { source: &source, i };
        if let Some(mixer) = block.mixer {
            let part = layer.mixing(mixer, &mut shapes)?;
            blocks.push(Block { norm_d: layer.vector("attn_norm.weight"), part });
        }
        if let Some(ffn) = block.ffn {
            blocks.push(Block { norm_d: source.vector(&config.family.ffn_norm(i)), part: layer.ffn(ffn)? });
        }
    }
    source.finish(blocks, shapes)
}

struct Layer<'a> {
    source: &'a Source<'a>,
    i: usize,
}

impl Layer<'_> {
    fn name(&self, part: &str) -> String {
        format!("blk.{}.{part}", self.i)
    }

    fn vector(&self, part: &str) -> Vec<f32> {
        self.source.vector(&self.name(part))
    }

    fn matrix(&self, part: &str) -> Result<PackedMatrix, EngineError> {
        self.source.matrix(&self.name(part))
    }

    fn mixing(&self, mixer: Mixer, shapes: &mut Shapes) -> Result<Box<dyn Part>, EngineError> {
        let ssm = self.source.valid.config.ssm.filter(|_| mixer.has_mamba());
        let mamba = ssm.map(|ssm| self.mamba(ssm, shapes)).transpose()?;
        let attention = mixer.n_kv().map(|n_kv| self.attention(n_kv, shapes)).transpose()?;
        match (mamba, attention) {
            (Some(mamba), Some(attention)) => Ok(Box::new(Parallel { mamba, attention })),
            (Some(mamba), None) => Ok(Box::new(mamba)),
            (None, Some(attention)) => Ok(Box::new(attention)),
            // A mixer has one of them, and a family with Mamba has its sizes.
            (None, None) => Err(EngineError::Kernel(KernelError::Empty { rows: 0, cols: 0 })),
        }
    }

    fn mamba(&self, ssm: SsmConfig, shapes: &mut Shapes) -> Result<Mamba, EngineError> {
        self.check_head("ssm_in.weight", ssm.head_dim)?;
        let shape =
            SsmShape { heads: ssm.n_head, head_dim: ssm.head_dim, state: ssm.d_state, groups: ssm.n_group };
        let mut bias = self.vector("ssm_conv1d.bias");
        bias.resize(shape.conv_dim(), 0.0);
        Ok(Mamba {
            at: shapes.add_mamba(shape),
            shape,
            in_ed: self.matrix("ssm_in.weight")?,
            conv: ConvWeights::new(&self.vector("ssm_conv1d.weight"), &bias)?,
            a_h: self.vector("ssm_a"),
            d_h: self.vector("ssm_d"),
            dt_bias_h: self.vector("ssm_dt.bias"),
            norm_di: self.vector("ssm_norm.weight"),
            out_d_di: self.matrix("ssm_out.weight")?,
        })
    }

    fn attention(&self, kv_heads: usize, shapes: &mut Shapes) -> Result<Attention, EngineError> {
        let config = &self.source.valid.config;
        self.check_head("attn_q.weight", config.head_dim)?;
        Ok(Attention {
            at: shapes.add_kv(KvShape { heads: kv_heads, head_dim: config.head_dim }),
            heads: config.n_head,
            kv_heads,
            head_dim: config.head_dim,
            scale: config.attention_scale,
            q_ad: self.turned("attn_q")?,
            k_cd: self.turned("attn_k")?,
            v_cd: self.projection("attn_v")?,
            out_da: self.projection("attn_output")?,
        })
    }

    fn projection(&self, part: &str) -> Result<Projection, EngineError> {
        let bias = self.vector(&format!("{part}.bias"));
        Ok(Projection { weight: self.matrix(&format!("{part}.weight"))?, bias })
    }

    /// Queries or keys. The kernel turns adjacent pairs; where a file pairs the halves of a head, its rows are brought into
    /// that order once (of queries and keys alike, so that their products stay what they are).
    fn turned(&self, part: &str) -> Result<Projection, EngineError> {
        let config = &self.source.valid.config;
        match config.rope.filter(|rope| rope.pairs == RopePairs::Halves) {
            None => self.projection(part),
            Some(rope) => {
                let order = |row: usize| adjacent(row, config.head_dim, rope.n_rot);
                let weight = self.source.reordered(&self.name(&format!("{part}.weight")), &order)?;
                let bias = self.vector(&format!("{part}.bias"));
                Ok(Projection { weight, bias: (0..bias.len()).map(|row| bias[order(row)]).collect() })
            }
        }
    }

    fn ffn(&self, ffn: Ffn) -> Result<Box<dyn Part>, EngineError> {
        Ok(match ffn {
            Ffn::Gated { .. } => Box::new(self.gated("")?),
            Ffn::Squared { .. } => Box::new(SquaredRelu {
                up_fd: self.matrix("ffn_up.weight")?,
                down_df: self.matrix("ffn_down.weight")?,
            }),
            Ffn::Experts { experts, used, shared, .. } => Box::new(Experts {
                used,
                router_xd: self.matrix("ffn_gate_inp.weight")?,
                experts: self.experts(experts)?,
                shared: (shared > 0).then(|| self.gated("_shexp")).transpose()?,
            }),
        })
    }

    fn gated(&self, suffix: &str) -> Result<SwiGlu, EngineError> {
        let matrix = |part: &str| self.matrix(&format!("{part}{suffix}.weight"));
        Ok(SwiGlu { gate_fd: matrix("ffn_gate")?, up_fd: matrix("ffn_up")?, down_df: matrix("ffn_down")? })
    }

    fn experts(&self, n: usize) -> Result<Vec<SwiGlu>, EngineError> {
        let stack = |part: &str| self.source.stack(&self.name(&format!("{part}_exps.weight")), n);
        let gates = stack("ffn_gate")?.into_iter();
        let others = stack("ffn_up")?.into_iter().zip(stack("ffn_down")?);
        Ok(gates.zip(others).map(|(gate_fd, (up_fd, down_df))| SwiGlu { gate_fd, up_fd, down_df }).collect())
    }

    /// The scan and the cache work on whole vectors of a head.
    fn check_head(&self, part: &str, head_dim: usize) -> Result<(), EngineError> {
        if head_dim.is_multiple_of(HEAD_MULTIPLE) {
            return Ok(());
        }
        let source = KernelError::HeadDim { head_dim, multiple: HEAD_MULTIPLE };
        Err(EngineError::UnsupportedShape { tensor: self.name(part), source })
    }
}

/// The row of a file with pairs (j, j + n_rot/2) that stands at `row` when the pairs are (2j, 2j+1).
fn adjacent(row: usize, head_dim: usize, n_rot: usize) -> usize {
    let (head, at) = (row / head_dim, row % head_dim);
    let from = if at < n_rot { at / 2 + (at % 2) * (n_rot / 2) } else { at };
    head * head_dim + from
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_become_adjacent_pairs_head_by_head() {
        let order: Vec<usize> = (0..16).map(|row| adjacent(row, 8, 6)).collect();
        assert_eq!(order, [0, 3, 1, 4, 2, 5, 6, 7, 8, 11, 9, 12, 10, 13, 14, 15]);
    }
}
