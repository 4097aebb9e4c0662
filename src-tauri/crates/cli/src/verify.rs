//! `chimera verify`: may this file be trusted to run? Structure, contract, every weight, the tokenizer.
use crate::console;
use crate::digest::sha256;
use crate::error::CliError;
use crate::gguf_io::{self, Loaded};
use crate::lang::Lang;
use chimera_engine::Tokenizer;
use chimera_gguf::{GgmlType, TensorInfo};
use serde_json::json;
use std::path::Path;

/// Texts (all in NFC) that a byte-complete tokenizer must give back unchanged: nukta, conjuncts, ZWJ and ZWNJ,
/// danda, digits of both scripts, emoji sequences, code, control-token text, line ends.
const PROBES: [&str; 8] = [
    "नमस्ते, तुम कौन हो?",
    "क़लम और ज़मीन।॥ १२३ 456",
    "क्\u{200d}ष र\u{200c}य श्रीमती",
    "What is a rainbow?  Two  spaces\tand a tab.",
    "fn main() {\r\n    println!(\"{}\", x[0] != 1);\n}\n",
    "👩\u{200d}👩\u{200d}👧 🇮🇳 ❤\u{fe0f}",
    "<|im_end|>\n<|im_start|>system",
    "main kal Delhi ja raha hoon, ठीक है na? தமிழ் 中文",
];

pub fn run(path: &Path, as_json: bool, lang: Lang) -> Result<(), CliError> {
    let Loaded { bytes, model } = gguf_io::load(path)?;
    for tensor in model.gguf.tensors() {
        check_finite(tensor, tensor.data(&bytes).unwrap_or_default())?;
    }
    let tokenizer = Tokenizer::new(&model.tokenizer)?;
    PROBES.iter().try_for_each(|text| check_round_trip(&tokenizer, text))?;
    let digest = sha256(&bytes);
    if as_json {
        return console::line(json!({"file": path.display().to_string(), "ok": true, "sha256": digest,
            "bytes": bytes.len(), "parameters": model.gguf.parameters(), "tensors": model.gguf.tensors().len(),
            "vocab_size": model.config.vocab_size, "context_length": model.config.context_length}));
    }
    console::line(format_args!("{}: {}\nsha256 {digest}", path.display(), lang.pick("ok", "ठीक है")))
}

fn check_round_trip(tokenizer: &Tokenizer, text: &str) -> Result<(), CliError> {
    let found = tokenizer.decode(&tokenizer.encode(text));
    if found == text { Ok(()) } else { Err(CliError::TokenizerRoundTrip { text: text.to_owned(), found }) }
}

fn check_finite(tensor: &TensorInfo, bytes: &[u8]) -> Result<(), CliError> {
    match first_infinite(tensor.dtype, bytes) {
        Some(index) => Err(CliError::NotFinite { tensor: tensor.name.clone(), index }),
        None => Ok(()),
    }
}

/// The element (for quantized types: the first of the block) that is NaN or infinite. A block's integers always are
/// finite; its f16 scales may not be.
fn first_infinite(dtype: GgmlType, bytes: &[u8]) -> Option<usize> {
    if let Some(values) = gguf_io::decode_floats(bytes, dtype) {
        return values.iter().position(|v| !v.is_finite());
    }
    let scales = scale_offsets(dtype);
    let is_bad = |block: &[u8]| scales.iter().any(|&at| block.get(at..at + 2).is_none_or(is_infinite_f16));
    bytes.chunks(dtype.block_bytes()).position(is_bad).map(|block| block * dtype.block_len())
}

/// Exponent all ones: infinity or NaN.
fn is_infinite_f16(bytes: &[u8]) -> bool {
    bytes.get(1).is_some_and(|high| high & 0x7c == 0x7c)
}

/// Where the f16 scales of a block are (`ggml-common.h`).
const fn scale_offsets(dtype: GgmlType) -> &'static [usize] {
    match dtype {
        GgmlType::Q4_1 | GgmlType::Q5_1 | GgmlType::Q8_1 | GgmlType::Q4K | GgmlType::Q5K => &[0, 2],
        GgmlType::Q2K => &[80, 82],
        GgmlType::Q3K => &[108],
        GgmlType::Q6K => &[208],
        _ => &[0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::Quant;

    #[test]
    fn finds_scales_that_are_not_finite_wherever_they_are() {
        for (quant, at) in [(Quant::Q4_0, 0), (Quant::Q8_0, 0), (Quant::Q6K, 208)] {
            let mut bytes = Vec::new();
            quant.encode(&[0.5; 512], &mut bytes).unwrap();
            assert_eq!(first_infinite(quant.ggml(), &bytes), None, "{quant:?}");
            let block = quant.ggml().block_bytes();
            bytes[block + at + 1] = 0x7e;
            assert_eq!(first_infinite(quant.ggml(), &bytes), Some(quant.block_len()), "{quant:?}");
        }
    }

    #[test]
    fn finds_floats_that_are_not_finite() {
        let bytes: Vec<u8> = [1.0, f32::INFINITY].iter().flat_map(|v: &f32| v.to_le_bytes()).collect();
        assert_eq!(first_infinite(GgmlType::F32, &bytes), Some(1));
    }
}
