//! The yardstick: the whole `granitehybrid` forward pass in plain f32 candle, dequantized weights, no own kernel.
//! Slow and plain on purpose; every kernel of `fast/` is tested against it. Read it from top to bottom:
//!
//! ```text
//! x = E[token] · embedding_scale
//! for each block:   x += residual_scale · mixer(rms(x, attn_norm))          mixer: Mamba-2 or attention
//!                   x += residual_scale · ffn(rms(x, ffn_norm))             ffn(g) = down(silu(gate·g) ⊙ up·g)
//! logits = E · rms(x, output_norm) / logit_scale
//! ```
//!
//! Letters: m tokens, d width, V vocabulary, f FFN width, H heads, P head size, N state size, G groups of Mamba-2, h and c
//! query and key heads of attention, s head size, t tokens read so far, K = 4 taps. A name's suffix is its shape.
use super::rope::RopeSpec;
use super::sequence::{Rows, Saved, save_f32s};
use crate::state::KvPart;
use crate::weights::WeightFile;
use crate::{EngineError, TokenId};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{D, Device, IndexOp, Result, Tensor};
use chimera_gguf::{GgmlType, LayerKind, ModelConfig, ModelError, SsmConfig, ValidModel};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

const CPU: &Device = &Device::Cpu;

pub(super) struct ReferenceNet {
    config: ModelConfig,
    embedding_vd: Tensor,
    head_vd: Tensor,
    output_norm_d: Tensor,
    layers: Vec<Layer>,
    rope: Option<RopeSpec>,
}

struct Layer {
    norm_d: Tensor,
    mixer: Mixer,
    ffn_norm_d: Tensor,
    gate_fd: Tensor,
    up_fd: Tensor,
    down_df: Tensor,
}

enum Mixer {
    Mamba(Box<Mamba>),
    Attention(Box<Attention>),
}

struct Mamba {
    /// Rows z|x|B|C|dt.
    in_ed: Tensor,
    conv_ck: Tensor,
    conv_bias_c: Tensor,
    /// A = -exp(A_log).
    a_h: Tensor,
    d_h: Tensor,
    dt_bias_h: Tensor,
    /// `[G, di/G]`.
    norm_g: Tensor,
    out_d_di: Tensor,
}

struct Attention {
    kv_heads: usize,
    q_ad: Tensor,
    k_cd: Tensor,
    v_cd: Tensor,
    out_da: Tensor,
}

/// What one layer remembers.
enum LayerState {
    /// The last K-1 inputs of the convolution, oldest first, and the recurrent state.
    Mamba { conv_kc: Tensor, ssm_hpn: Tensor },
    /// Keys (turned by RoPE) and values.
    Attention { k_cts: Tensor, v_cts: Tensor },
}

pub(crate) struct ReferenceSequence {
    net: Arc<ReferenceNet>,
    layers: Vec<LayerState>,
    position: usize,
    /// The residual stream of the last read.
    x_md: Option<Tensor>,
}

// --- the forward pass ---

impl ReferenceNet {
    fn forward(&self, tokens: &[TokenId], at: usize, states: &mut [LayerState]) -> Result<Tensor> {
        let c = &self.config;
        let ids = Tensor::new(tokens, CPU)?;
        let mut x_md = (self.embedding_vd.index_select(&ids, 0)? * f64::from(c.embedding_scale))?;
        for (layer, state) in self.layers.iter().zip(states) {
            let h_md = rms(&x_md, &layer.norm_d, c.rms_eps)?;
            let y_md = match &layer.mixer {
                Mixer::Mamba(w) => self.mamba(w, &h_md, state)?,
                Mixer::Attention(w) => self.attention(w, &h_md, at, state)?,
            };
            x_md = (x_md + (y_md * f64::from(c.residual_scale))?)?;
            let g_md = rms(&x_md, &layer.ffn_norm_d, c.rms_eps)?;
            x_md = (x_md + (layer.ffn(&g_md)? * f64::from(c.residual_scale))?)?;
        }
        Ok(x_md)
    }

    fn logits(&self, x_md: &Tensor) -> Result<Tensor> {
        let h_md = rms(x_md, &self.output_norm_d, self.config.rms_eps)?;
        linear(&h_md, &self.head_vd)? / f64::from(self.config.logit_scale)
    }

