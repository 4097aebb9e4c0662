//! From a prompt to an answer: prefix reuse, prefill, sampling, stop tokens, thinking, text at grapheme boundaries.
use crate::answer::{Answer, open_thinking};
use crate::sampling::Sampler;
use crate::{
    CancelFlag, Completion, EngineError, FinishReason, GenerateEvent, GenerateOptions, Model, Session,
    TokenId,
};
use std::sync::Arc;

impl Session {
    /// Answers `prompt` (the whole conversation, see [`crate::template::render`]). Reads only what neither the live
    /// state nor a kept snapshot covers, and keeps snapshots at turn boundaries, at the end of the prompt and of the answer.
    /// Cancelling during the prefill gives an empty completion with `FinishReason::Cancelled`, not an error.
    pub fn generate(
        &mut self,
        prompt: &[TokenId],
        options: &GenerateOptions,
        cancel: &CancelFlag,
        events: &mut dyn FnMut(GenerateEvent<'_>),
    ) -> Result<Completion, EngineError> {
        let limit = self.model().info().context_length;
        if prompt.len() >= limit {
            return Err(EngineError::ContextFull { needed: prompt.len() + 1, limit });
        }
        let sampler = Sampler::new(&options.sampling)?;
        let reused_tokens = self.resume(prompt)?;
        // What follows `<think>` is not fed back, so the state that later turns can use is the one before it.
        let open = open_thinking(self.model().tokenizer(), prompt);
        let mark = open.unwrap_or(prompt.len());
        let model = Arc::clone(self.model());
        let mut run = Run {
            answer: Answer::new(model.tokenizer(), open.is_some()),
            model: &model,
            session: self,
            sampler,
            cancel,
            events,
            count: 0,
        };
        let finish = match run.read_prompt(prompt, mark) {
            Ok(()) => run.decode(options.max_tokens, mark == prompt.len())?,
            Err(EngineError::Cancelled) => FinishReason::Cancelled,
            Err(error) => return Err(error),
        };
        let completion_tokens = run.count;
        let (text, thinking) = run.answer.finish(run.events);
        if completion_tokens > 0 {
            self.keep_here()?;
        }
        Ok(Completion {
            text,
            thinking,
            finish,
            prompt_tokens: prompt.len(),
            reused_tokens,
            completion_tokens,
        })
    }
}

/// One call of `generate`, past its checks.
struct Run<'a> {
    session: &'a mut Session,
    model: &'a Model,
    sampler: Sampler,
    answer: Answer<'a>,
    cancel: &'a CancelFlag,
    events: &'a mut dyn FnMut(GenerateEvent<'_>),
    /// Tokens sampled so far, the one that ended the answer not counted.
    count: usize,
}

impl Run<'_> {
    /// Reads what is missing of `prompt`. Snapshots are kept at its pauses, and at `mark` if it goes on after that.
    fn read_prompt(&mut self, prompt: &[TokenId], mark: usize) -> Result<(), EngineError> {
        for end in self.session.pauses(prompt).into_iter().chain([mark, prompt.len()]) {
            let at = self.session.tokens().len();
            if at < end {
                let events = &mut *self.events;
                let mut progress =
                    |done, _| events(GenerateEvent::Prefill { done: at + done, total: prompt.len() });
                self.session.read(&prompt[at..end], self.cancel, &mut progress)?;
            }
            if end < prompt.len() && end == self.session.tokens().len() {
                self.session.keep_here()?;
            }
        }
        Ok(())
    }

    /// Samples until a stop token, the limits, or a cancel. `keep_prompt`: a snapshot is due before the first token is read.
    fn decode(&mut self, max_tokens: usize, keep_prompt: bool) -> Result<FinishReason, EngineError> {
        let limit = self.model.info().context_length;
        while self.count < max_tokens {
            if self.cancel.is_cancelled() {
                return Ok(FinishReason::Cancelled);
            }
            let token = self.sample()?;
            if self.count == 0 && keep_prompt {
                self.session.keep_here()?;
            }
            if self.model.is_stop(token) {
                return Ok(FinishReason::Stop);
            }
            self.count += 1;
            self.answer.push(token, self.events);
            if self.session.tokens().len() >= limit {
                return Ok(FinishReason::Length);
            }
            self.session.read_one(token)?;
        }
        Ok(FinishReason::Length)
    }

    fn sample(&mut self) -> Result<TokenId, EngineError> {
        let tokenizer = self.model.tokenizer();
        self.session.refresh_logits()?;
        let (tokens, logits) = (self.session.tokens(), self.session.logits());
        let recent = tokens.iter().rev().take(self.sampler.window()).copied();
        self.sampler.sample(logits, recent.filter(|id| !tokenizer.is_control(*id)), tokens.len())
    }
}
