//! The prompt format: ChatML, in Rust code. Nothing from the file's own template is executed.
use crate::{ChatMessage, EngineError, Think, TokenId, Tokenizer};

/// The whole prompt of a conversation, ending with `<|im_start|>assistant\n` (and `<think>\n` for [`Think::On`]).
pub fn render(
    _tokenizer: &Tokenizer,
    _messages: &[ChatMessage],
    _think: Think,
) -> Result<Vec<TokenId>, EngineError> {
    Err(EngineError::MissingControlToken { text: "<|im_start|>" })
}
