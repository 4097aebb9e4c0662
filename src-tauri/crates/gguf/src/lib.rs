//! Strict GGUF reading and writing: bytes → [`Gguf`] → [`ValidModel`], and [`Writer`] for the way back.
//!
//! Only version 3, little-endian, is read. Every number of the file passes [`Limits`] before it sizes anything,
//! all arithmetic is checked, and a value of [`Gguf`] proves that its tensors cover the data section exactly.
//! No I/O, no `unsafe`, no panic for any input.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod cursor;
mod error;
mod file;
mod ggml_type;
mod limits;
mod model;
mod value;
mod writer;

#[cfg(test)]
mod tests;

pub use error::{GgufError, Section, WriteError};
pub use file::{Gguf, TensorInfo};
pub use ggml_type::GgmlType;
pub use limits::Limits;
pub use model::{
    Block, Family, Ffn, Mixer, ModelConfig, ModelError, RopeConfig, RopePairs, RopeScaling, SsmConfig,
    TokenType, TokenizerData, ValidModel,
};
pub use value::{Array, StringArray, Value, ValueType};
pub use writer::{DataWriter, Writer};

/// The four bytes every file starts with.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// The only version read or written.
pub const VERSION: u32 = 3;
/// Tensor data, and the section that holds it, start at multiples of this.
pub const ALIGNMENT: usize = 32;

/// Bytes of zero that bring `offset` to the next multiple of [`ALIGNMENT`].
pub(crate) const fn padding_after(offset: usize) -> usize {
    offset.wrapping_neg() % ALIGNMENT
}
