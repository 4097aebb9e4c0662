//! Everything a command can end with: a closed list with facts in fields, an exit code and a sentence in two languages.
mod hindi;

use crate::convert::CheckpointError;
use crate::lang::Lang;
use chimera_engine::EngineError;
use chimera_gguf::{GgmlType, GgufError, ModelError, WriteError};
use std::path::{Path, PathBuf};

/// Documented in `--help` ([`crate::args::EXIT_CODES`]).
pub mod code {
    pub const USAGE: u8 = 2;
    pub const MODEL_MISSING: u8 = 3;
    pub const MODEL_INVALID: u8 = 4;
    pub const INPUT_INVALID: u8 = 5;
    pub const IO: u8 = 6;
    pub const ENGINE: u8 = 7;
    pub const PEER: u8 = 8;
    pub const INTERRUPTED: u8 = 130;
}

#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("{} is both input and output; nothing is written in place", path.display())]
    SameFile { path: PathBuf },
    #[error("--{option} needs {needs}")]
    Usage { option: &'static str, needs: &'static str },
    #[error("there is no model file at {}", path.display())]
    ModelMissing { path: PathBuf },
    #[error("no model was found; looked at {}", list(looked))]
    NoModel { looked: Vec<PathBuf> },
    #[error("{} is not a valid GGUF file: {source}", path.display())]
    Malformed { path: PathBuf, source: GgufError },
    #[error("{} is not a model Chimera can run: {source}", path.display())]
    Contract { path: PathBuf, source: ModelError },
    #[error("{} cannot be converted: {source}", dir.display())]
    Checkpoint { dir: PathBuf, source: Box<CheckpointError> },
    #[error("tensor {tensor} has a value that is not finite (element {index})")]
    NotFinite { tensor: String, index: usize },
    #[error("the tokenizer does not give back the text {text:?}: it became {found:?}")]
    TokenizerRoundTrip { text: String, found: String },
    #[error("tensor {tensor} is {dtype} already; quantize from F32, F16 or BF16")]
    Requantize { tensor: String, dtype: GgmlType },
    #[error("tensor {tensor} has rows of {row} values, which blocks of {dtype} ({}) do not cover; choose another type", dtype.block_len())]
    RaggedRow { tensor: String, row: usize, dtype: GgmlType },
    #[error("tensor {tensor} has the value {value}, too large for its type")]
    TooLarge { tensor: String, value: f32 },
    #[error("{}: line {line}: {reason}", path.display())]
    BadLine { path: PathBuf, line: usize, reason: InputFault },
    #[error("{}: {reason}", path.display())]
    BadInput { path: PathBuf, reason: InputFault },
    #[error("the message is empty")]
    EmptyMessage,
    #[error("{} gives {tokens} tokens, one window needs {needed}", path.display())]
    TextTooShort { path: PathBuf, tokens: usize, needed: usize },
    #[error("{} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("no space left on the disk for {}", path.display())]
    DiskFull { path: PathBuf },
    #[error("{} cannot be written: {source}", path.display())]
    WriteGguf { path: PathBuf, source: WriteError },
    #[error("{0}")]
    Engine(#[from] EngineError),
    #[error("the first-token probe failed: {reason}")]
    Probe { reason: String },
    #[error(
        "no llama.cpp was found (looked at {}). Install one with: pip install xllamacpp=={}; or build llama.cpp with shared libraries, and name its folder, library or Python with --peer",
        looked.display(), crate::bench::PEER_VERSION
    )]
    PeerMissing { looked: PathBuf },
    #[error("llama.cpp failed: {reason}")]
    PeerFailed { reason: String },
    #[error("interrupted")]
    Interrupted,
}

