//! Several sequences stepped together: every weight is read from memory once for all of them.
//!
//! Two layers. [`Model::read_together`] takes sessions and tokens and makes passes of them; a server that schedules by itself
//! needs no more. [`Batch`] is such a schedule: prompts join, are read in chunks beside the answers that are being written,
//! and leave with their session when they end. Every sequence keeps its own state, keys and values, position, sampling,
//! cancel flag and error. A result has the bits it has alone (where a kernel's rounding depends on the number of rows, as
//! AMX's does, it agrees within that rounding).
use crate::generate::{Next, Turn};
use crate::model::{Chunk, Rows};
use crate::session::CHUNK;
use crate::{
    CancelFlag, Completion, EngineError, FinishReason, GenerateEvent, GenerateOptions, Model, Session,
    TokenId,
};
use std::ops::Range;

#[cfg(test)]
mod tests;

/// Rows of a pass at most: buffers stay small, and a cancel is seen soon.
const PASS_ROWS: usize = 2 * CHUNK;

/// What one session is to read.
pub struct Feed<'a> {
    pub session: &'a mut Session,
    /// At least one, of any number: the next token of an answer, or a piece of a prompt.
    pub tokens: &'a [TokenId],
    /// Whether [`Session::logits`] shall be those after the last of `tokens`.
    pub logits: bool,
}

