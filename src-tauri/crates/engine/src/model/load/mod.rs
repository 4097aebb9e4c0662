//! From a path to a [`Model`]: map, validate, then tokenizer and weights at the same time.
mod blocks;
mod estimate;
mod source;

pub(super) use estimate::state_bytes;
pub use source::check_types;

use super::reference::ReferenceNet;
use super::{Model, Net};
use crate::kernels::CpuTier;
use crate::memory;
use crate::template::{PromptFormat, TURN_START};
use crate::tokenizer::ENDS;
use crate::weights::WeightFile;
use crate::{Backend, EngineError, LoadOptions, ModelInfo, TokenId, Tokenizer};
use chimera_gguf::{GgmlType, TensorInfo, TokenizerData, ValidModel};
use source::Source;
use std::path::Path;
use std::sync::Arc;

impl Model {
    /// Maps, validates and packs the file. Weights and tokenizer are prepared in parallel.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Arc<Model>, EngineError> {
        let tier = choose_tier(options)?;
        let file = Arc::new(WeightFile::open(path)?);
        let valid = file.validate()?;
        memory::check(estimate::estimate(&valid, options, 0)?.total(), options.memory_limit)?;
        let threads = threads(options);
        let (tokenizer, net) = std::thread::scope(|scope| {
            let tokenizer = scope.spawn(|| Tokenizer::new(&valid.tokenizer));
            let net = match options.backend {
                Backend::Fast => {
                    let source = Source::new(&file, &valid, tier, threads);
                    source.and_then(blocks::net).map(|net| Net::Fast(Arc::new(net)))
                }
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
        let prompt_format = PromptFormat::new(valid.tokenizer.chat_template.as_deref());
        let info = info(path, &file, &valid, tier, threads);
        Ok(Arc::new(Model { info, tokenizer, prompt_format, file, net, stop_ids }))
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

fn threads(options: &LoadOptions) -> usize {
    if options.threads == 0 { physical_cores() } else { options.threads }
}

/// Two threads of one core share its multipliers, so more threads than cores only contend; a container may allow fewer.
fn physical_cores() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    num_cpus::get_physical().clamp(1, allowed)
}

/// What the file names as an end, what ends a turn or a document in any family, and what begins another turn.
fn stop_ids(data: &TokenizerData, tokenizer: &Tokenizer) -> Vec<TokenId> {
    let named = ENDS.into_iter().chain([TURN_START]).filter_map(|text| tokenizer.control(text));
    [data.eos, data.eot].into_iter().flatten().chain(named).collect()
}
