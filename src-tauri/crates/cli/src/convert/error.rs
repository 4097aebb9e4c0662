//! Why a Transformers directory cannot become a `granitehybrid` file.
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("{} cannot be read: {source}", file.display())]
    Unreadable { file: PathBuf, source: std::io::Error },
    #[error("{} is not valid at line {line}: {reason}", file.display())]
    Json { file: PathBuf, line: usize, reason: String },
    #[error("neither model.safetensors nor model.safetensors.index.json is in {}", dir.display())]
    NoWeights { dir: PathBuf },
    #[error("{} is not a safetensors file: {reason}", file.display())]
    Safetensors { file: PathBuf, reason: String },
    #[error("{} has {found} bytes, its header describes {expected}", file.display())]
    WrongLength { file: PathBuf, found: u64, expected: u64 },
    #[error("the index names the file {name:?}, which is no plain file name")]
    ShardName { name: String },
    #[error("tensor {tensor} is in two files")]
    DuplicateTensor { tensor: String },
    #[error("the index and the shards disagree about tensor {tensor}")]
    IndexMismatch { tensor: String },
    #[error("config.json: {key} is {found}, needed: {expected}")]
    Config { key: &'static str, found: String, expected: String },
    #[error("tensor {tensor} is missing")]
    MissingTensor { tensor: String },
    #[error("tensor {tensor} does not belong to the model")]
    UnknownTensor { tensor: String },
    #[error("tensor {tensor} has shape {found:?}, expected {expected:?}")]
    WrongShape { tensor: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("tensor {tensor} has type {dtype}, only F32, F16 and BF16 can be converted")]
    WrongDtype { tensor: String, dtype: String },
    #[error("tensor {tensor} has a value that is not finite at element {index}")]
    NotFinite { tensor: String, index: usize },
    #[error("tensor {tensor}: {value} does not fit {dtype}")]
    OutOfRange { tensor: String, value: f32, dtype: &'static str },
    #[error("tokenizer.json: {what}")]
    Tokenizer { what: TokenizerFault },
}

/// What is wrong with a `tokenizer.json`.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerFault {
    #[error("the model is {found:?}, only byte-level BPE can be converted")]
    Model { found: String },
    #[error("{option} must not be set")]
    Option { option: &'static str },
    #[error("the pre-tokenizer is not the `qwen35` pattern followed by ByteLevel")]
    Pretokenizer,
    #[error("the normalizer must be null: text is normalised before the tokenizer, not in it")]
    Normalizer,
    #[error("token {token:?} has id {id}, the vocabulary has {vocab} entries")]
    IdTooLarge { token: String, id: u32, vocab: usize },
    #[error("tokens {first:?} and {second:?} share id {id}")]
    SharedId { first: String, second: String, id: u32 },
    #[error("merge {index} is not a pair of tokens")]
    Merge { index: usize },
}

impl CheckpointError {
    pub fn unreadable(file: &Path, source: std::io::Error) -> Self {
        Self::Unreadable { file: file.to_owned(), source }
    }

    pub fn config(key: &'static str, found: impl ToString, expected: impl ToString) -> Self {
        Self::Config { key, found: found.to_string(), expected: expected.to_string() }
    }
}

impl From<TokenizerFault> for CheckpointError {
    fn from(what: TokenizerFault) -> Self {
        Self::Tokenizer { what }
    }
}
