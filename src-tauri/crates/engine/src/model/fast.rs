//! The hot path: quantized weights and own kernels, no tensor library inside the token loop.
//!
//! Letters: m tokens of a chunk, d model width, V vocabulary, f FFN width, H/P/N/G Mamba-2 heads, head size, state size,
//! groups, di = H·P, e = width of `ssm_in`'s output (z|x|B|C|dt), a/c = width of all query / key heads. A name's suffix is its shape.
use super::rope::RopeSpec;
use super::sequence::{Rows, Saved, Sequence, save_f32s};
use crate::kernels::{
    self, Activation, ConvWeights, CpuTier, KvCache, KvType, PackedMatrix, Pool, RopeTable,
};
use crate::kernels::{SsmShape, SsmWeights};
use crate::{EngineError, TokenId};
use std::sync::Arc;

pub(super) struct FastNet {
    pub tier: CpuTier,
    pub pool: Pool,
    pub sizes: Sizes,
    pub embedding_vd: PackedMatrix,
    /// `None`: the head is the embedding.
    pub head_vd: Option<PackedMatrix>,
    pub output_norm_d: Vec<f32>,
    pub layers: Vec<Layer>,
    pub rope: Option<RopeSpec>,
}

#[derive(Clone, Debug)]
pub(super) struct Sizes {
    pub d_model: usize,
    pub d_ff: usize,
    pub heads: usize,
    pub head_dim: usize,
    pub ssm: SsmShape,
    pub eps: f32,
    pub attention_scale: f32,
    pub embedding_scale: f32,
    pub residual_scale: f32,
    pub logit_scale: f32,
    pub kv_type: KvType,
}

impl Sizes {
    /// e = 2·di + 2·G·N + H.
    pub fn in_proj(&self) -> usize {
        self.ssm.inner() + self.ssm.conv_dim() + self.ssm.heads
    }
}

pub(super) struct Layer {
    pub norm_d: Vec<f32>,
    pub mixer: Mixer,
    pub ffn_norm_d: Vec<f32>,
    pub gate_fd: PackedMatrix,
    pub up_fd: PackedMatrix,
    pub down_df: PackedMatrix,
}

pub(super) enum Mixer {
    Mamba(Box<Mamba>),
    Attention(Box<Attention>),
}

pub(super) struct Mamba {
    pub in_ed: PackedMatrix,
    pub conv: ConvWeights,
    /// `-exp(A_log)`, D and the bias of dt.
    pub a_h: Vec<f32>,
    pub d_h: Vec<f32>,
    pub dt_bias_h: Vec<f32>,
    pub norm_di: Vec<f32>,
    pub out_d_di: PackedMatrix,
}

pub(super) struct Attention {
    pub kv_heads: usize,
    pub q_ad: PackedMatrix,
    pub k_cd: PackedMatrix,
    pub v_cd: PackedMatrix,
    pub out_da: PackedMatrix,
}

/// What one layer remembers.
enum LayerState {
    Mamba { conv: Vec<f32>, ssm_hnp: Vec<f32> },
    Attention(KvCache),
}

/// One sequence: state, and buffers that are reused from chunk to chunk.
pub(super) struct FastSequence {
    net: Arc<FastNet>,
    layers: Vec<LayerState>,
    position: usize,
    /// The residual stream of the last chunk.
    x_md: Vec<f32>,
    buffers: Buffers,
}

#[derive(Default)]
struct Buffers {
    /// Normed rows, the input of the next products; and the wider input of the projection back.
    narrow: Activation,
    wide: Activation,
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
    rope: Option<RopeTable>,
}

impl FastSequence {
    pub fn new(net: Arc<FastNet>) -> Result<Self, EngineError> {
        let layers = net.layers.iter().map(|layer| LayerState::new(&net.sizes, &layer.mixer));
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Self { net, layers, position: 0, x_md: Vec::new(), buffers: Buffers::default() })
    }
}

impl LayerState {
    fn new(sizes: &Sizes, mixer: &Mixer) -> Result<Self, EngineError> {
        Ok(match mixer {
            Mixer::Mamba(_) => LayerState::Mamba {
                conv: vec![0.0; kernels::CONV_STATE * sizes.ssm.conv_dim()],
                ssm_hnp: vec![0.0; sizes.ssm.state_len()],
            },
            Mixer::Attention(w) => {
                LayerState::Attention(KvCache::new(sizes.kv_type, w.kv_heads, sizes.head_dim)?)
            }
        })
    }
}

