//! Reading the JSON files of a Transformers directory.
use super::CheckpointError;
use crate::json_text::string_end;
use serde::de::DeserializeOwned;
use std::path::Path;

pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, CheckpointError> {
    let text = std::fs::read_to_string(path).map_err(|source| CheckpointError::unreadable(path, source))?;
    parse(path, &text)
}

/// As [`read`], and `None` when there is no such file.
pub fn read_optional<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, CheckpointError> {
    if path.try_exists().unwrap_or(true) { read(path).map(Some) } else { Ok(None) }
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, CheckpointError> {
    serde_json::from_str(&without_infinities(text)).map_err(|e| CheckpointError::Json {
        file: path.to_owned(),
        line: e.line(),
        reason: e.to_string(),
    })
}

/// Python writes `Infinity` and `NaN` where JSON has no such numbers; outside strings they become `null`.
fn without_infinities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '"' {
            let end = string_end(rest);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        } else if let Some(word) = ["-Infinity", "Infinity", "NaN"].iter().find(|w| rest.starts_with(**w)) {
            out.push_str("null");
            rest = &rest[word.len()..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_infinities_become_null_outside_strings_only() {
        let text = r#"{"a": [0.0, Infinity, -Infinity, NaN], "b": "Infinity \" NaN", "ह": 1}"#;
        let expected = r#"{"a": [0.0, null, null, null], "b": "Infinity \" NaN", "ह": 1}"#;
        assert_eq!(without_infinities(text), expected);
    }

    #[test]
    fn names_the_line_of_bad_json() {
        let error = parse::<serde_json::Value>(Path::new("config.json"), "{\n\"a\": }").unwrap_err();
        assert!(matches!(error, CheckpointError::Json { line: 2, .. }), "{error}");
    }
}