/// What is wrong with a conversation or a list of tokens that was handed in.
#[derive(Debug, thiserror::Error)]
pub enum InputFault {
    #[error("not valid JSON: {0}")]
    Json(String),
    #[error("not UTF-8")]
    NotUtf8,
    #[error("not a JSON object")]
    NotObject,
    #[error("\"messages\" is missing or not a list")]
    NoMessages,
    #[error("message {index}: {problem}")]
    Message { index: usize, problem: &'static str },
    #[error("the last message must be from the user")]
    LastNotUser,
    #[error("not a list of token ids")]
    NotTokenIds,
    #[error("the conversation needs {needed} tokens, the context has {limit}")]
    TooLong { needed: usize, limit: usize },
}

fn list(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return "no place at all".to_owned();
    }
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn is_disk_full(source: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(source.kind(), StorageFull | QuotaExceeded)
}

impl CliError {
    pub fn checkpoint(dir: &Path, source: CheckpointError) -> Self {
        Self::Checkpoint { dir: dir.to_owned(), source: Box::new(source) }
    }

    pub fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub fn write(path: &Path, source: std::io::Error) -> Self {
        if is_disk_full(&source) {
            return Self::DiskFull { path: path.to_owned() };
        }
        Self::Write { path: path.to_owned(), source }
    }

    pub fn write_gguf(path: &Path, source: WriteError) -> Self {
        match source {
            WriteError::Io(source) => Self::write(path, source),
            source => Self::WriteGguf { path: path.to_owned(), source },
        }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Self::SameFile { .. } | Self::Usage { .. } => code::USAGE,
            Self::ModelMissing { .. } | Self::NoModel { .. } => code::MODEL_MISSING,
            Self::Checkpoint { source, .. } if matches!(**source, CheckpointError::Unreadable { .. }) => {
                code::IO
            }
            Self::Malformed { .. }
            | Self::Contract { .. }
            | Self::Checkpoint { .. }
            | Self::NotFinite { .. }
            | Self::TokenizerRoundTrip { .. } => code::MODEL_INVALID,
            Self::Requantize { .. }
            | Self::RaggedRow { .. }
            | Self::TooLarge { .. }
            | Self::BadLine { .. }
            | Self::BadInput { .. }
            | Self::EmptyMessage
            | Self::TextTooShort { .. } => code::INPUT_INVALID,
            Self::Read { .. } | Self::Write { .. } | Self::DiskFull { .. } | Self::WriteGguf { .. } => {
                code::IO
            }
            Self::Engine(source) => engine_code(source),
            Self::Probe { .. } => code::ENGINE,
            Self::PeerMissing { .. } | Self::PeerFailed { .. } => code::PEER,
            Self::Interrupted => code::INTERRUPTED,
        }
    }

    /// The sentence for a person; causes that name parts of a file stay in English.
    pub fn sentence(&self, lang: Lang) -> String {
        match lang {
            Lang::En => self.to_string(),
            Lang::Hi => hindi::sentence(self),
        }
    }
}

fn engine_code(error: &EngineError) -> u8 {
    match error {
        EngineError::ModelMissing { .. } => code::MODEL_MISSING,
        EngineError::ModelMalformed { .. }
        | EngineError::ModelInvalid { .. }
        | EngineError::ForeignArchitecture { .. }
        | EngineError::UnsupportedType { .. }
        | EngineError::UnsupportedShape { .. }
        | EngineError::UnknownPretokenizer { .. }
        | EngineError::Template(_)
        | EngineError::TokenizerInvalid { .. }
        | EngineError::MissingControlToken { .. } => code::MODEL_INVALID,
        EngineError::ModelUnreadable { .. } => code::IO,
        EngineError::UnknownCpuTier { .. }
        | EngineError::CpuTierUnavailable { .. }
        | EngineError::InvalidSampling { .. } => code::USAGE,
        EngineError::TokenOutOfRange { .. } | EngineError::EmptyPrompt | EngineError::ContextFull { .. } => {
            code::INPUT_INVALID
        }
        EngineError::Cancelled => code::INTERRUPTED,
        _ => code::ENGINE,
    }
}
