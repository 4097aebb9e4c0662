//! The prompt format: ChatML, in Rust code. Nothing from the file's own template is executed.
//!
//! `<|im_start|>{role}\n{text}<|im_end|>\n` for every turn, then `<|im_start|>assistant\n`, then `<think>\n` if
//! thinking is asked for. The markers are control ids; the text between them is encoded as ordinary text.
use crate::{ChatMessage, EngineError, Role, Think, TokenId, Tokenizer};

pub(crate) const TURN_START: &str = "<|im_start|>";
pub(crate) const TURN_END: &str = "<|im_end|>";
pub(crate) const DOCUMENT_END: &str = "<|endoftext|>";
pub(crate) const THINK_START: &str = "<think>";
pub(crate) const THINK_END: &str = "</think>";

/// The whole prompt of a conversation, ending with `<|im_start|>assistant\n` (and `<think>\n` for [`Think::On`]).
pub fn render(
    tokenizer: &Tokenizer,
    messages: &[ChatMessage],
    think: Think,
) -> Result<Vec<TokenId>, EngineError> {
    let start = control(tokenizer, TURN_START)?;
    let end = control(tokenizer, TURN_END)?;
    let mut ids = Vec::new();
    for message in messages {
        ids.push(start);
        ids.extend(tokenizer.encode(&format!("{}\n{}", role_name(message.role), message.content)));
        ids.push(end);
        ids.extend(tokenizer.encode("\n"));
    }
    ids.push(start);
    ids.extend(tokenizer.encode("assistant\n"));
    if think == Think::On {
        ids.push(control(tokenizer, THINK_START)?);
        ids.extend(tokenizer.encode("\n"));
    }
    Ok(ids)
}

pub(crate) fn control(tokenizer: &Tokenizer, text: &'static str) -> Result<TokenId, EngineError> {
    tokenizer.control(text).ok_or(EngineError::MissingControlToken { text })
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}
