//! ggml's block quantizers, bit for bit as `ggml-quants.c` writes them (`quantize_row_*_ref`).
//!
//! A row is cut into blocks of 32 (Q4_0, Q8_0) or 256 (Q6_K) values; every block carries its own scale.
mod q4_0;
mod q6_k;
mod q8_0;

use chimera_gguf::GgmlType;

/// Largest magnitude a block may hold: above it the f16 scale of a block could become infinite.
pub const MAX_MAGNITUDE: f32 = 65504.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quant {
    Q4_0,
    Q6K,
    Q8_0,
}

/// A row whose length no whole number of blocks covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaggedRow {
    pub len: usize,
    pub block: usize,
}

impl Quant {
    pub const fn block_len(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q8_0 => 32,
            Self::Q6K => 256,
        }
    }

    pub const fn ggml(self) -> GgmlType {
        match self {
            Self::Q4_0 => GgmlType::Q4_0,
            Self::Q6K => GgmlType::Q6K,
            Self::Q8_0 => GgmlType::Q8_0,
        }
    }

    /// Appends the blocks of `values` (whole rows, each a multiple of the block length) to `out`.
    pub fn encode(self, values: &[f32], out: &mut Vec<u8>) -> Result<(), RaggedRow> {
        let ragged = RaggedRow { len: values.len(), block: self.block_len() };
        match self {
            Self::Q4_0 => encode_blocks(values, ragged, out, q4_0::encode),
            Self::Q8_0 => encode_blocks(values, ragged, out, q8_0::encode),
            Self::Q6K => encode_blocks(values, ragged, out, q6_k::encode),
        }
    }
}

fn encode_blocks<const N: usize>(
    values: &[f32],
    ragged: RaggedRow,
    out: &mut Vec<u8>,
    encode: fn(&[f32; N], &mut Vec<u8>),
) -> Result<(), RaggedRow> {
    let (blocks, rest) = values.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(ragged);
    }
    blocks.iter().for_each(|block| encode(block, out));
    Ok(())
}

/// The value of largest magnitude, with its sign; the first of equals, as ggml picks it.
fn signed_max(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max: f32, &v| if v.abs() > max.abs() { v } else { max })
}

fn push_f16(out: &mut Vec<u8>, value: f32) {
    out.extend_from_slice(&half::f16::from_f32(value).to_le_bytes());
}

#[cfg(test)]
mod tests;
