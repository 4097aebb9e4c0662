//! `tojson` with the spacing of Python's `json.dumps`.
use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// Lists in lists, at most.
const DEPTH: usize = 32;
/// Bytes, at most: a short list may hold one other many times.
const MAX_BYTES: usize = 256 << 10;

pub(super) fn to_json(value: &Value, indent: Option<usize>) -> Result<String, Error> {
    let mut out = String::new();
    write(value, indent, 0, &mut out)?;
    Ok(out)
}

fn write(value: &Value, indent: Option<usize>, depth: usize, out: &mut String) -> Result<(), Error> {
    let refuse = |what: &'static str| Err(Error::new(ErrorKind::BadSerialization, what));
    if depth > DEPTH || out.len() > MAX_BYTES {
        return refuse("a value is too deep or too long for JSON");
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Undefined => return refuse("an undefined value is no JSON"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&value.to_string()),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| (None, item));
            write_items(items, ['[', ']'], indent, depth, out)?;
        }
        ValueKind::Map => {
            let items: Result<Vec<_>, Error> =
                value.try_iter()?.map(|key| Ok((Some(key.to_string()), value.get_item(&key)?))).collect();
            write_items(items?.into_iter(), ['{', '}'], indent, depth, out)?;
        }
        _ => match value.as_str() {
            Some(text) if text.len() <= MAX_BYTES => write_string(text, out),
            _ => return refuse("a value is no JSON"),
        },
    }
    Ok(())
}

fn write_items(
    items: impl Iterator<Item = (Option<String>, Value)>,
    [open, close]: [char; 2],
    indent: Option<usize>,
    depth: usize,
    out: &mut String,
) -> Result<(), Error> {
    let new_line = |depth: usize, out: &mut String| {
        if let Some(width) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', width * depth));
        }
    };
    out.push(open);
    let mut count = 0;
    for (key, item) in items {
        if count > 0 {
            out.push_str(if indent.is_some() { "," } else { ", " });
        }
        new_line(depth + 1, out);
        if let Some(key) = key {
            write_string(&key, out);
            out.push_str(": ");
        }
        write(&item, indent, depth + 1, out)?;
        count += 1;
    }
    if count > 0 {
        new_line(depth, out);
    }
    out.push(close);
    Ok(())
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spacing_is_python_s() {
        let value = Value::from(std::collections::BTreeMap::from([
            ("a", Value::from(vec![Value::from(1), Value::from(true), Value::from(())])),
            ("b", Value::from("x\"\n\u{1}é")),
        ]));
        assert_eq!(to_json(&value, None).unwrap(), r#"{"a": [1, true, null], "b": "x\"\n\u0001é"}"#);
        let lines = "{\n  \"a\": [\n    1,\n    true,\n    null\n  ],\n  \"b\": \"x\\\"\\n\\u0001é\"\n}";
        assert_eq!(to_json(&value, Some(2)).unwrap(), lines);
        assert_eq!(to_json(&Value::from(Vec::<Value>::new()), Some(2)).unwrap(), "[]");
    }
}
