//! `granitehybrid`: a layer is a mixer (Mamba-2 or attention), then a feed-forward network.
use super::super::fast::{Attention, Block, FastNet, KvShape, Mamba, Part, Shapes, SwiGlu};
use super::source::{Source, kv_type};
use crate::EngineError;
use crate::kernels::{ConvWeights, SsmShape};
use chimera_gguf::LayerKind;

pub(super) fn net(source: Source<'_>) -> Result<FastNet, EngineError> {
    let mut shapes = Shapes::new(kv_type(source.valid));
    let mut blocks = Vec::new();
    for (i, kind) in source.valid.config.layers.iter().enumerate() {
        let layer = Layer { source: &source, i };
        let mixer: Box<dyn Part> = match *kind {
            LayerKind::Mamba => Box::new(layer.mamba(&mut shapes)?),
            LayerKind::Attention { n_kv } => Box::new(layer.attention(n_kv, &mut shapes)?),
        };
        blocks.push(Block { norm_d: layer.vector("attn_norm.weight"), part: mixer });
        blocks.push(Block { norm_d: layer.vector("ffn_norm.weight"), part: Box::new(layer.ffn()?) });
    }
    source.finish(blocks, shapes)
}

struct Layer<'a> {
    source: &'a Source<'a>,
    i: usize,
}

impl Layer<'_> {
    fn vector(&self, part: &str) -> Vec<f32> {
        self.source.vector(&format!("blk.{}.{part}", self.i))
    }

    fn matrix(&self, part: &str) -> Result<crate::kernels::PackedMatrix, EngineError> {
        self.source.matrix(&format!("blk.{}.{part}", self.i))
    }

    fn mamba(&self, shapes: &mut Shapes) -> Result<Mamba, EngineError> {
        let ssm = &self.source.valid.config.ssm;
        let shape =
            SsmShape { heads: ssm.n_head, head_dim: ssm.head_dim, state: ssm.d_state, groups: ssm.n_group };
        Ok(Mamba {
            at: shapes.add_mamba(shape),
            shape,
            in_ed: self.matrix("ssm_in.weight")?,
            conv: ConvWeights::new(&self.vector("ssm_conv1d.weight"), &self.vector("ssm_conv1d.bias"))?,
            a_h: self.vector("ssm_a"),
            d_h: self.vector("ssm_d"),
            dt_bias_h: self.vector("ssm_dt.bias"),
            norm_di: self.vector("ssm_norm.weight"),
            out_d_di: self.matrix("ssm_out.weight")?,
        })
    }

    fn attention(&self, kv_heads: usize, shapes: &mut Shapes) -> Result<Attention, EngineError> {
        let config = &self.source.valid.config;
        Ok(Attention {
            at: shapes.add_kv(KvShape { heads: kv_heads, head_dim: config.head_dim }),
            heads: config.n_head,
            kv_heads,
            head_dim: config.head_dim,
            scale: config.attention_scale,
            q_ad: self.matrix("attn_q.weight")?,
            k_cd: self.matrix("attn_k.weight")?,
            v_cd: self.matrix("attn_v.weight")?,
            out_da: self.matrix("attn_output.weight")?,
        })
    }

    fn ffn(&self) -> Result<SwiGlu, EngineError> {
        Ok(SwiGlu {
            gate_fd: self.matrix("ffn_gate.weight")?,
            up_fd: self.matrix("ffn_up.weight")?,
            down_df: self.matrix("ffn_down.weight")?,
        })
    }
}
