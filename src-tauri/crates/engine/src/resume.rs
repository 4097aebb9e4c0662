//! Never reading twice what was read: from where a prompt goes on, where its reading pauses for a snapshot, and which
//! snapshots are worth writing down.
use crate::template::TURN_START;
use crate::{CancelFlag, EngineError, Session, Snapshot, TokenId, Tokenizer};

/// A snapshot this close after another saves less time than its copy takes.
const NEAR: usize = 32;

/// Between the snapshots that the reading of a long prompt leaves behind. Each costs a copy of the fixed state and a cut
/// chunk; a turn read later again starts at most this far back.
const SPACING: usize = 1024;

impl Session {
    /// How many tokens of `prompt` need not be read.
    pub fn known(&self, prompt: &[TokenId]) -> usize {
        let kept = self.kept.prefixes(prompt).first().map_or(0, |snapshot| snapshot.token_count());
        self.live(prompt).max(kept)
    }

    /// The same for the live state alone.
    fn live(&self, prompt: &[TokenId]) -> usize {
        if prompt.starts_with(self.tokens()) { self.tokens().len() } else { 0 }
    }

    /// Brings the state to the longest known prefix of `prompt`; returns its length. A snapshot that proves to be damaged
    /// is dropped.
    pub(crate) fn resume(&mut self, prompt: &[TokenId]) -> Result<usize, EngineError> {
        loop {
            let live = self.live(prompt);
            match self.kept.longest_prefix(prompt).filter(|s| s.token_count() > live) {
                Some(snapshot) => match self.restore(&snapshot) {
                    Err(EngineError::SnapshotCorrupt { .. }) => self.kept.remove(snapshot.tokens()),
                    restored => return restored.map(|()| self.tokens().len()),
                },
                None => {
                    if live == 0 {
                        self.reset();
                    }
                    return Ok(live);
                }
            }
        }
    }

    pub(crate) fn keep_here(&mut self) -> Result<(), EngineError> {
        if !self.tokens().is_empty() && !self.kept.has(self.tokens()) {
            let snapshot = self.snapshot()?;
            self.kept.push(snapshot);
        }
        Ok(())
    }

    /// Where the reading of `prompt` pauses for a snapshot, in order: after the system prompt, before the last message of
    /// the person, and at turns in between.
    pub(crate) fn pauses(&self, prompt: &[TokenId]) -> Vec<usize> {
        pauses(self.model().tokenizer(), prompt, self.tokens().len())
    }

    /// Reads ahead what the next prompt of a conversation begins with. `prompt` is the conversation with its last answer
    /// (see [`crate::template::render`]); what it asks for is left out. There is something to read only where the
    /// answer's text does not encode to the tokens that were sampled, or followed thinking. A cancel is no error.
    pub fn settle(&mut self, prompt: &[TokenId], cancel: &CancelFlag) -> Result<(), EngineError> {
        let end = turn_starts(self.model().tokenizer(), prompt).last().unwrap_or(0);
        let read = &prompt[..end];
        if self.known(read) + NEAR > end || end >= self.model().info().context_length {
            return Ok(());
        }
        let at = self.resume(read)?;
        match self.read(&read[at..], cancel, &mut |_, _| {}) {
            Ok(()) => self.keep_here(),
            Err(EngineError::Cancelled) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The snapshots of a conversation that are worth writing down, longest first: of the newest state, of the last one
    /// before the last question (from there it is changed, or answered again), and of earlier turn boundaries while all
    /// stay within `allowance` bytes. `prompt` as for [`Session::settle`].
    pub fn resumable(&self, prompt: &[TokenId], allowance: usize) -> Vec<Snapshot> {
        let prefixes = self.kept.prefixes(prompt);
        let Some((longest, earlier)) = prefixes.split_first() else { return Vec::new() };
        let tokenizer = self.model().tokenizer();
        let question = turn_starts(tokenizer, prompt).nth_back(2).unwrap_or(0);
        let is_boundary = |at: usize| prompt.get(at).is_some_and(|id| tokenizer.is_control(*id));
        let mut chosen = vec![(*longest).clone()];
        let mut bytes = longest.bytes();
        for snapshot in earlier.iter().filter(|s| s.token_count() <= question && s.begins(longest)) {
            let fits = bytes + snapshot.own_bytes() <= allowance && is_boundary(snapshot.token_count());
            if chosen.len() == 1 || fits {
                bytes += snapshot.own_bytes();
                chosen.push((*snapshot).clone());
            }
        }
        chosen
    }
}

/// Positions of all but the first turn of `prompt`.
fn turn_starts(tokenizer: &Tokenizer, prompt: &[TokenId]) -> impl DoubleEndedIterator<Item = usize> {
    let start = tokenizer.control(TURN_START);
    prompt.iter().enumerate().skip(1).filter(move |(_, id)| Some(**id) == start).map(|(at, _)| at)
}

fn pauses(tokenizer: &Tokenizer, prompt: &[TokenId], from: usize) -> Vec<usize> {
    let mut starts: Vec<usize> = turn_starts(tokenizer, prompt).collect();
    starts.pop(); // the answer's: the end of the prompt is near
    let last = starts.last().copied();
    let system = starts.first().copied().filter(|_| begins_with_system(tokenizer, prompt));
    let mut before = from;
    starts.retain(|at| {
        let far = before + if Some(*at) == last || Some(*at) == system { NEAR } else { SPACING };
        let pause = *at >= far;
        before = if pause { *at } else { before };
        pause
    });
    starts
}

fn begins_with_system(tokenizer: &Tokenizer, prompt: &[TokenId]) -> bool {
    // More tokens than "system\n" has bytes are not needed.
    let head = prompt.get(1..prompt.len().min(9)).unwrap_or_default();
    tokenizer.decode(head).starts_with("system\n")
}
