//! JSON as text: what a parser would not keep (order of keys, spelling of numbers) passes through untouched.

/// Where the string literal that starts `text` ends (its closing quote included).
pub fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return i + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// The `"key": value` texts of a valid JSON object, in order.
pub fn members(object: &str) -> Vec<&str> {
    let body = object.trim().trim_start_matches('{');
    let body = body.strip_suffix('}').unwrap_or(body);
    let (mut out, mut start, mut at, mut depth) = (Vec::new(), 0, 0, 0_usize);
    while let Some(c) = body[at..].chars().next() {
        match c {
            '"' => at += string_end(&body[at..]) - 1,
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                out.push(body[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
        at += c.len_utf8();
    }
    out.push(body[start..].trim());
    out.retain(|member| !member.is_empty());
    out
}

/// The key of a member, with its escapes resolved.
pub fn key(member: &str) -> Option<String> {
    serde_json::from_str(&member[..string_end(member)]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_text() {
        let object = r#" {"b": [1, {"x": 2}], "a" : 1.10, "q\"}": "},{\\", "ह": {} } "#;
        assert_eq!(
            members(object),
            [r#""b": [1, {"x": 2}]"#, r#""a" : 1.10"#, r#""q\"}": "},{\\""#, r#""ह": {}"#]
        );
        assert_eq!(members("{}"), [""; 0]);
    }

    #[test]
    fn keys_are_unescaped() {
        let keys: Vec<_> = members(r#"{"a\u006eswer": 1, "ह": 2}"#).into_iter().map(key).collect();
        assert_eq!(keys, [Some("answer".to_owned()), Some("ह".to_owned())]);
    }
}
