//! From a path to a [`Model`]: map, validate, then tokenizer and weights at the same time.
use super::fast::{Attention, FastNet, Layer, Mamba, Mixer, Sizes};
use super::reference::ReferenceNet;
use super::rope::RopeSpec;
use super::{Model, Net};
use crate::kernels::{ConvWeights, CpuTier, KernelError, KvType, PackedMatrix, Pool, SsmShape, WeightType};
use crate::template::{DOCUMENT_END, TURN_END, TURN_START};
use crate::weights::WeightFile;
use crate::{Backend, EngineError, LoadOptions, ModelInfo, TokenId, Tokenizer};
use chimera_gguf::{GgmlType, LayerKind, ModelConfig, TensorInfo, TokenizerData, ValidModel};
use std::path::Path;
use std::sync::Arc;

impl Model {
    /// Maps, validates and packs the file. Weights and tokenizer are prepared in parallel.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Arc<Model>, EngineError> {
        let tier = choose_tier(options)?;
        let file = Arc::new(WeightFile::open(path)?);
        let valid = file.validate()?;
        let threads = if options.threads == 0 { physical_cores() } else { options.threads };
        let source = Source { file: &file, valid: &valid };
        let (tokenizer, net) = std::thread::scope(|scope| {
            let tokenizer = scope.spawn(|| Tokenizer::new(&valid.tokenizer));
            let net = match options.backend {
                Backend::Fast => source.fast(tier, threads).map(|net| Net::Fast(Arc::new(net))),
                Backend::Reference => {
                    ReferenceNet::new(&file, &valid).map(|net| Net::Reference(Arc::new(net)))
                }
            };
            // A panic over there is a panic here, as if it were one thread.
            (tokenizer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), net)
        });
        let (tokenizer, net) = (tokenizer?, net?);
        file.release();
        let stop_ids = stop_ids(&valid.tokenizer, &tokenizer);
        let info = info(path, &file, &valid, tier, threads);
        Ok(Arc::new(Model { info, tokenizer, file, net, stop_ids }))
    }
}

fn info(path: &Path, file: &WeightFile, valid: &ValidModel, tier: CpuTier, threads: usize) -> ModelInfo {
    let stem = || path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    ModelInfo {
        name: valid.config.name.clone().unwrap_or_else(stem),
        file_bytes: file.len(),
        parameters: valid.gguf.parameters(),
        context_length: valid.config.context_length,
        vocab_size: valid.config.vocab_size,
        quantization: main_type(valid).name().to_owned(),
        cpu_tier: tier.name().to_owned(),
        threads,
    }
}

/// The type of most weights inside the blocks.
fn main_type(valid: &ValidModel) -> GgmlType {
    let elements = |dtype: GgmlType| -> usize {
        let blocks = valid.gguf.tensors().iter().filter(|t| t.name.starts_with("blk.") && t.dtype == dtype);
        blocks.map(TensorInfo::elements).sum()
    };
    GgmlType::ALL.iter().copied().max_by_key(|t| elements(*t)).unwrap_or(GgmlType::F32)
}

/// `options`, else `CHIMERA_CPU`, else the best.
fn choose_tier(options: &LoadOptions) -> Result<CpuTier, EngineError> {
    let asked =
        options.cpu_tier.clone().or_else(|| std::env::var("CHIMERA_CPU").ok().filter(|v| !v.is_empty()));
    let Some(name) = asked else { return Ok(CpuTier::detect()) };
    match CpuTier::from_name(&name) {
        Some(tier) if tier.is_supported() => Ok(tier),
        Some(_) => Err(EngineError::CpuTierUnavailable { name }),
        None => Err(EngineError::UnknownCpuTier { name }),
    }
}

/// Two threads of one core share its multipliers, so more threads than cores only contend; a container may allow fewer.
fn physical_cores() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    num_cpus::get_physical().clamp(1, allowed)
}

/// What the file names as an end, and what ends a turn or a document by the template.
fn stop_ids(data: &TokenizerData, tokenizer: &Tokenizer) -> Vec<TokenId> {
    let named = [TURN_END, DOCUMENT_END, TURN_START].into_iter().filter_map(|text| tokenizer.control(text));
    [data.eos, data.eot].into_iter().flatten().chain(named).collect()
}

/// A validated file, as a source of packed tensors.
struct Source<'a> {
    file: &'a WeightFile,
    valid: &'a ValidModel,
}

