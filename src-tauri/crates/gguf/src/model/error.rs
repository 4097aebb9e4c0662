//! Why a well-formed GGUF file is not a model that the engine runs.
use crate::{GgmlType, ValueType};

/// Why a file breaks the contract of its family.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelError {
    #[error("key `{key}` is missing")]
    MissingKey { key: String },
    #[error("key `{key}` is a {found}, expected {expected}")]
    WrongType { key: String, expected: &'static str, found: ValueType },
    #[error("architecture `{found}` is not supported, only granitehybrid, falcon-h1, nemotron_h and llama")]
    Architecture { found: String },
    #[error("key `{key}` is {found}, allowed are {min} to {max}")]
    OutOfRange { key: String, found: u64, min: u64, max: u64 },
    #[error("key `{key}` is {found}, not a usable number")]
    BadFloat { key: String, found: f32 },
    #[error("key `{key}` has {found} elements, expected {expected}")]
    WrongLength { key: String, found: usize, expected: usize },
    #[error("key `{key}` is {found}, which the model's other sizes do not allow: {rule}")]
    Inconsistent { key: String, found: i64, rule: &'static str },
    #[error("a mixture of experts (`{key}` is {found}) is not supported for this architecture")]
    Experts { key: String, found: u32 },
    #[error("RoPE scaling `{found}` is not supported")]
    RopeScaling { found: String },
    #[error("tensor `{name}` is missing")]
    MissingTensor { name: String },
    #[error("tensor `{name}` does not belong to the model")]
    UnknownTensor { name: String },
    #[error("tensor `{name}` has dimensions {found:?}, expected {expected:?}")]
    WrongShape { name: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("tensor `{name}` is {found}, it must be {expected}")]
    WrongDtype { name: String, found: GgmlType, expected: &'static str },
    #[error("tokenizer model `{found}` is not supported, only `gpt2` (byte-level BPE)")]
    TokenizerModel { found: String },
    #[error("token {id} has the unknown type {found}")]
    TokenType { id: usize, found: i64 },
    #[error("token {id} is empty")]
    EmptyToken { id: usize },
    #[error("tokens {first} and {second} are the same text")]
    DuplicateToken { first: usize, second: usize },
    #[error("byte token {id} is not `<0x..>` with two hexadecimal digits")]
    BadByteToken { id: usize },
    #[error("no token stands for the byte {byte:#04x}")]
    MissingByte { byte: u8 },
    #[error("merge {index} is not two tokens of the vocabulary whose concatenation is one too")]
    BadMerge { index: usize },
    #[error("`{key}` is {id}, the vocabulary has {vocab} tokens")]
    TokenId { key: String, id: u32, vocab: usize },
}
