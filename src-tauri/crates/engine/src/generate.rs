//! From a prompt to an answer: prefix reuse, prefill, sampling, stop tokens, thinking, text at grapheme boundaries.
use crate::{CancelFlag, Completion, EngineError, GenerateEvent, GenerateOptions, Session, TokenId};

impl Session {
    /// Answers `prompt` (the whole conversation, see [`crate::template::render`]). Reads only what neither the live
    /// state nor a kept snapshot covers, and keeps snapshots at the end of the prompt and of the answer.
    /// Cancelling during the prefill gives an empty completion with `FinishReason::Cancelled`, not an error.
    pub fn generate(
        &mut self,
        _prompt: &[TokenId],
        _options: &GenerateOptions,
        _cancel: &CancelFlag,
        _events: &mut dyn FnMut(GenerateEvent<'_>),
    ) -> Result<Completion, EngineError> {
        Err(EngineError::EmptyPrompt)
    }
}