impl Sequence for FastSequence {
    fn read(&mut self, tokens: &[TokenId]) -> Result<(), EngineError> {
        let net = &*self.net;
        let buffers = &mut self.buffers;
        net.embed(tokens, &mut self.x_md)?;
        net.grow_rope(self.position + tokens.len(), &mut buffers.rope);
        for (layer, state) in net.layers.iter().zip(&mut self.layers) {
            net.norm(&self.x_md, &layer.norm_d, &mut buffers.narrow);
            match (&layer.mixer, state) {
                (Mixer::Mamba(w), LayerState::Mamba { conv, ssm_hnp }) => {
                    net.mamba(w, conv, ssm_hnp, buffers)?
                }
                (Mixer::Attention(w), LayerState::Attention(cache)) => {
                    net.attention(w, cache, self.position, buffers)?;
                }
                // States are made from the mixers, in their order.
                _ => return Err(EngineError::SnapshotForeign),
            }
            net.add(&mut self.x_md, &buffers.a);
            net.norm(&self.x_md, &layer.ffn_norm_d, &mut buffers.narrow);
            net.ffn(layer, buffers)?;
            net.add(&mut self.x_md, &buffers.a);
        }
        self.position += tokens.len();
        Ok(())
    }

    fn logits(&mut self, rows: Rows, out: &mut Vec<f32>) -> Result<(), EngineError> {
        let d = self.net.sizes.d_model;
        let start = match rows {
            Rows::Last => self.x_md.len().saturating_sub(d),
            Rows::All => 0,
        };
        self.net.logits(&self.x_md[start..], &mut self.buffers.narrow, out)
    }

    fn save(&self, out: &mut Vec<u8>) -> Result<(), EngineError> {
        let d = self.net.sizes.d_model;
        save_f32s(&self.x_md[self.x_md.len().saturating_sub(d)..], out);
        for state in &self.layers {
            match state {
                LayerState::Mamba { conv, ssm_hnp } => {
                    save_f32s(conv, out);
                    save_f32s(ssm_hnp, out);
                }
                LayerState::Attention(cache) => cache.write_le(out),
            }
        }
        Ok(())
    }

    fn load(&mut self, tokens: usize, bytes: &[u8]) -> Result<(), EngineError> {
        let mut saved = Saved(bytes);
        self.x_md.resize(if tokens == 0 { 0 } else { self.net.sizes.d_model }, 0.0);
        saved.f32s(&mut self.x_md)?;
        for state in &mut self.layers {
            match state {
                LayerState::Mamba { conv, ssm_hnp } => {
                    saved.f32s(conv)?;
                    saved.f32s(ssm_hnp)?;
                }
                LayerState::Attention(cache) => {
                    let value = if cache.kind() == KvType::F32 { 4 } else { 2 };
                    let bytes = 2 * value * tokens * cache.kv_heads() * self.net.sizes.head_dim;
                    cache.read_le(tokens, saved.take(bytes)?)?;
                }
            }
        }
        self.position = tokens;
        saved.finish()
    }
}

impl FastNet {
    fn embed(&self, tokens: &[TokenId], x_md: &mut Vec<f32>) -> Result<(), EngineError> {
        let Sizes { d_model, embedding_scale, .. } = self.sizes;
        x_md.resize(tokens.len() * d_model, 0.0);
        for (token, row_d) in tokens.iter().zip(x_md.chunks_exact_mut(d_model)) {
            self.embedding_vd.dequantize_row(*token as usize, row_d)?;
            if embedding_scale != 1.0 {
                row_d.iter_mut().for_each(|v| *v *= embedding_scale);
            }
        }
        Ok(())
    }

    /// h = x / sqrt(mean(x²) + eps) · w, quantized once for every product that reads it.
    fn norm(&self, x_md: &[f32], weight_d: &[f32], h: &mut Activation) {
        let d = self.sizes.d_model;
        kernels::rms_norm(self.tier, &self.pool, x_md, weight_d, self.sizes.eps, h.begin(x_md.len() / d, d));
        h.quantize(self.tier, &self.pool);
    }

    /// x += residual_scale · y
    fn add(&self, x_md: &mut [f32], y_md: &[f32]) {
        kernels::add_scaled(self.tier, &self.pool, x_md, y_md, self.sizes.residual_scale);
    }

    fn product(&self, w: &PackedMatrix, input: &Activation, out: &mut Vec<f32>) -> Result<(), EngineError> {
        out.resize(input.m() * w.rows(), 0.0);
        Ok(kernels::matmul(&self.pool, w, input, out)?)
    }

