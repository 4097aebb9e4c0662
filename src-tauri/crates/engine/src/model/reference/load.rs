//! Weights, dequantized by candle.
use super::super::rope::RopeSpec;
use super::attention::{Attention, Projection};
use super::ffn::{Experts, Ffn, Gated};
use super::mamba::Mamba;
use super::{Block, CPU, Part, ReferenceNet};
use crate::EngineError;
use crate::weights::WeightFile;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, IndexOp, Tensor};
use chimera_gguf::{Ffn as FfnConfig, GgmlType, Mixer, ModelError, SsmConfig, ValidModel};
use std::borrow::Cow;

type Result<T> = std::result::Result<T, EngineError>;

impl ReferenceNet {
    pub fn new(file: &WeightFile, valid: &ValidModel) -> Result<Self> {
        let source = Source { file, valid };
        let config = valid.config.clone();
        let embedding_vd = source.tensor("token_embd.weight")?;
        let head_vd =
            if config.tied_embedding { embedding_vd.clone() } else { source.tensor("output.weight")? };
        let factors = match config.rope.as_ref().filter(|r| r.has_freq_factors) {
            Some(_) => source.tensor("rope_freqs.weight")?.to_vec1::<f32>()?,
            None => Vec::new(),
        };
        Ok(Self {
            blocks: source.blocks()?,
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
    /// Dimensions turn around: GGUF names the fastest first.
    fn tensor(&self, name: &str) -> Result<Tensor> {
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

    fn optional(&self, name: &str) -> Result<Option<Tensor>> {
        self.valid.gguf.tensor(name).map(|_| self.tensor(name)).transpose()
    }

    fn blocks(&self) -> Result<Vec<Block>> {
        let config = &self.valid.config;
        let mut blocks = Vec::new();
        for (i, block) in config.layers.iter().enumerate() {
            let layer = Layer { source: self, i };
            if let Some(mixer) = block.mixer {
                blocks.push(Block { norm_d: layer.tensor("attn_norm.weight")?, part: layer.mixing(mixer)? });
            }
            if let Some(ffn) = block.ffn {
                let part = Part { mamba: None, attention: None, ffn: Some(layer.ffn(ffn)?) };
                blocks.push(Block { norm_d: self.tensor(&config.family.ffn_norm(i))?, part });
            }
        }
        Ok(blocks)
    }
}

struct Layer<'a> {
    source: &'a Source<'a>,
    i: usize,
}

impl Layer<'_> {
    fn name(&self, part: &str) -> String {
        format!("blk.{}.{part}", self.i)
    }

    fn tensor(&self, part: &str) -> Result<Tensor> {
        self.source.tensor(&self.name(part))
    }

    fn flat(&self, part: &str) -> Result<Tensor> {
        Ok(self.tensor(part)?.flatten_all()?)
    }

    fn mixing(&self, mixer: Mixer) -> Result<Part> {
        let ssm = self.source.valid.config.ssm.filter(|_| mixer.has_mamba());
        Ok(Part {
            mamba: ssm.map(|ssm| self.mamba(ssm)).transpose()?,
            attention: mixer.n_kv().map(|n_kv| self.attention(n_kv)).transpose()?,
            ffn: None,
        })
    }

    fn attention(&self, kv_heads: usize) -> Result<Attention> {
        let config = &self.source.valid.config;
        let projection = |part: &str| {
            let bias = self.source.optional(&self.name(&format!("{part}.bias")))?;
            Ok::<_, EngineError>(Projection { weight: self.tensor(&format!("{part}.weight"))?, bias })
        };
        Ok(Attention {
            heads: config.n_head,
            kv_heads,
            head_dim: config.head_dim,
            scale: config.attention_scale,
            q: projection("attn_q")?,
            k: projection("attn_k")?,
            v: projection("attn_v")?,
            out: projection("attn_output")?,
        })
    }

    fn mamba(&self, ssm: SsmConfig) -> Result<Mamba> {
        let conv_bias = self.source.optional(&self.name("ssm_conv1d.bias"))?;
        let norm = self.source.optional(&self.name("ssm_norm.weight"))?;
        let by_group = |norm: Tensor| norm.flatten_all()?.reshape((ssm.n_group, ssm.d_inner / ssm.n_group));
        Ok(Mamba {
            ssm,
            in_ed: self.tensor("ssm_in.weight")?,
            conv_ck: self.tensor("ssm_conv1d.weight")?,
            conv_bias_c: conv_bias.map_or_else(|| Tensor::zeros(ssm.conv_dim(), DType::F32, CPU), Ok)?,
            a_h: self.flat("ssm_a")?,
            d_h: self.flat("ssm_d")?,
            dt_bias_h: self.tensor("ssm_dt.bias")?,
            norm_g: norm.map(by_group).transpose()?,
            out_d_di: self.tensor("ssm_out.weight")?,
        })
    }

    fn ffn(&self, ffn: FfnConfig) -> Result<Ffn> {
        Ok(match ffn {
            FfnConfig::Gated { .. } => Ffn::Gated(self.gated("")?),
            FfnConfig::Squared { .. } => Ffn::Squared {
                up_fd: self.tensor("ffn_up.weight")?,
                down_df: self.tensor("ffn_down.weight")?,
            },
            FfnConfig::Experts { used, shared, .. } => Ffn::Experts(Experts {
                used,
                router_xd: self.tensor("ffn_gate_inp.weight")?,
                experts: self.experts()?,
                shared: (shared > 0).then(|| self.gated("_shexp")).transpose()?,
            }),
        })
    }

    fn gated(&self, suffix: &str) -> Result<Gated> {
        let tensor = |part: &str| self.tensor(&format!("{part}{suffix}.weight"));
        Ok(Gated { gate_fd: tensor("ffn_gate")?, up_fd: tensor("ffn_up")?, down_df: tensor("ffn_down")? })
    }

    /// The stacks `[x, rows, columns]`, taken apart.
    fn experts(&self) -> Result<Vec<Gated>> {
        let stacks = self.gated("_exps")?;
        let one = |x: usize| {
            let (gate_fd, up_fd, down_df) = (stacks.gate_fd.i(x)?, stacks.up_fd.i(x)?, stacks.down_df.i(x)?);
            Ok(Gated { gate_fd, up_fd, down_df })
        };
        (0..stacks.gate_fd.dim(0)?).map(one).collect()
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
