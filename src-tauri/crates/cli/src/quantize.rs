//! `chimera quantize`: a float GGUF → Q4_0 or Q8_0 matrices with an embedding of its own type.
use crate::error::CliError;
use crate::gguf_io::{self, Loaded, NewFile};
use crate::interrupt::Stoppable;
use crate::quant::{MAX_MAGNITUDE, Quant};
use chimera_gguf::{GgmlType, TensorInfo, Writer};
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum MatrixType {
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q8_0")]
    Q8_0,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum EmbeddingType {
    #[value(name = "q6_k")]
    Q6K,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "f16")]
    F16,
}

/// What happens to one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Treatment {
    Keep,
    Half,
    Quantize(Quant),
}

pub fn run(input: &Path, out: &Path, matrices: MatrixType, embedding: EmbeddingType) -> Result<(), CliError> {
    refuse_in_place(input, out)?;
    let Loaded { bytes, model } = gguf_io::load(input)?;
    let written = |source| CliError::write_gguf(out, source);
    let mut writer = Writer::new();
    copy_keys(&model.gguf, matrices, &mut writer).map_err(written)?;
    let mut work = Vec::new();
    for tensor in model.gguf.tensors() {
        let treatment = treatment(tensor, matrices, embedding)?;
        writer.tensor(&tensor.name, &tensor.dims, treatment.dtype(tensor)).map_err(written)?;
        work.push((tensor, treatment));
    }
    let stoppable = Stoppable::begin();
    let mut file = NewFile::create(out)?;
    let mut data = writer.write_header(file.writer()).map_err(written)?;
    for (tensor, treatment) in work {
        stoppable.check()?;
        let source = tensor.data(&bytes).unwrap_or_default();
        data.tensor(&tensor.name, &treatment.apply(tensor, source)?).map_err(written)?;
    }
    data.finish().map_err(written)?;
    drop((bytes, model));
    gguf_io::load(file.path())?;
    file.publish()
}

fn refuse_in_place(input: &Path, out: &Path) -> Result<(), CliError> {
    match (input.canonicalize(), out.canonicalize()) {
        (Ok(a), Ok(b)) if a == b => Err(CliError::SameFile { path: out.to_owned() }),
        _ => Ok(()),
    }
}

/// All keys as they are, but for the two that describe the quantization.
fn copy_keys(
    gguf: &chimera_gguf::Gguf,
    matrices: MatrixType,
    writer: &mut Writer,
) -> Result<(), chimera_gguf::WriteError> {
    const OURS: [&str; 2] = ["general.file_type", "general.quantization_version"];
    for (key, value) in gguf.metadata().iter().filter(|(key, _)| !OURS.contains(&key.as_str())) {
        writer.kv(key, value.clone())?;
    }
    let file_type: u32 = match matrices {
        MatrixType::Q4_0 => 2,
        MatrixType::Q8_0 => 7,
    };
    writer.kv(OURS[0], file_type)?;
    writer.kv(OURS[1], 2_u32)
}

/// Norms, biases, the convolution and the recurrence stay F32 (llama.cpp demands it); all else is a matrix.
fn treatment(t: &TensorInfo, matrices: MatrixType, embedding: EmbeddingType) -> Result<Treatment, CliError> {
    const MATRICES: [&str; 9] = [
        "ssm_in.weight",
        "ssm_out.weight",
        "attn_q.weight",
        "attn_k.weight",
        "attn_v.weight",
        "attn_output.weight",
        "ffn_gate.weight",
        "ffn_up.weight",
        "ffn_down.weight",
    ];
    let treatment = match t.name.as_str() {
        "token_embd.weight" | "output.weight" => match embedding {
            EmbeddingType::Q6K => Treatment::Quantize(Quant::Q6K),
            EmbeddingType::Q8_0 => Treatment::Quantize(Quant::Q8_0),
            EmbeddingType::F16 => Treatment::Half,
        },
        name if MATRICES.iter().any(|m| name.ends_with(&format!(".{m}"))) => match matrices {
            MatrixType::Q4_0 => Treatment::Quantize(Quant::Q4_0),
            MatrixType::Q8_0 => Treatment::Quantize(Quant::Q8_0),
        },
        _ => Treatment::Keep,
    };
    let is_float = matches!(t.dtype, GgmlType::F32 | GgmlType::F16 | GgmlType::Bf16);
    if treatment != Treatment::Keep && !is_float {
        return Err(CliError::Requantize { tensor: t.name.clone(), dtype: t.dtype });
    }
    check_row(t, treatment)?;
    Ok(treatment)
}

fn check_row(t: &TensorInfo, treatment: Treatment) -> Result<(), CliError> {
    let row = t.dims.first().copied().unwrap_or_default();
    match treatment {
        Treatment::Quantize(quant) if !row.is_multiple_of(quant.block_len()) => {
            Err(CliError::RaggedRow { tensor: t.name.clone(), row, dtype: quant.ggml() })
        }
        _ => Ok(()),
    }
}

impl Treatment {
    fn dtype(self, tensor: &TensorInfo) -> GgmlType {
        match self {
            Self::Keep => tensor.dtype,
            Self::Half => GgmlType::F16,
            Self::Quantize(quant) => quant.ggml(),
        }
    }

    fn apply(self, tensor: &TensorInfo, source: &[u8]) -> Result<Vec<u8>, CliError> {
        if self == Self::Keep {
            return Ok(source.to_vec());
        }
        let values = gguf_io::decode_floats(source, tensor.dtype)
            .ok_or_else(|| CliError::Requantize { tensor: tensor.name.clone(), dtype: tensor.dtype })?;
        check_values(tensor, &values)?;
        match self {
            Self::Quantize(quant) => {
                let mut out = Vec::with_capacity(source.len());
                quant.encode(&values, &mut out).map_err(|ragged| CliError::RaggedRow {
                    tensor: tensor.name.clone(),
                    row: ragged.len,
                    dtype: quant.ggml(),
                })?;
                Ok(out)
            }
            _ => gguf_io::encode_floats(&values, GgmlType::F16)
                .map_err(|value| CliError::TooLarge { tensor: tensor.name.clone(), value }),
        }
    }
}

fn check_values(tensor: &TensorInfo, values: &[f32]) -> Result<(), CliError> {
    match values.iter().enumerate().find(|(_, v)| v.is_nan() || v.abs() > MAX_MAGNITUDE) {
        None => Ok(()),
        Some((_, &value)) if value.is_finite() => {
            Err(CliError::TooLarge { tensor: tensor.name.clone(), value })
        }
        Some((index, _)) => Err(CliError::NotFinite { tensor: tensor.name.clone(), index }),
    }
}