    /// Mamba-2: in_proj, conv, scan, gated norm, out_proj; `narrow` → `a`.
    fn mamba(
        &self,
        w: &Mamba,
        conv: &mut [f32],
        ssm_hnp: &mut [f32],
        t: &mut Buffers,
    ) -> Result<(), EngineError> {
        let (tier, pool, shape) = (self.tier, &self.pool, &self.sizes.ssm);
        let (m, di, e, conv_dim) = (t.narrow.m(), shape.inner(), self.sizes.in_proj(), shape.conv_dim());
        self.product(&w.in_ed, &t.narrow, &mut t.a)?;
        let part = |start: usize, width: usize| kernels::Rows::part(&t.a, e, start, width);
        let (z, raw_xbc, dt) = (part(0, di), part(di, conv_dim), part(di + conv_dim, shape.heads));
        t.b.resize(m * conv_dim, 0.0);
        kernels::conv_silu(tier, pool, &w.conv, raw_xbc, conv, &mut t.b);
        let heads = SsmWeights { a: &w.a_h, d: &w.d_h, dt_bias: &w.dt_bias_h };
        t.c.resize(m * di, 0.0);
        kernels::ssm_scan(
            tier,
            pool,
            shape,
            heads,
            kernels::Rows::new(&t.b, conv_dim),
            dt,
            ssm_hnp,
            &mut t.c,
        )?;
        let y_m_di = t.wide.begin(m, di);
        kernels::gated_rms_norm(tier, pool, &t.c, z, &w.norm_di, shape.groups, self.sizes.eps, y_m_di);
        t.wide.quantize(tier, pool);
        self.product(&w.out_d_di, &t.wide, &mut t.a)
    }

    /// Grouped-query attention over everything read so far; `narrow` → `a`.
    fn attention(
        &self,
        w: &Attention,
        cache: &mut KvCache,
        at: usize,
        t: &mut Buffers,
    ) -> Result<(), EngineError> {
        let (tier, pool, Sizes { heads, head_dim, attention_scale, .. }) =
            (self.tier, &self.pool, &self.sizes);
        self.product(&w.q_ad, &t.narrow, &mut t.a)?;
        self.product(&w.k_cd, &t.narrow, &mut t.b)?;
        self.product(&w.v_cd, &t.narrow, &mut t.c)?;
        if let Some(table) = &t.rope {
            kernels::rope_norm(pool, table, &mut t.a, *head_dim, *heads, at)?;
            kernels::rope_norm(pool, table, &mut t.b, *head_dim, w.kv_heads, at)?;
        }
        cache.append(&t.b, &t.c)?;
        let y_ma = t.wide.begin(t.narrow.m(), heads * head_dim);
        kernels::attention(tier, pool, &t.a, *heads, cache, *attention_scale, y_ma)?;
        t.wide.quantize(tier, pool);
        self.product(&w.out_da, &t.wide, &mut t.a)
    }

    /// SwiGLU: down(silu(gate·g) · (up·g)); `narrow` → `a`.
    fn ffn(&self, layer: &Layer, t: &mut Buffers) -> Result<(), EngineError> {
        self.product(&layer.gate_fd, &t.narrow, &mut t.b)?;
        self.product(&layer.up_fd, &t.narrow, &mut t.c)?;
        let y_mf = t.wide.begin(t.narrow.m(), self.sizes.d_ff);
        kernels::silu_mul(self.tier, &self.pool, &t.b, &t.c, y_mf);
        t.wide.quantize(self.tier, &self.pool);
        self.product(&layer.down_df, &t.wide, &mut t.a)
    }

    fn logits(&self, x_md: &[f32], h: &mut Activation, out: &mut Vec<f32>) -> Result<(), EngineError> {
        self.norm(x_md, &self.output_norm_d, h);
        self.product(self.head_vd.as_ref().unwrap_or(&self.embedding_vd), h, out)?;
        if self.sizes.logit_scale != 1.0 {
            out.iter_mut().for_each(|v| *v /= self.sizes.logit_scale);
        }
        Ok(())
    }

    /// Makes the table long enough; it doubles, so that a long context costs its cosines only when it is used.
    fn grow_rope(&self, positions: usize, table: &mut Option<RopeTable>) {
        const FIRST: usize = 512;
        let Some(spec) = &self.rope else { return };
        if table.as_ref().is_none_or(|t| t.positions() < positions) {
            let grown = positions.next_power_of_two().max(FIRST);
            *table = Some(RopeTable::new(&spec.inv_freq, spec.magnitude, grown));
        }
    }
}