    /// Mamba-2 (Dao & Gu 2024), as a recurrence over tokens:
    /// `S ← S·exp(Δ·A) + (Δ·x) Bᵀ`, `y = S·C + D·x`, then `out( rms(y ⊙ silu(z)) )`.
    fn mamba(&self, w: &Mamba, h_md: &Tensor, state: &mut LayerState) -> Result<Tensor> {
        let LayerState::Mamba { conv_kc, ssm_hpn } = state else { candle_core::bail!("not a Mamba state") };
        let ssm = &self.config.ssm;
        let (m, di, gn) = (h_md.dim(0)?, ssm.d_inner, ssm.n_group * ssm.d_state);
        let zxbcdt = linear(h_md, &w.in_ed)?;
        let z_m_di = zxbcdt.narrow(1, 0, di)?;
        let raw_mc = zxbcdt.narrow(1, di, di + 2 * gn)?;
        let dt_mh = softplus(&zxbcdt.narrow(1, 2 * di + 2 * gn, ssm.n_head)?.broadcast_add(&w.dt_bias_h)?)?;
        let xbc_mc = conv_silu(w, &raw_mc, conv_kc)?;
        let x_mhp = xbc_mc.narrow(1, 0, di)?.reshape((m, ssm.n_head, ssm.head_dim))?;
        let b_mhn = spread_groups(&xbc_mc.narrow(1, di, gn)?, ssm)?;
        let c_mhn = spread_groups(&xbc_mc.narrow(1, di + gn, gn)?, ssm)?;
        let mut rows = Vec::with_capacity(m);
        for t in 0..m {
            let (x_hp, dt_h) = (x_mhp.i(t)?, dt_mh.i(t)?);
            let decay_h11 = (&dt_h * &w.a_h)?.exp()?.reshape((ssm.n_head, 1, 1))?;
            let dtx_hp1 = x_hp.broadcast_mul(&dt_h.unsqueeze(1)?)?.unsqueeze(2)?;
            let write_hpn = dtx_hp1.broadcast_mul(&b_mhn.i(t)?.unsqueeze(1)?)?;
            *ssm_hpn = (ssm_hpn.broadcast_mul(&decay_h11)? + write_hpn)?;
            let read_hp = ssm_hpn.broadcast_mul(&c_mhn.i(t)?.unsqueeze(1)?)?.sum(D::Minus1)?;
            let y_hp = (read_hp + x_hp.broadcast_mul(&w.d_h.unsqueeze(1)?)?)?;
            rows.push(y_hp.flatten_all()?);
        }
        let gated = (Tensor::stack(&rows, 0)? * z_m_di.silu()?)?;
        let gated_mg = gated.reshape((m, ssm.n_group, di / ssm.n_group))?;
        linear(&rms(&gated_mg, &w.norm_g, self.config.rms_eps)?.reshape((m, di))?, &w.out_d_di)
    }

    /// Grouped-query attention: `softmax(scale · q kᵀ + causal) v`, RoPE on q and k unless the model has none.
    fn attention(&self, w: &Attention, h_md: &Tensor, at: usize, state: &mut LayerState) -> Result<Tensor> {
        let LayerState::Attention { k_cts, v_cts } = state else {
            candle_core::bail!("not an attention state")
        };
        let (heads, size, m) = (self.config.n_head, self.config.head_dim, h_md.dim(0)?);
        let split = |w: &Tensor, heads: usize| {
            linear(h_md, w)?.reshape((m, heads, size))?.transpose(0, 1)?.contiguous()
        };
        let q_hms = self.rotate(&split(&w.q_ad, heads)?, at)?;
        let k_cms = self.rotate(&split(&w.k_cd, w.kv_heads)?, at)?;
        *k_cts = Tensor::cat(&[&*k_cts, &k_cms], 1)?;
        *v_cts = Tensor::cat(&[&*v_cts, &split(&w.v_cd, w.kv_heads)?], 1)?;
        let (k_hts, v_hts) = (repeat_heads(k_cts, heads)?, repeat_heads(v_cts, heads)?);
        let scores =
            (q_hms.matmul(&k_hts.transpose(1, 2)?.contiguous()?)? * f64::from(self.config.attention_scale))?;
        let p_hmt = softmax(&scores.broadcast_add(&causal_mask(m, at)?)?)?;
        let y_ma = p_hmt.matmul(&v_hts)?.transpose(0, 1)?.reshape((m, heads * size))?;
        linear(&y_ma, &w.out_da)
    }

