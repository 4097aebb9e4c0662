//! The snapshots that a session may resume from.
use super::Snapshot;
use crate::TokenId;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Least recently used first, within a budget of bytes; what several of them share counts once.
pub(crate) struct Kept {
    snapshots: VecDeque<Snapshot>,
    budget: usize,
}

impl Kept {
    pub fn new(budget: usize) -> Self {
        Self { snapshots: VecDeque::new(), budget }
    }

    pub fn set_budget(&mut self, bytes: usize) {
        self.budget = bytes;
        self.shrink();
    }

    pub fn clear(&mut self) {
        self.snapshots.clear();
    }

    /// Adds one in place of another of the same tokens. One that exceeds the budget alone is not kept.
    pub fn push(&mut self, snapshot: Snapshot) {
        self.snapshots.retain(|s| s.tokens != snapshot.tokens);
        self.snapshots.push_back(snapshot);
        self.shrink();
    }

    /// The longest one whose tokens begin `prompt`, counted as used now.
    pub fn longest_prefix(&mut self, prompt: &[TokenId]) -> Option<Snapshot> {
        let fitting = self.snapshots.iter().enumerate().filter(|(_, s)| prompt.starts_with(&s.tokens));
        let (index, _) = fitting.max_by_key(|(_, s)| s.token_count())?;
        let snapshot = self.snapshots.remove(index)?;
        self.snapshots.push_back(snapshot.clone());
        Some(snapshot)
    }

    pub fn remove(&mut self, tokens: &[TokenId]) {
        self.snapshots.retain(|s| *s.tokens != *tokens);
    }

    /// Those whose tokens begin `tokens`, longest first.
    pub fn prefixes(&self, tokens: &[TokenId]) -> Vec<&Snapshot> {
        let mut found: Vec<_> = self.snapshots.iter().filter(|s| tokens.starts_with(&s.tokens)).collect();
        found.sort_by_key(|s| std::cmp::Reverse(s.token_count()));
        found
    }

    pub fn has(&self, tokens: &[TokenId]) -> bool {
        self.snapshots.iter().any(|s| *s.tokens == *tokens)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.snapshots.len()
    }

    pub fn bytes(&self) -> usize {
        let mut seen = HashSet::new();
        let parts = self.snapshots.iter().flat_map(|s| &s.kv);
        let shared = parts.filter(|part| seen.insert(Arc::as_ptr(&part.bytes))).map(|part| part.bytes.len());
        shared.sum::<usize>() + self.snapshots.iter().map(Snapshot::own_bytes).sum::<usize>()
    }

    fn shrink(&mut self) {
        while self.bytes() > self.budget {
            self.snapshots.pop_front();
        }
    }
}
