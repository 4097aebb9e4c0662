//! What the history holds, as types. Times are milliseconds since the Unix epoch.
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    User,
    Assistant,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::User, Self::Assistant].into_iter().find(|role| role.name() == name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
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

impl Status {
    const ALL: [Self; 6] =
        [Self::Streaming, Self::Complete, Self::Stopped, Self::Interrupted, Self::Length, Self::Failed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Streaming => "streaming",
            Self::Complete => "complete",
            Self::Stopped => "stopped",
            Self::Interrupted => "interrupted",
            Self::Length => "length",
            Self::Failed => "failed",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// How an answer ended, as told by the turn that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Complete,
    Stopped,
    Length,
    Failed,
}

impl From<Ending> for Status {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Complete => Self::Complete,
            Ending::Stopped => Self::Stopped,
            Ending::Length => Self::Length,
            Ending::Failed => Self::Failed,
        }
    }
}

/// Stored as one JSON column; a field that a later version adds must have a default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnswerStats {
    pub prompt_tokens: u32,
    pub reused_tokens: u32,
    pub completion_tokens: u32,
    pub first_token_ms: f64,
    pub tokens_per_second: f64,
    pub model: String,
    pub seed: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub id: Uuid,
    pub role: Role,
    pub text: String,
    pub thinking: String,
    pub status: Status,
    pub created_at: i64,
    pub stats: Option<AnswerStats>,
    /// All versions of this answer in order of arrival, itself included (one entry for a user's message).
    pub versions: Vec<Uuid>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationSummary {
    pub id: Uuid,
    pub title: String,
    pub created_at: i64,
    pub updated_at: i64,
}

/// A conversation as shown: the branch from its first message to the remembered leaf.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    pub summary: ConversationSummary,
    pub messages: Vec<Message>,
}

/// A message that the person sends, and the id its answer will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserTurn {
    /// A new id starts a new conversation.
    pub conversation: Uuid,
    pub user: Uuid,
    pub text: String,
    pub assistant: Uuid,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub ending: Ending,
    pub text: String,
    pub thinking: String,
    pub stats: Option<AnswerStats>,
}
