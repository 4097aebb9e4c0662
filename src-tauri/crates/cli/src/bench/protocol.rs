//! What the two sides of a comparison are told and what they answer: one JSON object a line, over a pipe. Each side is a
//! process of its own with the model loaded; while one works, the other waits for a line and uses no processor.
use crate::error::CliError;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Token `i` of every prompt, the same on both sides: 8 and up are no control tokens in any vocabulary here.
pub fn token(i: usize, vocab: usize) -> u32 {
    let ordinary = vocab.saturating_sub(8).max(1);
    // Below 2^32: vocabularies are.
    (8 % vocab.max(1) + i.wrapping_mul(7919) % ordinary) as u32
}

#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Order {
    Load {
        model: PathBuf,
        threads: usize,
        context: usize,
        /// Of llama.cpp only.
        flash_attention: bool,
        /// Of llama.cpp only.
        repack: bool,
    },
    /// Reads so many tokens, after what was read or from an empty sequence, and computes the last one's logits.
    Read { tokens: usize, afresh: bool },
    /// Reads tokens one by one, with logits after each.
    Step { tokens: usize },
    /// So many sequences of their own, stepped in one pass; ours only.
    Together { sequences: usize, tokens: usize },
    /// Saves what was read to a file, then: opens it in a new session and reads so many tokens more; ours only.
    Reopen { tokens: usize },
    /// The memory of the process.
    Memory,
}

#[derive(Deserialize, Serialize, Clone, Debug, Default)]
pub struct Answer {
    pub error: Option<String>,
    /// Wall clock of the order alone.
    #[serde(default)]
    pub seconds: f64,
    /// Processor time of all threads of the process in that while, where the platform tells.
    pub cpu_seconds: Option<f64>,
    /// After `load`.
    #[serde(default)]
    pub vocab: usize,
    #[serde(default)]
    pub version: String,
    #[serde(default)]
    pub system_info: String,
    #[serde(default)]
    pub library: String,
    /// From just before the library was opened (llama.cpp), to the end of the order.
    pub since_library_s: Option<f64>,
    /// After `memory`.
    pub peak_rss_bytes: Option<u64>,
    /// The same before the library was opened: the interpreter alone.
    pub before_bytes: Option<u64>,
}

/// One running side.
pub struct Side {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    failure: fn(String) -> CliError,
}

impl Side {
    pub fn start(mut command: Command, failure: fn(String) -> CliError) -> Result<Self, CliError> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| failure(e.to_string()))?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failure("no pipe".to_owned()));
        };
        Ok(Self { child, orders, answers: BufReader::new(answers), failure })
    }

    pub fn order(&mut self, order: &Order) -> Result<Answer, CliError> {
        let text = serde_json::json!(order);
        writeln!(self.orders, "{text}").and_then(|()| self.orders.flush()).map_err(|e| self.failed(&e))?;
        let mut line = String::new();
        let read = self.answers.read_line(&mut line).map_err(|e| self.failed(&e))?;
        if read == 0 {
            return Err((self.failure)("the process ended".to_owned()));
        }
        let answer: Answer = serde_json::from_str(&line).map_err(|e| self.failed(&e))?;
        match answer.error {
            Some(reason) => Err((self.failure)(reason)),
            None => Ok(answer),
        }
    }

    fn failed(&self, cause: &dyn std::fmt::Display) -> CliError {
        (self.failure)(cause.to_string())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_ordinary_and_inside_every_vocabulary() {
        for vocab in [9, 260, 32_768, 49_152] {
            assert!((0..5000).all(|i| (8..vocab as u32).contains(&token(i, vocab))), "{vocab}");
        }
    }

    #[test]
    fn orders_are_tagged_objects() {
        let text = serde_json::json!(Order::Read { tokens: 64, afresh: true }).to_string();
        assert_eq!(text, r#"{"afresh":true,"do":"read","tokens":64}"#);
    }
}
