//! What a person wrote, on its way through a foreign template: it must come out as text, never as control tokens.
//!
//! The template's output is cut at the texts of control tokens. A mark, a character that no text has (U+FDD0, a
//! noncharacter), stands inside every such text in a message and at both ends of the message, so that nothing of it, alone or
//! with what the template puts beside it, is the text of a control token. What the template does with a message (trimming,
//! comparing, taking it apart) still works on the message. Afterwards the marks are taken out of the text between the control
//! tokens.
use crate::Tokenizer;

const MARK: char = '\u{fdd0}';

/// `content` with marks. White space at its ends stays outside, where `trim` finds it.
pub(super) fn shield(tokenizer: &Tokenizer, content: &str) -> String {
    let content = content.replace(MARK, "\u{fffd}");
    let inner = content.trim();
    let before = content.len() - content.trim_start().len();
    let mut out = String::with_capacity(content.len() + 8);
    out.push_str(&content[..before]);
    if !inner.is_empty() {
        out.push(MARK);
        push_broken(tokenizer, inner, &mut out);
        out.push(MARK);
    }
    out.push_str(&content[before + inner.len()..]);
    out
}

/// `text` with a mark after the first character of every control token's text in it.
fn push_broken(tokenizer: &Tokenizer, text: &str, out: &mut String) {
    let mut rest = 0;
    for start in tokenizer.control_starts(text) {
        let end = start + text[start..].chars().next().map_or(0, char::len_utf8);
        out.push_str(&text[rest..end]);
        out.push(MARK);
        rest = end;
    }
    out.push_str(&text[rest..]);
}

pub(super) fn unshield(text: &str) -> String {
    text.replace(MARK, "")
}