    /// RoPE, GGUF's NORM type: the pair (2j, 2j+1) turns by `position · inv_freq[j]`.
    fn rotate(&self, x_hms: &Tensor, at: usize) -> Result<Tensor> {
        let Some(rope) = &self.rope else { return Ok(x_hms.clone()) };
        let (heads, m, size) = x_hms.dims3()?;
        let pairs = rope.inv_freq.len();
        let turned = x_hms.narrow(2, 0, 2 * pairs)?.reshape((heads, m, pairs, 2))?;
        let (even, odd) = (turned.i((.., .., .., 0))?, turned.i((.., .., .., 1))?);
        let angles = (at..at + m).flat_map(|p| rope.inv_freq.iter().map(move |f| p as f64 * f));
        let (sin, cos): (Vec<f32>, Vec<f32>) =
            angles.map(|a| ((a.sin() * rope.magnitude) as f32, (a.cos() * rope.magnitude) as f32)).unzip();
        let (sin, cos) = (Tensor::from_vec(sin, (m, pairs), CPU)?, Tensor::from_vec(cos, (m, pairs), CPU)?);
        let first = (even.broadcast_mul(&cos)? - odd.broadcast_mul(&sin)?)?;
        let second = (even.broadcast_mul(&sin)? + odd.broadcast_mul(&cos)?)?;
        let turned = Tensor::stack(&[first, second], 3)?.reshape((heads, m, 2 * pairs))?;
        match size - 2 * pairs {
            0 => Ok(turned),
            rest => Tensor::cat(&[turned, x_hms.narrow(2, 2 * pairs, rest)?], 2),
        }
    }
}

impl Layer {
    fn ffn(&self, g_md: &Tensor) -> Result<Tensor> {
        let hidden_mf = (linear(g_md, &self.gate_fd)?.silu()? * linear(g_md, &self.up_fd)?)?;
        linear(&hidden_mf, &self.down_df)
    }
}

/// Causal depthwise convolution, tap K-1 on the current token, then silu; `conv_kc` moves on to the newest K-1 inputs.
fn conv_silu(w: &Mamba, raw_mc: &Tensor, conv_kc: &mut Tensor) -> Result<Tensor> {
    let (m, taps) = (raw_mc.dim(0)?, w.conv_ck.dim(1)?);
    let padded = Tensor::cat(&[&*conv_kc, raw_mc], 0)?;
    let mut sum = w.conv_bias_c.broadcast_as(raw_mc.shape())?.contiguous()?;
    for k in 0..taps {
        sum = (sum + padded.narrow(0, k, m)?.broadcast_mul(&w.conv_ck.i((.., k))?)?)?;
    }
    *conv_kc = padded.narrow(0, m, taps - 1)?.contiguous()?;
    sum.silu()
}

/// `[m, G·N]` → `[m, H, N]`: head h reads group h / (H/G).
fn spread_groups(x: &Tensor, ssm: &SsmConfig) -> Result<Tensor> {
    let (m, per_group) = (x.dim(0)?, ssm.n_head / ssm.n_group);
    let grouped = x.reshape((m, ssm.n_group, 1, ssm.d_state))?;
    grouped.broadcast_as((m, ssm.n_group, per_group, ssm.d_state))?.reshape((m, ssm.n_head, ssm.d_state))
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

/// ln(1 + eˣ) = max(x, 0) + ln(1 + e^-|x|), which cannot overflow.
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}

// --- weights ---

impl ReferenceNet {
    pub fn new(file: &WeightFile, valid: &ValidModel) -> std::result::Result<Self, EngineError> {
        let source = Source { file, valid };
        let config = valid.config.clone();
        let embedding_vd = source.tensor("token_embd.weight")?;
        let head_vd =
            if config.tied_embedding { embedding_vd.clone() } else { source.tensor("output.weight")? };
        let layers = config.layers.iter().enumerate().map(|(i, kind)| source.layer(i, *kind));
        let factors = match config.rope.as_ref().filter(|r| r.has_freq_factors) {
            Some(_) => source.tensor("rope_freqs.weight")?.to_vec1::<f32>()?,
            None => Vec::new(),
        };
        Ok(Self {
            layers: layers.collect::<std::result::Result<_, _>>()?,
            output_norm_d: source.tensor("output_norm.weight")?,
            rope: config.rope.as_ref().map(|rope| RopeSpec::new(rope, &factors)),
            embedding_vd,
            head_vd,
            config,
        })
    }
}

struct Source<'a> {
    file: &'a WeightFile,
    valid: &'a ValidModel,
}