impl Source<'_> {
    fn fast(&self, tier: CpuTier, threads: usize) -> Result<FastNet, EngineError> {
        let config = &self.valid.config;
        let pool = Pool::new(threads);
        let matrix = |name: &str| self.matrix(name, tier, &pool);
        let layers = config.layers.iter().enumerate().map(|(i, kind)| self.layer(i, *kind, &matrix));
        let layers = layers.collect::<Result<_, _>>()?;
        let embedding_vd = matrix("token_embd.weight")?;
        let head_vd = (!config.tied_embedding).then(|| matrix("output.weight")).transpose()?;
        Ok(FastNet {
            tier,
            sizes: sizes(config, main_type(self.valid)),
            embedding_vd,
            head_vd,
            output_norm_d: self.vector("output_norm.weight"),
            layers,
            rope: self.rope(),
            pool,
        })
    }

    fn rope(&self) -> Option<RopeSpec> {
        let rope = self.valid.config.rope.as_ref()?;
        Some(RopeSpec::new(rope, &self.vector("rope_freqs.weight")))
    }

    fn layer(&self, i: usize, kind: LayerKind, matrix: &MatrixOf<'_>) -> Result<Layer, EngineError> {
        let name = |part: &str| format!("blk.{i}.{part}");
        let mixer = match kind {
            LayerKind::Mamba => Mixer::Mamba(Box::new(self.mamba(&name, matrix)?)),
            LayerKind::Attention { n_kv } => Mixer::Attention(Box::new(Attention {
                kv_heads: n_kv,
                q_ad: matrix(&name("attn_q.weight"))?,
                k_cd: matrix(&name("attn_k.weight"))?,
                v_cd: matrix(&name("attn_v.weight"))?,
                out_da: matrix(&name("attn_output.weight"))?,
            })),
        };
        Ok(Layer {
            norm_d: self.vector(&name("attn_norm.weight")),
            mixer,
            ffn_norm_d: self.vector(&name("ffn_norm.weight")),
            gate_fd: matrix(&name("ffn_gate.weight"))?,
            up_fd: matrix(&name("ffn_up.weight"))?,
            down_df: matrix(&name("ffn_down.weight"))?,
        })
    }

    fn mamba(&self, name: &dyn Fn(&str) -> String, matrix: &MatrixOf<'_>) -> Result<Mamba, EngineError> {
        let (taps, bias) = (self.vector(&name("ssm_conv1d.weight")), self.vector(&name("ssm_conv1d.bias")));
        Ok(Mamba {
            in_ed: matrix(&name("ssm_in.weight"))?,
            conv: ConvWeights::new(&taps, &bias)?,
            a_h: self.vector(&name("ssm_a")),
            d_h: self.vector(&name("ssm_d")),
            dt_bias_h: self.vector(&name("ssm_dt.bias")),
            norm_di: self.vector(&name("ssm_norm.weight")),
            out_d_di: matrix(&name("ssm_out.weight"))?,
        })
    }

    /// An F32 tensor's values; empty if the file does not have it (validation has asked for all that must be there).
    fn vector(&self, name: &str) -> Vec<f32> {
        let bytes = self.valid.gguf.tensor(name).map_or(&[][..], |t| self.file.data(t));
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn matrix(&self, name: &str, tier: CpuTier, pool: &Pool) -> Result<PackedMatrix, EngineError> {
        let Some(tensor) = self.valid.gguf.tensor(name) else {
            let reason = chimera_gguf::ModelError::MissingTensor { name: name.to_owned() };
            return Err(EngineError::ModelInvalid { path: self.file.path().to_owned(), reason });
        };
        let (cols, rows) = (tensor.dims[0], tensor.dims.iter().skip(1).product());
        let dtype = weight_type(tensor)?;
        let packed = PackedMatrix::pack(dtype, rows, cols, self.file.data(tensor), tier, pool);
        // At no time does more than one tensor lie in memory twice.
        self.file.release();
        packed.map_err(|source| match source {
            KernelError::OutOfMemory { bytes } => EngineError::OutOfMemory { bytes },
            source => EngineError::UnsupportedShape { tensor: name.to_owned(), source },
        })
    }
}

type MatrixOf<'a> = dyn Fn(&str) -> Result<PackedMatrix, EngineError> + 'a;

/// Every matrix is of a type that the fast backend has a kernel for; the first that is not, else `Ok`.
pub fn check_types(model: &ValidModel) -> Result<(), EngineError> {
    model
        .gguf
        .tensors()
        .iter()
        .filter(|tensor| tensor.dims.len() > 1)
        .try_for_each(|t| weight_type(t).map(drop))
}

fn weight_type(tensor: &TensorInfo) -> Result<WeightType, EngineError> {
    match tensor.dtype {
        GgmlType::F32 => Ok(WeightType::F32),
        GgmlType::F16 => Ok(WeightType::F16),
        GgmlType::Bf16 => Ok(WeightType::Bf16),
        GgmlType::Q4_0 => Ok(WeightType::Q4_0),
        GgmlType::Q8_0 => Ok(WeightType::Q8_0),
        GgmlType::Q6K => Ok(WeightType::Q6K),
        other => {
            Err(EngineError::UnsupportedType { tensor: tensor.name.clone(), dtype: other.name().to_owned() })
        }
    }
}

fn sizes(config: &ModelConfig, main_type: GgmlType) -> Sizes {
    let ssm = &config.ssm;
    Sizes {
        d_model: config.d_model,
        d_ff: config.d_ff,
        heads: config.n_head,
        head_dim: config.head_dim,
        ssm: SsmShape { heads: ssm.n_head, head_dim: ssm.head_dim, state: ssm.d_state, groups: ssm.n_group },
        eps: config.rms_eps,
        attention_scale: config.attention_scale,
        embedding_scale: config.embedding_scale,
        residual_scale: config.residual_scale,
        logit_scale: config.logit_scale,
        // Rounding keys to f16 would dominate the error of an f32 model, and is lost in that of any other.
        kv_type: if main_type == GgmlType::F32 { KvType::F32 } else { KvType::F16 },
    }
}
