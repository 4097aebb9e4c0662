//! Standard output and error. A reader that went away (`| head`) is no failure of ours; a full disk is.
use crate::error::CliError;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;

/// Results: one line to standard output.
pub fn line(text: impl Display) -> Result<(), CliError> {
    let mut out = Output::new();
    out.raw(&format!("{text}\n"));
    out.finish()
}

/// Notices: one line to standard error, which cannot fail a command.
pub fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Standard output that remembers its first error: the events of an answer cannot return one.
pub struct Output {
    /// Control characters that a model writes must not reach a terminal.
    pub terminal: bool,
    failure: Option<std::io::Error>,
}

impl Output {
    pub fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), failure: None }
    }

    /// Text of the model.
    pub fn print(&mut self, text: &str) {
        if self.terminal && text.contains(is_unsafe) {
            self.raw(&text.replace(is_unsafe, "\u{fffd}"));
        } else {
            self.raw(text);
        }
    }

    /// Text of ours, with its escape sequences.
    pub fn raw(&mut self, text: &str) {
        if self.failure.is_none() {
            let mut out = std::io::stdout().lock();
            self.failure = out.write_all(text.as_bytes()).and_then(|()| out.flush()).err();
        }
    }

    pub fn finish(self) -> Result<(), CliError> {
        match self.failure {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(CliError::write(Path::new("<stdout>"), error))
            }
            _ => Ok(()),
        }
    }
}

fn is_unsafe(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}