impl Source<'_> {
    /// Dequantized by candle. Dimensions turn around: GGUF names the fastest first.
    fn tensor(&self, name: &str) -> std::result::Result<Tensor, EngineError> {
        let Some(info) = self.valid.gguf.tensor(name) else {
            let reason = ModelError::MissingTensor { name: name.to_owned() };
            return Err(EngineError::ModelInvalid { path: self.file.path().to_owned(), reason });
        };
        let unsupported =
            || EngineError::UnsupportedType { tensor: name.to_owned(), dtype: info.dtype.name().to_owned() };
        let dtype = candle_type(info.dtype).ok_or_else(unsupported)?;
        let dims: Vec<usize> = info.dims.iter().rev().copied().collect();
        let storage = QStorage::from_data(Cow::Borrowed(self.file.data(info)), CPU, dtype)?;
        Ok(QTensor::new(storage, dims)?.dequantize(CPU)?)
    }

    fn flat(&self, name: &str) -> std::result::Result<Tensor, EngineError> {
        Ok(self.tensor(name)?.flatten_all()?)
    }

    fn layer(&self, i: usize, kind: LayerKind) -> std::result::Result<Layer, EngineError> {
        let tensor = |part: &str| self.tensor(&format!("blk.{i}.{part}"));
        let mixer = match kind {
            LayerKind::Mamba => Mixer::Mamba(Box::new(self.mamba(i)?)),
            LayerKind::Attention { n_kv } => Mixer::Attention(Box::new(Attention {
                kv_heads: n_kv,
                q_ad: tensor("attn_q.weight")?,
                k_cd: tensor("attn_k.weight")?,
                v_cd: tensor("attn_v.weight")?,
                out_da: tensor("attn_output.weight")?,
            })),
        };
        Ok(Layer {
            norm_d: tensor("attn_norm.weight")?,
            mixer,
            ffn_norm_d: tensor("ffn_norm.weight")?,
            gate_fd: tensor("ffn_gate.weight")?,
            up_fd: tensor("ffn_up.weight")?,
            down_df: tensor("ffn_down.weight")?,
        })
    }

    fn mamba(&self, i: usize) -> std::result::Result<Mamba, EngineError> {
        let name = |part: &str| format!("blk.{i}.{part}");
        let ssm = &self.valid.config.ssm;
        Ok(Mamba {
            in_ed: self.tensor(&name("ssm_in.weight"))?,
            conv_ck: self.tensor(&name("ssm_conv1d.weight"))?,
            conv_bias_c: self.tensor(&name("ssm_conv1d.bias"))?,
            a_h: self.flat(&name("ssm_a"))?,
            d_h: self.flat(&name("ssm_d"))?,
            dt_bias_h: self.tensor(&name("ssm_dt.bias"))?,
            norm_g: self.flat(&name("ssm_norm.weight"))?.reshape((ssm.n_group, ssm.d_inner / ssm.n_group))?,
            out_d_di: self.tensor(&name("ssm_out.weight"))?,
        })
    }
}

fn candle_type(dtype: GgmlType) -> Option<GgmlDType> {
    Some(match dtype {
        GgmlType::F32 => GgmlDType::F32,
        GgmlType::F16 => GgmlDType::F16,
        GgmlType::Bf16 => GgmlDType::BF16,
        GgmlType::Q4_0 => GgmlDType::Q4_0,
        GgmlType::Q4_1 => GgmlDType::Q4_1,
        GgmlType::Q5_0 => GgmlDType::Q5_0,
        GgmlType::Q5_1 => GgmlDType::Q5_1,
        GgmlType::Q8_0 => GgmlDType::Q8_0,
        GgmlType::Q2K => GgmlDType::Q2K,
        GgmlType::Q3K => GgmlDType::Q3K,
        GgmlType::Q4K => GgmlDType::Q4K,
        GgmlType::Q5K => GgmlDType::Q5K,
        GgmlType::Q6K => GgmlDType::Q6K,
        _ => return None,
    })
}

// --- one sequence ---

impl ReferenceSequence {
    pub(in crate::model) fn new(net: Arc<ReferenceNet>) -> std::result::Result<Self, EngineError> {
        let layers = net.layers.iter().map(|layer| LayerState::new(&net.config, &layer.mixer));
        let layers = layers.collect::<Result<_>>()?;
        Ok(Self { net, layers, position: 0, x_md: None })
    }
}

