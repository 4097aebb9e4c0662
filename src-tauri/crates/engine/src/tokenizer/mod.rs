//! Byte-level BPE, built from the GGUF's own keys. Text is brought to NFC before it is encoded,
//! and ordinary text can never become a control token.
use crate::TokenId;

pub struct Tokenizer {}

impl Tokenizer {
    /// Encodes ordinary text. No BOS is added; `<|im_end|>` typed by a person becomes ordinary tokens.
    pub fn encode(&self, _text: &str) -> Vec<TokenId> {
        Vec::new()
    }

    /// The text of `ids`. Control tokens are left out; bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, _ids: &[TokenId]) -> String {
        String::new()
    }

    /// The id of a control token by its text, such as `<|im_end|>`.
    pub fn control(&self, _text: &str) -> Option<TokenId> {
        None
    }

    pub fn is_control(&self, _id: TokenId) -> bool {
        false
    }

    pub fn vocab_size(&self) -> usize {
        0
    }
}

/// Turns tokens into text deltas that end at grapheme boundaries: the concatenation of all
/// deltas and of `finish` is `Tokenizer::decode` of all tokens.
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
}

impl<'a> StreamDecoder<'a> {
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer }
    }

    /// The text that `id` completes (may be empty).
    pub fn push(&mut self, id: TokenId) -> String {
        self.tokenizer.decode(&[id])
    }

    /// What was still held back.
    pub fn finish(self) -> String {
        String::new()
    }
}
