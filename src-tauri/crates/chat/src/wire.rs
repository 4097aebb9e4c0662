//! What crosses between the window and Rust. ts-rs writes these to `ui/src/ipc/bindings/`.
//!
//! Commands of the shell (names are the Tauri command names; each returns `Result<T, WireError>`):
//!   app_status() -> AppStatus
//!   settings_get() -> Settings · settings_set { settings } -> Settings
//!   conversations_list() -> ConversationSummary[]          (newest first)
//!   conversation_open { id } -> Conversation
//!   conversation_rename { id, title } -> ConversationSummary
//!   conversation_delete { id } -> null
//!   chat_send { request: SendRequest, events: Channel<ChatEvent> } -> SendAccepted      (durable when it returns)
//!   chat_regenerate { request: RegenerateRequest, events: Channel<ChatEvent> } -> SendAccepted
//!   chat_stop { conversation_id } -> null
//!   message_version { message_id } -> Conversation         (makes that version of an answer the shown one)
//!   link_open { url } -> null                              (http, https, mailto only; checked in Rust)
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use ts_rs::TS;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum WireRole {
    User,
    Assistant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    Streaming,
    Complete,
    /// The person pressed stop; the text so far is kept.
    Stopped,
    /// The application ended while the answer was being written.
    Interrupted,
    /// Cut by the token limit or the context window.
    Length,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Message {
    /// UUIDv7, hyphenated lower case.
    pub id: String,
    pub role: WireRole,
    pub text: String,
    pub thinking: String,
    pub status: MessageStatus,
    /// Milliseconds since the Unix epoch.
    pub created_at: f64,
    pub stats: Option<MessageStats>,
    /// 0-based index among the versions of this answer, and how many there are (‹2/3› = 1, 3).
    pub version: u32,
    pub versions: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct MessageStats {
    pub prompt_tokens: u32,
    pub reused_tokens: u32,
    pub completion_tokens: u32,
    pub first_token_ms: f64,
    pub tokens_per_second: f64,
    pub model: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct ConversationSummary {
    pub id: String,
    pub title: String,
    pub created_at: f64,
    pub updated_at: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Conversation {
    pub summary: ConversationSummary,
    pub messages: Vec<Message>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct SendRequest {
    /// Made by the window (UUIDv7); a new id starts a new conversation.
    pub conversation_id: String,
    pub message_id: String,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct RegenerateRequest {
    pub conversation_id: String,
    /// The assistant message to answer again.
    pub message_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct SendAccepted {
    pub summary: ConversationSummary,
    /// The user's message as stored; null for regenerate.
    pub user: Option<Message>,
    /// The empty streaming answer.
    pub assistant: Message,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ChatEvent {
    /// The prompt is being read; `dropped_turns` oldest turns did not fit the context window.
    Prefill {
        done: u32,
        total: u32,
        dropped_turns: u32,
    },
    Thinking {
        text: String,
    },
    Delta {
        text: String,
    },
    /// Last event of every turn that produced an answer, whole or partial.
    Finished {
        message: Message,
        summary: ConversationSummary,
    },
    /// Last event of a turn that failed; `message` holds what was kept.
    Failed {
        error: WireError,
        message: Option<Message>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ModelStatus {
    Loading,
    Ready {
        name: String,
        parameters: f64,
        file_bytes: f64,
        quantization: String,
        context_length: u32,
        cpu_tier: String,
        threads: u32,
    },
    Failed {
        error: WireError,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct AppStatus {
    pub version: String,
    pub model: ModelStatus,
    /// Set when the history could not be opened as it was (corrupt, locked, newer): what was done and where the copy is.
    pub notice: Option<WireError>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Settings {
    /// "system", "hi" or "en".
    pub language: String,
    /// "system", "light" or "dark".
    pub theme: String,
}

/// An error's identity and its facts; the sentence is made in the window, in the person's language.
/// `details` holds only the keys named at the code; numbers are written in decimal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct WireError {
    pub code: ErrorCode,
    pub details: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Nothing but white space.
    EmptyMessage,
    /// `characters` and `character_limit`, or `tokens` and `token_limit`: nothing was stored, the window keeps the text.
    /// When the model was still loading, the same facts come as a `Failed` event and the text stands in the history.
    MessageTooLong,
    /// A NUL character. `at`: its position in characters.
    InvalidText,
    /// Not a UUID, or one that is in use already. `id`.
    InvalidId,
    /// `id`.
    NotFound,
    /// An answer is being written in this conversation. `conversation_id`.
    Busy,
    ModelLoading,
    /// `looked_in`: the places, one a line; or `path`: the file that was named and is not there.
    ModelMissing,
    /// `path`, `reason`.
    ModelInvalid,
    /// `path`, `reason`.
    ModelUnsupported,
    /// `needed_bytes` and `available_bytes` where known.
    OutOfMemory,
    /// `reason`.
    EngineFailed,
    /// Another instance has the history open. `path`.
    HistoryLocked,
    /// `kept_at`: where the damaged file was put; `restored_from`: the backup now in use, absent when none was good.
    HistoryCorrupt,
    /// Written by a newer version of the application; nothing was changed. `path`, `found`, `known`.
    HistoryNewer,
    /// `path`.
    DiskFull,
    /// `path`, `reason`.
    DiskFailed,
    /// `url`.
    LinkRefused,
    /// `reason`.
    Internal,
}

impl WireError {
    pub fn new(code: ErrorCode) -> Self {
        Self { code, details: BTreeMap::new() }
    }

    /// Adds one fact.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.details.insert(key.to_owned(), value.to_string());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use ts_rs::Config;

    const BINDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../ui/src/ipc/bindings");

    /// Writes every type and an index that re-exports them; CI compares the result with what is committed.
    macro_rules! export {
        ($($ty:ident),* $(,)?) => {{
            let config = Config::new().with_out_dir(BINDINGS);
            $(<$ty as TS>::export(&config).unwrap();)*
            let mut index = String::from("// Made by `cargo test -p chimera-chat export_bindings`. Do not edit.\n");
            $(index.push_str(concat!("export type { ", stringify!($ty), " } from \"./", stringify!($ty), "\";\n"));)*
            std::fs::write(Path::new(BINDINGS).join("index.ts"), index).unwrap();
        }};
    }

    #[test]
    fn export_bindings() {
        export!(
            AppStatus,
            ChatEvent,
            Conversation,
            ConversationSummary,
            ErrorCode,
            Message,
            MessageStats,
            MessageStatus,
            ModelStatus,
            RegenerateRequest,
            SendAccepted,
            SendRequest,
            Settings,
            WireError,
            WireRole,
        );
        for entry in std::fs::read_dir(BINDINGS).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            assert!(!text.contains("bigint"), "JSON delivers numbers: {text}");
        }
    }

    #[test]
    fn events_are_tagged_by_type_and_codes_are_snake_case() {
        let event = ChatEvent::Failed {
            error: WireError::new(ErrorCode::DiskFull).with("path", "/x"),
            message: None,
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"type":"failed","error":{"code":"disk_full","details":{"path":"/x"}},"message":null}"#
        );
    }
}
