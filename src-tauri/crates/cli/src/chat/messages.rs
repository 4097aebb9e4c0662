//! Conversations handed in as JSON.
use crate::error::{CliError, InputFault};
use chimera_engine::{ChatMessage, Role};
use serde_json::Value;
use std::path::Path;

/// A file that holds a list of `{"role", "content"}`.
pub fn read_file(path: &Path) -> Result<Vec<ChatMessage>, CliError> {
    let text = std::fs::read(path).map_err(|source| CliError::read(path, source))?;
    let bad = |reason| CliError::BadInput { path: path.to_owned(), reason };
    let value: Value = serde_json::from_slice(&text).map_err(|e| bad(InputFault::Json(e.to_string())))?;
    parse(&value).map_err(bad)
}

/// A conversation that waits for an answer: known roles, texts, the user last.
pub fn parse(value: &Value) -> Result<Vec<ChatMessage>, InputFault> {
    let list = value.as_array().ok_or(InputFault::NoMessages)?;
    let messages: Vec<ChatMessage> = list.iter().enumerate().map(message).collect::<Result<_, _>>()?;
    match messages.last() {
        Some(ChatMessage { role: Role::User, .. }) => Ok(messages),
        _ => Err(InputFault::LastNotUser),
    }
}

/// Counts messages from 1, as people do.
fn message((i, value): (usize, &Value)) -> Result<ChatMessage, InputFault> {
    let fault = |problem| InputFault::Message { index: i + 1, problem };
    let role = match value.get("role").and_then(Value::as_str) {
        Some("system") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        _ => return Err(fault("\"role\" is not system, user or assistant")),
    };
    let content = value.get("content").and_then(Value::as_str).ok_or(fault("\"content\" is not a text"))?;
    if role == Role::User && content.trim().is_empty() {
        return Err(fault("\"content\" is empty"));
    }
    Ok(ChatMessage { role, content: content.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_roles_and_texts_in_order() {
        let found = parse(&json!([
            {"role": "system", "content": "s"}, {"role": "user", "content": "नमस्ते"},
            {"role": "assistant", "content": ""}, {"role": "user", "content": "b", "extra": 1}
        ]));
        let roles: Vec<Role> = found.unwrap().iter().map(|m| m.role).collect();
        assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::User]);
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        for (value, part) in [
            (json!({}), "missing or not a list"),
            (json!([]), "last message must be from the user"),
            (json!([{"role": "assistant", "content": "x"}]), "last message must be from the user"),
            (
                json!([{"role": "user", "content": "x"}, {"role": "tool", "content": "x"}]),
                "message 2: \"role\"",
            ),
            (json!([{"role": "user"}]), "message 1: \"content\" is not a text"),
            (json!([{"role": "user", "content": " \n"}]), "message 1: \"content\" is empty"),
            (json!(["x"]), "message 1: \"role\""),
        ] {
            let error = parse(&value).unwrap_err().to_string();
            assert!(error.contains(part), "{value}: {error}");
        }
    }
}
