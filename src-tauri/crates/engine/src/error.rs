//! Everything that can go wrong in the engine: a closed list, with the facts in fields.
use crate::kernels::KernelError;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    // --- the file ---
    #[error("no model file at {}", path.display())]
    ModelMissing { path: PathBuf },
    #[error("the model file {} cannot be read: {source}", path.display())]
    ModelUnreadable { path: PathBuf, source: std::io::Error },
    /// Not GGUF, truncated, or damaged.
    #[error("{} is not a well-formed GGUF file: {reason}", path.display())]
    ModelMalformed { path: PathBuf, reason: chimera_gguf::GgufError },
    /// Well-formed GGUF that breaks the contract of its architecture (missing tensor, wrong shape, ...).
    #[error("{} breaks the model contract: {reason}", path.display())]
    ModelInvalid { path: PathBuf, reason: chimera_gguf::ModelError },
    #[error(
        "architecture {architecture:?} is not supported (only granitehybrid, falcon-h1, nemotron_h and llama)"
    )]
    ForeignArchitecture { path: PathBuf, architecture: String },
    #[error("tensor {tensor} has type {dtype}, which this backend cannot compute with")]
    UnsupportedType { tensor: String, dtype: String },

    #[error("tensor {tensor} does not fit the kernels: {source}")]
    UnsupportedShape { tensor: String, source: KernelError },

    // --- the machine ---
    #[error("unknown CPU tier {name:?}")]
    UnknownCpuTier { name: String },
    #[error("CPU tier {name:?} is not available on this machine")]
    CpuTierUnavailable { name: String },
    #[error("out of memory: {bytes} bytes were refused")]
    OutOfMemory { bytes: usize },

    /// Asked for beforehand and refused, so that the system need not end the process.
    #[error("{} MB of memory are needed, {} MB are available", needed.div_ceil(1_000_000), available / 1_000_000)]
    NotEnoughMemory { needed: u64, available: u64 },

    // --- the tokenizer ---
    #[error("pre-tokenizer {pre:?} is not supported (only {supported})")]
    UnknownPretokenizer { pre: String, supported: String },
    #[error("the tokenizer cannot be built: {reason}")]
    TokenizerInvalid { reason: String },
    /// The vocabulary has no such control token (a model that was not made for chat).
    #[error("the model has no control token {text:?}")]
    MissingControlToken { text: &'static str },

    #[error("the model's chat template failed: {0}")]
    Template(#[from] TemplateError),

    // --- one sequence ---
    #[error("token {token} is outside the vocabulary of {vocab_size}")]
    TokenOutOfRange { token: u32, vocab_size: usize },
    #[error("nothing to compute: the prompt is empty")]
    EmptyPrompt,
    #[error("{needed} tokens do not fit the context of {limit}")]
    ContextFull { needed: usize, limit: usize },
    /// The state stays valid: it holds the tokens of the chunks that were finished.
    #[error("cancelled")]
    Cancelled,
    #[error("the logits at position {position} are not finite")]
    NonFiniteLogits { position: usize },
    #[error("sampling option {name} is out of range: {value}")]
    InvalidSampling { name: &'static str, value: f32 },

    /// A session of another model was given to a batch.
    #[error("the session belongs to another model")]
    SessionForeign,

    // --- snapshots ---
    #[error("the snapshot is damaged ({what})")]
    SnapshotCorrupt { what: &'static str },
    #[error("snapshot version {found} is not {supported}")]
    SnapshotVersion { found: u32, supported: u32 },
    /// Made by another model file or another backend.
    #[error("the snapshot belongs to another model")]
    SnapshotForeign,
    #[error("the snapshot cannot be read or written: {0}")]
    SnapshotIo(std::io::Error),

    // --- the backends ---
    #[error("a kernel refused its arguments: {0}")]
    Kernel(#[from] KernelError),
    #[error("the reference forward failed: {0}")]
    Reference(#[from] candle_core::Error),
}

/// Why the chat template of a foreign file gave no prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    #[error("it has {bytes} bytes, the limit is {max}")]
    TooLong { bytes: usize, max: usize },
    /// A mistake in it, or something that this machine's Jinja does not know. Line 0: nowhere in particular.
    #[error("line {line}: {detail}")]
    Broken { line: usize, detail: String },
    /// It refuses the conversation by `raise_exception`.
    #[error("it refuses these messages: {message}")]
    Raised { message: String },
    #[error("it does more work than any prompt needs")]
    TooMuchWork,
    #[error("it wrote {bytes} bytes, the limit is {max}")]
    OutputTooLong { bytes: usize, max: usize },
}
