//! From stored types to wire types.
use crate::outbox::count;
use crate::wire;
use chimera_engine::ModelInfo;
use chimera_history as history;

pub(crate) fn message(stored: &history::Message) -> wire::Message {
    let version = stored.versions.iter().position(|id| *id == stored.id).unwrap_or_default();
    wire::Message {
        id: stored.id.to_string(),
        role: match stored.role {
            history::Role::User => wire::WireRole::User,
            history::Role::Assistant => wire::WireRole::Assistant,
        },
        text: stored.text.clone(),
        thinking: stored.thinking.clone(),
        status: status(stored.status),
        created_at: milliseconds(stored.created_at),
        stats: stored.stats.as_ref().map(stats),
        version: count(version),
        versions: stored.versions.iter().map(ToString::to_string).collect(),
    }
}

pub(crate) fn status(stored: history::Status) -> wire::MessageStatus {
    match stored {
        history::Status::Streaming => wire::MessageStatus::Streaming,
        history::Status::Complete => wire::MessageStatus::Complete,
        history::Status::Stopped => wire::MessageStatus::Stopped,
        history::Status::Interrupted => wire::MessageStatus::Interrupted,
        history::Status::Length => wire::MessageStatus::Length,
        history::Status::Failed => wire::MessageStatus::Failed,
    }
}

fn stats(stored: &history::AnswerStats) -> wire::MessageStats {
    wire::MessageStats {
        prompt_tokens: stored.prompt_tokens,
        reused_tokens: stored.reused_tokens,
        completion_tokens: stored.completion_tokens,
        first_token_ms: stored.first_token_ms,
        tokens_per_second: stored.tokens_per_second,
        model: stored.model.clone(),
    }
}

pub(crate) fn summary(stored: &history::ConversationSummary) -> wire::ConversationSummary {
    wire::ConversationSummary {
        id: stored.id.to_string(),
        title: stored.title.clone(),
        created_at: milliseconds(stored.created_at),
        updated_at: milliseconds(stored.updated_at),
    }
}

pub(crate) fn conversation(stored: &history::Conversation) -> wire::Conversation {
    wire::Conversation {
        summary: summary(&stored.summary),
        messages: stored.messages.iter().map(message).collect(),
    }
}

pub(crate) fn ready(info: &ModelInfo) -> wire::ModelStatus {
    wire::ModelStatus::Ready {
        name: info.name.clone(),
        parameters: number(info.parameters),
        file_bytes: number(info.file_bytes),
        quantization: info.quantization.clone(),
        context_length: count(info.context_length),
        cpu_tier: info.cpu_tier.clone(),
        threads: count(info.threads),
    }
}

/// Exact up to 2^53, far beyond any time in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn milliseconds(ms: i64) -> f64 {
    ms as f64
}

/// Exact up to 2^53: the window's numbers are doubles.
#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn number(n: u64) -> f64 {
    n as f64
}