impl LayerState {
    fn new(config: &ModelConfig, mixer: &Mixer) -> Result<Self> {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, CPU);
        let ssm = &config.ssm;
        Ok(match mixer {
            Mixer::Mamba(_) => LayerState::Mamba {
                conv_kc: zeros(&[ssm.conv_kernel - 1, ssm.conv_dim()])?,
                ssm_hpn: zeros(&[ssm.n_head, ssm.head_dim, ssm.d_state])?,
            },
            Mixer::Attention(w) => LayerState::Attention {
                k_cts: zeros(&[w.kv_heads, 0, config.head_dim])?,
                v_cts: zeros(&[w.kv_heads, 0, config.head_dim])?,
            },
        })
    }

    fn tensors(&self) -> [&Tensor; 2] {
        match self {
            LayerState::Mamba { conv_kc, ssm_hpn } => [conv_kc, ssm_hpn],
            LayerState::Attention { k_cts, v_cts } => [k_cts, v_cts],
        }
    }

    fn is_kv(&self) -> bool {
        matches!(self, LayerState::Attention { .. })
    }

    fn tensors_mut(&mut self) -> [&mut Tensor; 2] {
        match self {
            LayerState::Mamba { conv_kc, ssm_hpn } => [conv_kc, ssm_hpn],
            LayerState::Attention { k_cts, v_cts } => [k_cts, v_cts],
        }
    }
}

impl ReferenceSequence {
    pub fn read(&mut self, tokens: &[TokenId], rows: Rows) -> std::result::Result<(), EngineError> {
        let x_md = self.net.forward(tokens, self.position, &mut self.layers)?;
        self.x_md = Some(match rows {
            Rows::All => x_md,
            Rows::Last => x_md.narrow(0, x_md.dim(0)? - 1, 1)?,
        });
        self.position += tokens.len();
        Ok(())
    }

    pub fn logits(&self, out: &mut Vec<f32>) -> std::result::Result<(), EngineError> {
        let Some(x_md) = &self.x_md else { return Err(EngineError::EmptyPrompt) };
        *out = self.net.logits(x_md)?.flatten_all()?.to_vec1()?;
        Ok(())
    }

    pub fn save_fixed(&self, out: &mut Vec<u8>) -> std::result::Result<(), EngineError> {
        if let Some(x_md) = &self.x_md {
            save_f32s(&x_md.i(x_md.dim(0)? - 1)?.to_vec1::<f32>()?, out);
        }
        for tensor in self.layers.iter().filter(|l| !l.is_kv()).flat_map(LayerState::tensors) {
            save_f32s(&tensor.flatten_all()?.to_vec1::<f32>()?, out);
        }
        Ok(())
    }

    pub fn save_kv(
        &self,
        positions: Range<usize>,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), EngineError> {
        for tensor in self.layers.iter().filter(|l| l.is_kv()).flat_map(LayerState::tensors) {
            let part = tensor.narrow(1, positions.start, positions.len())?;
            save_f32s(&part.flatten_all()?.to_vec1::<f32>()?, out);
        }
        Ok(())
    }

    pub fn load(&mut self, fixed: &[u8], kv: &[KvPart]) -> std::result::Result<(), EngineError> {
        let mut saved = Saved(fixed);
        let d = self.net.config.d_model;
        self.x_md = Some(load_tensor(&mut saved, &[1, d])?);
        for tensor in self.layers.iter_mut().filter(|l| !l.is_kv()).flat_map(LayerState::tensors_mut) {
            *tensor = load_tensor(&mut saved, tensor.dims())?;
        }
        saved.finish()?;
        let mut parts: Vec<Saved<'_>> = kv.iter().map(|part| Saved(part.bytes())).collect();
        for tensor in self.layers.iter_mut().filter(|l| l.is_kv()).flat_map(LayerState::tensors_mut) {
            let (heads, head_dim) = (tensor.dim(0)?, tensor.dim(2)?);
            let read = |(saved, part): (&mut Saved<'_>, &KvPart)| {
                load_tensor(saved, &[heads, part.positions(), head_dim])
            };
            let pieces = parts.iter_mut().zip(kv).map(read).collect::<std::result::Result<Vec<_>, _>>()?;
            *tensor = Tensor::cat(&pieces, 1)?;
        }
        self.position = kv.iter().map(KvPart::positions).sum();
        parts.into_iter().try_for_each(Saved::finish)
    }
}

fn load_tensor(saved: &mut Saved<'_>, dims: &[usize]) -> std::result::Result<Tensor, EngineError> {
    let mut values = vec![0.0; dims.iter().product()];
    saved.f32s(&mut values)?;
    Ok(Tensor::from_vec(values, dims, CPU)?)
}
