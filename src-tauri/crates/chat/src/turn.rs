//! A turn after its message is stored: generate, checkpoint, finish, tell the window.
use crate::active::Claim;
use crate::convert;
use crate::errors::ChatError;
use crate::outbox::{Draft, Outbox, count};
use crate::prompt::Ask;
use crate::service::Pace;
use crate::wire::{ChatEvent, Message, MessageStatus};
use crate::worker::{Answered, Job, Upkeep, Worker};
use chimera_engine::{Completion, FinishReason, GenerateOptions};
use chimera_history::{AnswerStats, Conversation, Ending, History, Outcome};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

pub(crate) struct Turn {
    pub history: Arc<History>,
    pub worker: Arc<Worker>,
    /// Ends with the question and the empty answer.
    pub begun: Conversation,
    pub options: GenerateOptions,
    pub outbox: Arc<Outbox>,
    pub claim: Claim,
    pub pace: Pace,
}

impl Turn {
    pub async fn run(self) {
        let started = Instant::now();
        let Some(answer) = self.begun.messages.last() else { return };
        let result = self.generate(answer.id).await;
        let (draft, first_output) = self.outbox.end();
        let (ending, stats) = match &result {
            Ok(answered) => {
                (ending(answered.completion.finish), Some(self.stats(answered, started, first_output)))
            }
            Err(_) => (Ending::Failed, None),
        };
        let outcome = Outcome { ending, text: draft.text, thinking: draft.thinking, stats };
        let upkeep = result.as_ref().ok().and_then(|answered| self.upkeep(answered, &outcome.text));
        let last = self.finish(answer.id, outcome, result.err()).await;
        let Self { history, worker, claim, outbox, .. } = self;
        upkeep.into_iter().for_each(|upkeep| worker.upkeep(upkeep)); // only now: what it writes is in the history
        drop(claim); // the window may send again as soon as it hears of the end
        outbox.close(last);
        // A failed backup is tried again after the next turn; a full disk shows itself in the turn.
        drop(history.backup_if_due().await);
    }

    /// Waits for the engine; writes down what there is every now and then.
    async fn generate(&self, answer: Uuid) -> Result<Answered, ChatError> {
        let (done, mut result) = oneshot::channel();
        self.worker.send(Job {
            conversation: Some(self.begun.summary.id),
            ask: Ask::from_branch(&self.begun.messages),
            options: self.options.clone(),
            cancel: self.claim.cancel.clone(),
            outbox: Arc::clone(&self.outbox),
            done,
        })?;
        let mut checkpoints = tokio::time::interval(self.pace.checkpoint);
        checkpoints.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                result = &mut result => return result.unwrap_or(Err(ChatError::EngineGone)),
                _ = checkpoints.tick() => self.checkpoint(answer).await,
            }
        }
    }

    /// A question without an answer is no part of the next prompt.
    fn upkeep(&self, answered: &Answered, answer: &str) -> Option<Upkeep> {
        (!answer.is_empty()).then(|| Upkeep {
            conversation: Some(self.begun.summary.id),
            ask: Ask::from_branch(&self.begun.messages),
            answer: answer.to_owned(),
            dropped_turns: answered.dropped_turns,
            think: self.options.think,
        })
    }

    /// A checkpoint that fails is no reason to stop: the end of the turn tells what went wrong.
    async fn checkpoint(&self, answer: Uuid) {
        if let Some(Draft { text, thinking }) = self.outbox.draft() {
            drop(self.history.checkpoint(answer, &text, &thinking).await);
        }
    }

    /// Stores the end; the last event says how it went.
    async fn finish(&self, id: Uuid, outcome: Outcome, failed: Option<ChatError>) -> ChatEvent {
        match (self.history.finish(id, &outcome).await, failed) {
            (Ok((message, summary)), None) => ChatEvent::Finished {
                message: convert::message(&message),
                summary: convert::summary(&summary),
            },
            (Ok((message, _)), Some(error)) => {
                ChatEvent::Failed { error: error.into(), message: Some(convert::message(&message)) }
            }
            (Err(error), failed) => ChatEvent::Failed {
                error: failed.unwrap_or(ChatError::History(error)).into(),
                message: self.unsaved(outcome),
            },
        }
    }

    /// The answer as the window has it, though it could not be stored.
    fn unsaved(&self, outcome: Outcome) -> Option<Message> {
        let empty = convert::message(self.begun.messages.last()?);
        let Outcome { text, thinking, .. } = outcome;
        Some(Message { text, thinking, status: MessageStatus::Failed, ..empty })
    }

    fn stats(&self, answered: &Answered, started: Instant, first_output: Option<Instant>) -> AnswerStats {
        let Completion { prompt_tokens, reused_tokens, completion_tokens, .. } = answered.completion;
        let wait = first_output.map_or(Duration::ZERO, |first| first - started);
        let decoding = first_output.map_or(Duration::ZERO, |first| first.elapsed());
        AnswerStats {
            prompt_tokens: count(prompt_tokens),
            reused_tokens: count(reused_tokens),
            completion_tokens: count(completion_tokens),
            first_token_ms: wait.as_secs_f64() * 1000.0,
            tokens_per_second: rate(count(completion_tokens.saturating_sub(1)), decoding),
            model: answered.model.clone(),
            seed: self.options.sampling.seed,
        }
    }
}

/// The first token belongs to the wait, so `n` tokens are those after it. 1/s.
fn rate(n: u32, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { f64::from(n) / time.as_secs_f64() }
}

fn ending(finish: FinishReason) -> Ending {
    match finish {
        FinishReason::Stop => Ending::Complete,
        FinishReason::Length => Ending::Length,
        FinishReason::Cancelled => Ending::Stopped,
    }
}
