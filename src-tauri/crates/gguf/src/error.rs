//! What can be wrong with a file, one variant per broken rule, with the facts.
use crate::{GgmlType, ValueType};
use std::fmt;

/// Where in the file a rule was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Header,
    Key,
    Value,
    TensorInfo,
    TensorData,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "the header",
            Self::Key => "a key",
            Self::Value => "a value",
            Self::TensorInfo => "a tensor info",
            Self::TensorData => "the tensor data",
        })
    }
}

/// Why bytes are not an acceptable GGUF file. Offsets are in bytes from the start of the file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GgufError {
    #[error("the file ends at byte {len} inside {section}, which needs {needed} bytes at {offset}")]
    Truncated { section: Section, offset: usize, needed: usize, len: usize },
    #[error("not a GGUF file: it starts with {found:02x?}")]
    BadMagic { found: [u8; 4] },
    #[error("GGUF version {found} is not supported, only 3 (little-endian)")]
    UnsupportedVersion { found: u32 },
    #[error("{count} key-value pairs, the limit is {max}")]
    TooManyKeys { count: u64, max: u64 },
    #[error("{count} tensors, the limit is {max}")]
    TooManyTensors { count: u64, max: u64 },
    #[error(
        "{count} items of at least {min_bytes} bytes at {offset} do not fit in the {remaining} bytes left"
    )]
    CountExceedsFile { section: Section, offset: usize, count: u64, min_bytes: usize, remaining: usize },
    #[error("the metadata reaches past byte {max}, its limit")]
    MetadataTooLarge { max: usize },
    #[error("a string of {len} bytes at {offset} in {section}, the limit is {max}")]
    StringTooLong { section: Section, offset: usize, len: u64, max: usize },
    #[error("the string at {offset} in {section} is not UTF-8")]
    NotUtf8 { section: Section, offset: usize },
    #[error(
        "the key or name at {offset} in {section} is empty or has a character that is not printable ASCII"
    )]
    BadName { section: Section, offset: usize },
    #[error("key `{key}` appears twice")]
    DuplicateKey { key: String },
    #[error("tensor `{name}` appears twice")]
    DuplicateTensor { name: String },
    #[error("key `{key}` has the unknown value type {id}")]
    UnknownValueType { key: String, id: u32 },
    #[error("key `{key}` is an array of arrays")]
    NestedArray { key: String },
    #[error("key `{key}` is an array of {len} elements, the limit is {max}")]
    ArrayTooLong { key: String, len: u64, max: u64 },
    #[error("key `{key}` has the byte {found} where a bool must be 0 or 1")]
    BadBool { key: String, found: u8 },
    #[error("general.alignment is a {found}, it must be a u32")]
    AlignmentType { found: ValueType },
    #[error("general.alignment is {found}, it must be 32")]
    BadAlignment { found: u32 },
    #[error("tensor `{name}` has {n_dims} dimensions, allowed are 1 to 4")]
    BadDimCount { name: String, n_dims: u32 },
    #[error("dimension {axis} of tensor `{name}` is 0")]
    ZeroDim { name: String, axis: usize },
    #[error("tensor `{name}` of dimensions {dims:?} exceeds the limit of {max} elements")]
    TensorTooLarge { name: String, dims: Vec<u64>, max: u64 },
    #[error("tensor `{name}` has the unknown element type {id}")]
    UnknownGgmlType { name: String, id: u32 },
    #[error("rows of {row} elements in tensor `{name}` are no whole number of {dtype} blocks")]
    RowNotBlocks { name: String, row: usize, dtype: GgmlType },
    #[error(
        "tensor `{name}` is at offset {found} of the data section; without overlap or hole it is {expected}"
    )]
    BadOffset { name: String, found: u64, expected: usize },
    #[error("tensor `{name}` needs bytes {start}..{end}, the file has {len}")]
    TensorOutOfFile { name: String, start: usize, end: u128, len: usize },
    #[error("the padding at {offset} is not zero")]
    PaddingNotZero { offset: usize },
    #[error("the file has {len} bytes but its content ends at {end}")]
    TrailingBytes { end: usize, len: usize },
}

/// Why a [`crate::Writer`] refused, or could not write.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("`{name}` is too long, or empty, or has a character that is not printable ASCII")]
    BadName { name: String },
    #[error("key `{key}` was given twice")]
    DuplicateKey { key: String },
    #[error("tensor `{name}` was given twice")]
    DuplicateTensor { name: String },
    #[error("general.alignment can only be the u32 32")]
    BadAlignment,
    #[error("tensor `{name}` cannot have the dimensions {dims:?} as {dtype}")]
    BadShape { name: String, dims: Vec<usize>, dtype: GgmlType },
    #[error("tensor `{found}` was written where `{expected}` is next")]
    WrongOrder { expected: String, found: String },
    #[error("tensor `{name}` was written after the last declared one")]
    Undeclared { name: String },
    #[error("tensor `{name}` takes {expected} bytes, {found} were given")]
    WrongSize { name: String, expected: usize, found: usize },
    #[error("{missing} declared tensors, from `{next}` on, were not written")]
    Unfinished { missing: usize, next: String },
    #[error("the sizes of the tensors overflow")]
    Overflow,
    #[error("writing failed")]
    Io(#[from] std::io::Error),
}