impl Model {
    /// Each session reads its tokens, all of them together in passes of at most 256 rows. The results stand in the order of the
    /// feeds. A feed that is refused (`EmptyPrompt`, `TokenOutOfRange`, `ContextFull`, `SessionForeign`, `OutOfMemory`) leaves
    /// its own session as it was (out of memory: empty) and the others untouched; a kernel's refusal empties all of its pass.
    pub fn read_together(&self, feeds: &mut [Feed<'_>]) -> Vec<Result<(), EngineError>> {
        let mut results: Vec<_> = feeds.iter().map(|feed| self.check_feed(feed)).collect();
        let mut done = vec![0; feeds.len()];
        loop {
            let plan = plan_pass(feeds, &done, &results);
            if plan.is_empty() {
                break;
            }
            self.pass(feeds, &plan, &mut results);
            plan.iter().for_each(|(i, part)| done[*i] = part.end);
        }
        self.logits_together(feeds, &mut results);
        results
    }

    fn check_feed(&self, feed: &Feed<'_>) -> Result<(), EngineError> {
        if !std::ptr::eq(self, &**feed.session.model()) {
            return Err(EngineError::SessionForeign);
        }
        feed.session.check(feed.tokens)
    }

    /// Reads the planned parts; an outcome that is an error goes to `results`.
    fn pass(
        &self,
        feeds: &mut [Feed<'_>],
        plan: &[(usize, Range<usize>)],
        results: &mut [Result<(), EngineError>],
    ) {
        let (mut chunks, mut outcomes): (Vec<Chunk<'_>>, Vec<_>) = Default::default();
        let mut planned = plan.iter().peekable();
        for (i, feed) in feeds.iter_mut().enumerate() {
            let Some((_, part)) = planned.next_if(|(at, _)| *at == i) else { continue };
            match feed.session.chunk(&feed.tokens[part.clone()], Rows::Last) {
                Ok(chunk) => {
                    chunks.push(chunk);
                    outcomes.push(Ok(()));
                }
                Err(error) => outcomes.push(Err(error)),
            }
        }
        let mut read = self.read(chunks).into_iter();
        for ((i, part), outcome) in plan.iter().zip(outcomes) {
            let outcome = outcome.and_then(|()| read.next().unwrap_or(Ok(())));
            let feed = &mut feeds[*i];
            if let Err(error) = feed.session.finish_chunk(&feed.tokens[part.clone()], outcome) {
                results[*i] = Err(error);
            }
        }
    }

    fn logits_together(&self, feeds: &mut [Feed<'_>], results: &mut [Result<(), EngineError>]) {
        let is_wanted = |feed: &Feed<'_>, result: &Result<(), _>| feed.logits && result.is_ok();
        let mut wanted = Vec::with_capacity(feeds.len());
        for (feed, result) in feeds.iter_mut().zip(results.iter_mut()) {
            if is_wanted(feed, result) {
                match feed.session.wanted_logits() {
                    Ok(one) => wanted.push(one),
                    Err(error) => *result = Err(error),
                }
            }
        }
        let failed = if wanted.is_empty() { None } else { self.logits(&mut wanted).err() };
        for (feed, result) in feeds.iter_mut().zip(results) {
            if is_wanted(feed, result) {
                match &failed {
                    None => feed.session.set_has_logits(),
                    // Not shared by all: whoever asks its session again gets its own error.
                    Some(_) => *result = feed.session.refresh_logits(),
                }
            }
        }
    }
}

/// Which part of which feed the next pass reads, in the order of the feeds.
fn plan_pass(
    feeds: &[Feed<'_>],
    done: &[usize],
    results: &[Result<(), EngineError>],
) -> Vec<(usize, Range<usize>)> {
    let mut left = PASS_ROWS;
    let mut plan = Vec::new();
    for (i, feed) in feeds.iter().enumerate().filter(|(i, _)| results[*i].is_ok()) {
        let rows = (feed.tokens.len() - done[i]).min(left);
        if rows > 0 {
            plan.push((i, done[i]..done[i] + rows));
            left -= rows;
        }
    }
    plan
}

/// Names a member of a [`Batch`]; never given twice by one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// Answers being written together. Members join and leave between steps.
pub struct Batch<'m> {
    model: &'m Model,
    members: Vec<Member<'m>>,
    tickets: u64,
}

struct Member<'m> {
    ticket: Ticket,
    session: Session,
    turn: Turn<'m>,
    cancel: CancelFlag,
}

/// A member that has left the batch by itself: its answer is complete, cancelled or failed.
pub struct Ended {
    pub ticket: Ticket,
    pub session: Session,
    pub result: Result<Completion, EngineError>,
}

/// Why a session was not let in, and the session.
pub struct Refused {
    pub session: Session,
    pub error: EngineError,
}

impl<'m> Batch<'m> {
    pub fn new(model: &'m Model) -> Self {
        Self { model, members: Vec::new(), tickets: 0 }
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Lets a prompt in, as [`Session::generate`] takes one: the session's snapshots are used and kept. Reads nothing yet.
    pub fn join(
        &mut self,
        mut session: Session,
        prompt: &[TokenId],
        options: &GenerateOptions,
        cancel: CancelFlag,
    ) -> Result<Ticket, Box<Refused>> {
        let turn = if std::ptr::eq(self.model, &**session.model()) {
            Turn::start(self.model, &mut session, prompt, options)
        } else {
            Err(EngineError::SessionForeign)
        };
        let turn = match turn {
            Ok(turn) => turn,
            Err(error) => return Err(Box::new(Refused { session, error })),
        };
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.members.push(Member { ticket, session, turn, cancel });
        Ok(ticket)
    }

    /// Takes a member out before its end, with what its session has read.
    pub fn leave(&mut self, ticket: Ticket) -> Option<Session> {
        let at = self.members.iter().position(|member| member.ticket == ticket)?;
        Some(self.members.remove(at).session)
    }

    /// One more token for every answer that is being written, and up to 128 tokens of the prompts that are not read yet, first
    /// come first served. Returns the members that ended by it.
    pub fn step(&mut self, events: &mut dyn FnMut(Ticket, GenerateEvent<'_>)) -> Vec<Ended> {
        let mut rows = CHUNK;
        let plans: Vec<Plan> = self.members.iter_mut().map(|m| m.plan(&mut rows, events)).collect();
        let read = self.read(&plans);
        let mut ended = Vec::new();
        let outcomes = plans.into_iter().zip(read);
        for (mut member, (plan, read)) in std::mem::take(&mut self.members).into_iter().zip(outcomes) {
            let mut events = |event: GenerateEvent<'_>| events(member.ticket, event);
            let result = match (plan, read) {
                (Plan::Fail(error), _) | (_, Err(error)) => Err(error),
                (Plan::End(finish), _) => member.turn.end(&mut member.session, finish, &mut events),
                (Plan::Wait, _) => {
                    self.members.push(member);
                    continue;
                }
                (Plan::Read(_), Ok(())) => match member.turn.was_read(&mut member.session, &mut events) {
                    Ok(()) => {
                        self.members.push(member);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            ended.push(Ended { ticket: member.ticket, session: member.session, result });
        }
        ended
    }

    /// The outcome of every member's part; `Ok` for those that read nothing.
    fn read(&mut self, plans: &[Plan]) -> Vec<Result<(), EngineError>> {
        let (mut feeds, mut at) = (Vec::new(), Vec::new());
        for (i, (member, plan)) in self.members.iter_mut().zip(plans).enumerate() {
            if let Plan::Read(part) = plan {
                // Logits of a prompt's middle are never looked at.
                let logits = part.end >= member.turn.prompt_len();
                feeds.push(Feed {
                    session: &mut member.session,
                    tokens: member.turn.tokens(part.clone()),
                    logits,
                });
                at.push(i);
            }
        }
        let mut results: Vec<_> = plans.iter().map(|_| Ok(())).collect();
        at.into_iter().zip(self.model.read_together(&mut feeds)).for_each(|(i, result)| results[i] = result);
        results
    }
}

enum Plan {
    Read(Range<usize>),
    /// Its prompt waits for those before it.
    Wait,
    End(FinishReason),
    Fail(EngineError),
}

impl Member<'_> {
    /// What this member does in the next step; `rows` are what is left for prompts.
    fn plan(&mut self, rows: &mut usize, events: &mut dyn FnMut(Ticket, GenerateEvent<'_>)) -> Plan {
        let is_reading = self.turn.is_reading(&self.session);
        if is_reading && *rows == 0 && !self.cancel.is_cancelled() {
            return Plan::Wait;
        }
        let ticket = self.ticket;
        let mut events = |event: GenerateEvent<'_>| events(ticket, event);
        match self.turn.next(&mut self.session, &self.cancel, *rows, &mut events) {
            Ok(Next::Read(part)) => {
                *rows -= if is_reading { part.len() } else { 0 };
                Plan::Read(part)
            }
            Ok(Next::End(finish)) => Plan::End(finish),
            Err(error) => Plan::Fail(error),
        }
    }
}
