//! From a prompt to an answer: prefix reuse, prefill, sampling, stop tokens, thinking, text at grapheme boundaries.
use crate::answer::{Answer, open_thinking};
use crate::sampling::Sampler;
use crate::session::CHUNK;
use crate::{
    CancelFlag, Completion, EngineError, FinishReason, GenerateEvent, GenerateOptions, Model, Session,
    TokenId,
};
use std::ops::Range;
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
        let model = Arc::clone(self.model());
        let mut turn = Turn::start(&model, self, prompt, options)?;
        loop {
            match turn.next(self, cancel, CHUNK, events)? {
                Next::Read(part) => {
                    self.read_chunk(turn.tokens(part))?;
                    turn.was_read(self, events)?;
                }
                Next::End(finish) => return turn.end(self, finish, events),
            }
        }
    }
}

/// What a turn wants.
pub(crate) enum Next {
    /// That its session reads these of its [`tokens`](Turn::tokens), and [`Turn::was_read`] to be called then.
    Read(Range<usize>),
    /// To be ended.
    End(FinishReason),
}

/// One answer in the making. It says what to read next and samples from what the session then shows; who reads, alone or
/// together with other turns, is the caller.
pub(crate) struct Turn<'a> {
    model: &'a Model,
    /// The prompt, then what was sampled. The session has read a prefix of it.
    script: Vec<TokenId>,
    prompt_len: usize,
    /// Where reading the prompt pauses for a snapshot, ascending; the last is the prompt's end.
    pauses: Vec<usize>,
    /// A snapshot of the whole prompt is due before the first token is read.
    keep_prompt: bool,
    max_tokens: usize,
    sampler: Sampler,
    answer: Answer<'a>,
    reused_tokens: usize,
    /// Tokens sampled so far, the one that ended the answer not counted.
    count: usize,
}

impl<'a> Turn<'a> {
    /// Checks, and brings `session` to the longest prefix of `prompt` that it knows.
    pub fn start(
        model: &'a Model,
        session: &mut Session,
        prompt: &[TokenId],
        options: &GenerateOptions,
    ) -> Result<Self, EngineError> {
        let info = model.info();
        if prompt.len() >= info.context_length {
            return Err(EngineError::ContextFull { needed: prompt.len() + 1, limit: info.context_length });
        }
        if let Some(&token) = prompt.iter().find(|t| **t as usize >= info.vocab_size) {
            return Err(EngineError::TokenOutOfRange { token, vocab_size: info.vocab_size });
        }
        let sampler = Sampler::new(&options.sampling)?;
        let reused_tokens = session.resume(prompt)?;
        // What follows `<think>` is not fed back, so the state that later turns can use is the one before it.
        let open = open_thinking(model.tokenizer(), prompt);
        let mark = open.unwrap_or(prompt.len());
        let mut pauses = session.pauses(prompt);
        pauses.extend([mark, prompt.len()]);
        pauses.sort_unstable();
        Ok(Self {
            model,
            script: prompt.to_vec(),
            prompt_len: prompt.len(),
            pauses,
            keep_prompt: mark == prompt.len(),
            max_tokens: options.max_tokens,
            sampler,
            answer: Answer::new(model.tokenizer(), open.is_some()),
            reused_tokens,
            count: 0,
        })
    }

    pub fn tokens(&self, part: Range<usize>) -> &[TokenId] {
        &self.script[part]
    }

    pub fn prompt_len(&self) -> usize {
        self.prompt_len
    }

    /// Whether some of the prompt has still to be read.
    pub fn is_reading(&self, session: &Session) -> bool {
        session.tokens().len() < self.prompt_len
    }

    /// At most `rows` tokens of the prompt, or the next token of the answer.
    pub fn next(
        &mut self,
        session: &mut Session,
        cancel: &CancelFlag,
        rows: usize,
        events: &mut dyn FnMut(GenerateEvent<'_>),
    ) -> Result<Next, EngineError> {
        if !self.is_reading(session) {
            return self.decode(session, cancel, events);
        }
        if cancel.is_cancelled() {
            return Ok(Next::End(FinishReason::Cancelled));
        }
        let at = session.tokens().len();
        let pause = self.pauses.iter().copied().find(|pause| *pause > at).unwrap_or(self.prompt_len);
        Ok(Next::Read(at..pause.min(at + rows)))
    }

    /// Until a stop token, the limits, or a cancel.
    fn decode(
        &mut self,
        session: &mut Session,
        cancel: &CancelFlag,
        events: &mut dyn FnMut(GenerateEvent<'_>),
    ) -> Result<Next, EngineError> {
        if self.count >= self.max_tokens {
            return Ok(Next::End(FinishReason::Length));
        }
        if cancel.is_cancelled() {
            return Ok(Next::End(FinishReason::Cancelled));
        }
        let token = self.sample(session)?;
        if self.count == 0 && self.keep_prompt {
            session.keep_here()?;
        }
        if self.model.is_stop(token) {
            return Ok(Next::End(FinishReason::Stop));
        }
        self.count += 1;
        self.answer.push(token, events);
        if session.tokens().len() >= self.model.info().context_length {
            return Ok(Next::End(FinishReason::Length));
        }
        self.script.push(token);
        Ok(Next::Read(self.script.len() - 1..self.script.len()))
    }

    fn sample(&mut self, session: &mut Session) -> Result<TokenId, EngineError> {
        let tokenizer = self.model.tokenizer();
        session.refresh_logits()?;
        let (tokens, logits) = (session.tokens(), session.logits());
        let recent = tokens.iter().rev().take(self.sampler.window()).copied();
        self.sampler.sample(logits, recent.filter(|id| !tokenizer.is_control(*id)), tokens.len())
    }

    /// Reports progress in the prompt, and keeps a snapshot where it pauses.
    pub fn was_read(
        &mut self,
        session: &mut Session,
        events: &mut dyn FnMut(GenerateEvent<'_>),
    ) -> Result<(), EngineError> {
        let done = session.tokens().len();
        if done > self.prompt_len {
            return Ok(());
        }
        events(GenerateEvent::Prefill { done, total: self.prompt_len });
        if done < self.prompt_len && self.pauses.contains(&done) {
            session.keep_here()?;
        }
        Ok(())
    }

    pub fn end(
        self,
        session: &mut Session,
        finish: FinishReason,
        events: &mut dyn FnMut(GenerateEvent<'_>),
    ) -> Result<Completion, EngineError> {
        let (text, thinking) = self.answer.finish(events);
        if self.count > 0 {
            session.keep_here()?;
        }
        Ok(Completion {
            text,
            thinking,
            finish,
            prompt_tokens: self.prompt_len,
            reused_tokens: self.reused_tokens,
            completion_tokens: self.count,
        })
    }
}
