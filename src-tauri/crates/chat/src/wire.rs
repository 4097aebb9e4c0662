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
#[ts(export)]
pub enum WireRole {
    User,
    Assistant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
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
#[ts(export)]
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
#[ts(export)]
pub struct MessageStats {
    pub prompt_tokens: u32,
    pub reused_tokens: u32,
    pub completion_tokens: u32,
    pub first_token_ms: f64,
    pub tokens_per_second: f64,
    pub model: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ConversationSummary {
    pub id: String,
    pub title: String,
    pub created_at: f64,
    pub updated_at: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Conversation {
    pub summary: ConversationSummary,
    pub messages: Vec<Message>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SendRequest {
    /// Made by the window (UUIDv7); a new id starts a new conversation.
    pub conversation_id: String,
    pub message_id: String,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct RegenerateRequest {
    pub conversation_id: String,
    /// The assistant message to answer again.
    pub message_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SendAccepted {
    pub summary: ConversationSummary,
    /// The user's message as stored; null for regenerate.
    pub user: Option<Message>,
    /// The empty streaming answer.
    pub assistant: Message,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
#[ts(export)]
pub enum ChatEvent {
    /// The prompt is being read; `dropped_turns` oldest turns did not fit the context window.
    Prefill { done: u32, total: u32, dropped_turns: u32 },
    Thinking { text: String },
    Delta { text: String },
    /// Last event of every turn that produced an answer, whole or partial.
    Finished { message: Message, summary: ConversationSummary },
    /// Last event of a turn that failed; `message` holds what was kept.
    Failed { error: WireError, message: Option<Message> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "state", rename_all = "snake_case")]
#[ts(export)]
pub enum ModelStatus {
    Loading,
    Ready { name: String, parameters: f64, file_bytes: f64, quantization: String, context_length: u32, cpu_tier: String, threads: u32 },
    Failed { error: WireError },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct AppStatus {
    pub version: String,
    pub model: ModelStatus,
    /// Set when the history could not be opened as it was (corrupt, locked, newer): what was done and where the copy is.
    pub notice: Option<WireError>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Settings {
    /// "system", "hi" or "en".
    pub language: String,
    /// "system", "light" or "dark".
    pub theme: String,
}

/// An error's identity and its facts; the sentence is made in the window, in the person's language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct WireError {
    pub code: ErrorCode,
    pub details: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum ErrorCode {
    EmptyMessage,
    MessageTooLong,
    InvalidText,
    InvalidId,
    NotFound,
    Busy,
    ModelLoading,
    ModelMissing,
    ModelInvalid,
    ModelUnsupported,
    OutOfMemory,
    EngineFailed,
    HistoryLocked,
    HistoryCorrupt,
    HistoryNewer,
    DiskFull,
    DiskFailed,
    LinkRefused,
    Internal,
}
