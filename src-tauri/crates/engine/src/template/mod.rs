//! The prompt format. Ours is ChatML, in Rust code: nothing of the file is executed. A foreign file brings a template of its
//! own, which runs in a sandbox (see `foreign`).
//!
//! ChatML: `<|im_start|>{role}\n{text}<|im_end|>\n` for every turn, then `<|im_start|>assistant\n`, then `<think>\n` if
//! thinking is asked for. The markers are control ids; the text between them is encoded as ordinary text.
mod date;
mod foreign;
mod json;
mod shield;
mod sums;
#[cfg(test)]
mod tests;

use crate::error::TemplateError;
use crate::{ChatMessage, EngineError, Model, Role, Think, TokenId, Tokenizer};
use foreign::{Asked, ForeignTemplate};

/// The text that our own files carry for other programs; with it, or with none, the Rust code is meant.
const CONTRACT: &str = include_str!("../../../../../assets/contract/chat_template.jinja");

pub(crate) const TURN_START: &str = "<|im_start|>";
pub(crate) const TURN_END: &str = "<|im_end|>";
pub(crate) const THINK_START: &str = "<think>";
pub(crate) const THINK_END: &str = "</think>";

/// How a model wants to be asked.
pub(crate) enum PromptFormat {
    ChatMl,
    /// Boxed: an environment is large. A template that is broken is told when it is needed: the model may be of use without.
    Foreign(Box<Result<ForeignTemplate, TemplateError>>),
}

impl PromptFormat {
    pub fn new(template: Option<&str>) -> Self {
        match template {
            None => Self::ChatMl,
            Some(text) if text.trim_end() == CONTRACT.trim_end() => Self::ChatMl,
            Some(text) => Self::Foreign(Box::new(ForeignTemplate::new(text))),
        }
    }
}

/// The whole prompt of a conversation in the format of the model. `now` (seconds since 1970, UTC) is for templates that
/// write a date.
pub fn prompt(
    model: &Model,
    messages: &[ChatMessage],
    think: Think,
    now: Option<i64>,
) -> Result<Vec<TokenId>, EngineError> {
    match model.prompt_format() {
        PromptFormat::ChatMl => render(model.tokenizer(), messages, think),
        PromptFormat::Foreign(template) => match &**template {
            Ok(template) => template.render(model.tokenizer(), messages, Asked { think, now }),
            Err(error) => Err(error.clone().into()),
        },
    }
}

/// The whole prompt of a conversation in ChatML, ending with `<|im_start|>assistant\n` (and `<think>\n` for [`Think::On`]).
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
