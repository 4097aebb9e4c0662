//! Tokens → bytes → UTF-8 → grapheme clusters. What leaves is whole clusters only: a consonant never shows before
//! its matra, nor half an emoji.
use super::Tokenizer;
use crate::TokenId;
use unicode_segmentation::UnicodeSegmentation;

/// Turns tokens into text deltas that end at grapheme boundaries: the concatenation of all
/// deltas and of `finish` is `Tokenizer::decode` of all tokens.
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    /// The beginning of a character that is not complete yet (at most 3 bytes between calls).
    bytes: Vec<u8>,
    /// The last cluster, which the next character may still extend.
    text: String,
}

impl<'a> StreamDecoder<'a> {
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, bytes: Vec::new(), text: String::new() }
    }

    /// The text that `id` completes (may be empty).
    pub fn push(&mut self, id: TokenId) -> String {
        self.tokenizer.push_bytes(id, &mut self.bytes);
        self.take_characters();
        let rest = self.text.split_off(closed_prefix(&self.text));
        std::mem::replace(&mut self.text, rest)
    }

    /// What was still held back.
    pub fn finish(mut self) -> String {
        self.text.push_str(&String::from_utf8_lossy(&self.bytes));
        self.text
    }

    /// Moves complete characters from `bytes` to `text`; the same replacements as `String::from_utf8_lossy`.
    fn take_characters(&mut self) {
        let mut used = 0;
        for chunk in self.bytes.utf8_chunks() {
            self.text.push_str(chunk.valid());
            used += chunk.valid().len();
            let at_end = used + chunk.invalid().len() == self.bytes.len();
            if chunk.invalid().is_empty() || (at_end && may_continue(chunk.invalid())) {
                break;
            }
            self.text.push(char::REPLACEMENT_CHARACTER);
            used += chunk.invalid().len();
        }
        self.bytes.drain(..used);
    }
}

/// Whether more bytes could still make a character of this (`error_len` is `None` for an unexpected end).
fn may_continue(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none())
}

/// How many bytes of `text` no later character can change the clusters of: all but the last cluster, or everything
/// after a line feed (rule GB4 of UAX 29: always a boundary after it).
fn closed_prefix(text: &str) -> usize {
    if text.ends_with('\n') {
        return text.len();
    }
    text.grapheme_indices(true).next_back().map_or(0, |(start, _)| start)
}
