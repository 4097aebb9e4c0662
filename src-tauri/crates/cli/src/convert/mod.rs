//! `chimera convert`: a Transformers directory → a float GGUF of architecture `granitehybrid`.
mod config;
mod error;
mod json;
mod metadata;
mod plan;
mod rope;
mod tokenizer;
mod weights;

pub use error::{CheckpointError, TokenizerFault};

use crate::error::CliError;
use crate::gguf_io::{self, NewFile};
use crate::interrupt::Stoppable;
use chimera_gguf::{GgmlType, Writer};
use config::Config;
use plan::{Planned, Source};
use std::path::Path;
use tokenizer::Tokenizer;
use weights::Weights;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FloatType {
    F16,
    F32,
    Bf16,
}

impl FloatType {
    const fn ggml(self) -> GgmlType {
        match self {
            Self::F16 => GgmlType::F16,
            Self::F32 => GgmlType::F32,
            Self::Bf16 => GgmlType::Bf16,
        }
    }

    /// `general.file_type`, llama.cpp's number for "mostly this type".
    const fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Bf16 => 32,
        }
    }
}

/// The informational keys.
pub struct General {
    pub name: String,
    pub license: Option<String>,
    pub languages: Vec<String>,
    pub parameters: u64,
}

/// Converts `dir`; the file at `out` appears whole, and only after it passed our own strict parser.
pub fn run(dir: &Path, out: &Path, dtype: FloatType, mut general: General) -> Result<(), CliError> {
    let at_dir = |source| CliError::checkpoint(dir, source);
    let config = Config::read(dir).map_err(at_dir)?;
    let tokenizer = Tokenizer::read(dir, config.vocab_size).map_err(at_dir)?;
    let mut weights = Weights::open(dir).map_err(at_dir)?;
    let plan = plan::plan(&config);
    plan::check(&plan, &weights).map_err(at_dir)?;
    general.parameters = plan.iter().map(|p| p.dims.iter().product::<usize>() as u64).sum();

    let mut writer = Writer::new();
    let written = |source| CliError::write_gguf(out, source);
    metadata::write(&mut writer, &config, &tokenizer, &general, dtype).map_err(written)?;
    for planned in &plan {
        writer.tensor(&planned.name, &planned.dims, dtype_of(planned, dtype)).map_err(written)?;
    }
    let stoppable = Stoppable::begin();
    let mut file = NewFile::create(out)?;
    let mut data = writer.write_header(file.writer()).map_err(written)?;
    for planned in &plan {
        stoppable.check()?;
        let values = read(planned, &mut weights).map_err(at_dir)?;
        let bytes = gguf_io::encode_floats(&values, dtype_of(planned, dtype))
            .map_err(|bad| at_dir(out_of_range(planned, bad, dtype)))?;
        data.tensor(&planned.name, &bytes).map_err(written)?;
    }
    data.finish().map_err(written)?;
    gguf_io::load(file.path())?;
    file.publish()
}

fn dtype_of(planned: &Planned, dtype: FloatType) -> GgmlType {
    if planned.is_matrix { dtype.ggml() } else { GgmlType::F32 }
}

fn out_of_range(planned: &Planned, value: f32, dtype: FloatType) -> CheckpointError {
    CheckpointError::OutOfRange { tensor: planned.name.clone(), value, dtype: dtype.ggml().name() }
}

fn read(planned: &Planned, weights: &mut Weights) -> Result<Vec<f32>, CheckpointError> {
    match &planned.source {
        Source::Values(values) => Ok(values.clone()),
        Source::Checkpoint { name, transform, shape } => {
            let columns = shape.get(1).copied().unwrap_or(1);
            let values = transform.apply(weights.read_f32(name)?, columns);
            match values.iter().position(|v| !v.is_finite()) {
                Some(index) => Err(CheckpointError::NotFinite { tensor: planned.name.clone(), index }),
                None => Ok(values),
            }
        }
    }
}
