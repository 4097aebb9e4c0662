//! The one place where errors of the rooms become codes with facts for the window.
use crate::engine::LoadError;
use crate::locate::LocateError;
use crate::prompt::PromptError;
use crate::text::{CHARACTER_LIMIT, TextError};
use crate::wire::{ErrorCode, WireError};
use chimera_engine::EngineError;
use chimera_history::{HistoryError, Recovered};
use std::path::Path;
use uuid::Uuid;

/// Why a turn or a request failed.
#[derive(Debug)]
pub(crate) enum ChatError {
    Text(TextError),
    InvalidId {
        id: String,
    },
    Busy {
        conversation: Uuid,
    },
    Prompt(PromptError),
    Engine(EngineError),
    /// The engine panicked; its state was rebuilt.
    Panicked {
        reason: String,
    },
    /// The engine thread is gone.
    EngineGone,
    History(HistoryError),
    /// The history could not be opened, or the model not loaded: the same facts as at the start.
    Unavailable(WireError),
    Thread(std::io::Error),
}

macro_rules! from {
    ($($source:ty => $variant:ident),* $(,)?) => {$(
        impl From<$source> for ChatError {
            fn from(error: $source) -> Self {
                Self::$variant(error)
            }
        }
    )*};
}
from!(TextError => Text, PromptError => Prompt, EngineError => Engine, HistoryError => History);

impl From<ChatError> for WireError {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::Text(error) => text(&error),
            ChatError::InvalidId { id } => Self::new(ErrorCode::InvalidId).with("id", id),
            ChatError::Busy { conversation } => {
                Self::new(ErrorCode::Busy).with("conversation_id", conversation)
            }
            ChatError::Prompt(PromptError::TooLong { tokens, limit }) => too_many_tokens(tokens, limit),
            ChatError::Prompt(PromptError::Engine(error)) | ChatError::Engine(error) => engine(&error),
            ChatError::Panicked { reason } => Self::new(ErrorCode::EngineFailed).with("reason", reason),
            ChatError::EngineGone => {
                Self::new(ErrorCode::EngineFailed).with("reason", "the engine thread ended")
            }
            ChatError::History(error) => history(&error),
            ChatError::Unavailable(error) => error,
            ChatError::Thread(error) => Self::new(ErrorCode::Internal).with("reason", error),
        }
    }
}

fn text(error: &TextError) -> WireError {
    match error {
        TextError::Empty => WireError::new(ErrorCode::EmptyMessage),
        TextError::TooLong { characters } => WireError::new(ErrorCode::MessageTooLong)
            .with("characters", characters)
            .with("character_limit", CHARACTER_LIMIT),
        TextError::Nul { at } => WireError::new(ErrorCode::InvalidText).with("at", at),
    }
}

fn too_many_tokens(tokens: usize, limit: usize) -> WireError {
    WireError::new(ErrorCode::MessageTooLong).with("tokens", tokens).with("token_limit", limit)
}

fn with_path(code: ErrorCode, path: &Path) -> WireError {
    WireError::new(code).with("path", path.display())
}

fn engine(error: &EngineError) -> WireError {
    use EngineError as E;
    match error {
        E::ModelMissing { path } => with_path(ErrorCode::ModelMissing, path),
        E::ModelUnreadable { path, .. } | E::ModelMalformed { path, .. } | E::ModelInvalid { path, .. } => {
            with_path(ErrorCode::ModelInvalid, path).with("reason", error)
        }
        E::TokenizerInvalid { .. } => WireError::new(ErrorCode::ModelInvalid).with("reason", error),
        E::ForeignArchitecture { path, .. } => {
            with_path(ErrorCode::ModelUnsupported, path).with("reason", error)
        }
        E::UnsupportedType { .. }
        | E::UnsupportedShape { .. }
        | E::UnknownCpuTier { .. }
        | E::CpuTierUnavailable { .. }
        | E::UnknownPretokenizer { .. }
        | E::Template(_)
        | E::MissingControlToken { .. } => WireError::new(ErrorCode::ModelUnsupported).with("reason", error),
        E::OutOfMemory { bytes } => WireError::new(ErrorCode::OutOfMemory).with("needed_bytes", bytes),
        E::NotEnoughMemory { needed, available } => WireError::new(ErrorCode::OutOfMemory)
            .with("needed_bytes", needed)
            .with("available_bytes", available),
        E::ContextFull { needed, limit } => too_many_tokens(*needed, *limit),
        _ => WireError::new(ErrorCode::EngineFailed).with("reason", error),
    }
}

pub(crate) fn load(error: &LoadError) -> WireError {
    match error {
        LoadError::Locate(LocateError::Named { path }) => with_path(ErrorCode::ModelMissing, path),
        LoadError::Locate(LocateError::Nowhere { looked_in }) => {
            let places: Vec<String> = looked_in.iter().map(|path| path.display().to_string()).collect();
            WireError::new(ErrorCode::ModelMissing).with("looked_in", places.join("\n"))
        }
        LoadError::Engine { path, source } => {
            let mut error = engine(source);
            error.details.entry("path".into()).or_insert_with(|| path.display().to_string());
            error
        }
    }
}

pub(crate) fn history(error: &HistoryError) -> WireError {
    use HistoryError as H;
    match error {
        H::Locked { path } => with_path(ErrorCode::HistoryLocked, path),
        H::Newer { path, found, known } => {
            with_path(ErrorCode::HistoryNewer, path).with("found", found).with("known", known)
        }
        H::Corrupt { path, reason } => with_path(ErrorCode::HistoryCorrupt, path).with("reason", reason),
        H::DiskFull { path } => with_path(ErrorCode::DiskFull, path),
        H::Io { path, .. } | H::Storage { path, .. } => {
            with_path(ErrorCode::DiskFailed, path).with("reason", error)
        }
        H::NotFound { id } | H::NotAnAnswer { id } | H::NotAQuestion { id } => {
            WireError::new(ErrorCode::NotFound).with("id", id)
        }
        H::DuplicateId { id } => WireError::new(ErrorCode::InvalidId).with("id", id),
        H::SqliteTooOld { .. } | H::NotStreaming { .. } | H::Migration { .. } | H::Sql { .. } => {
            WireError::new(ErrorCode::Internal).with("reason", error)
        }
    }
}

/// The notice about a damaged file that was put aside.
pub(crate) fn recovered(recovered: &Recovered) -> WireError {
    let notice = WireError::new(ErrorCode::HistoryCorrupt)
        .with("kept_at", recovered.kept_at.display())
        .with("reason", &recovered.reason);
    match &recovered.restored_from {
        Some(backup) => notice.with("restored_from", backup.display()),
        None => notice,
    }
}
