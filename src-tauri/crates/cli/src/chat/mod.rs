//! `chimera chat`: one question, a list of messages, a file of rows, or a conversation.
mod batch;
mod messages;
mod repl;

use crate::args::{ChatArgs, SamplingArgs};
use crate::error::CliError;
use crate::interrupt::{self, Stoppable};
use crate::lang::Lang;
use crate::model;
use chimera_engine::{ChatMessage, Completion, FinishReason, GenerateEvent, Role, Session, template};
use std::io::{IsTerminal, Write};

pub fn run(args: &ChatArgs, lang: Lang) -> Result<(), CliError> {
    interrupt::install();
    if let Some([input, output]) = args.batch.as_deref() {
        return batch::run(input, output, args);
    }
    if let Some(path) = &args.messages {
        return answer(args, &messages::read_file(path)?);
    }
    match &args.question {
        Some(question) if question.trim().is_empty() => Err(CliError::EmptyMessage),
        Some(question) => answer(args, &[ChatMessage { role: Role::User, content: question.clone() }]),
        None => repl::run(args, lang),
    }
}

/// Prints the answer alone, as it is written.
fn answer(args: &ChatArgs, messages: &[ChatMessage]) -> Result<(), CliError> {
    let mut session = Session::new(model::open(&args.model)?);
    let mut out = Output::new();
    let completion = generate(&mut session, messages, &args.sampling, &mut |event| {
        if let GenerateEvent::Text(text) = event {
            out.print(text);
        }
    })?;
    out.print("\n");
    out.finish()?;
    match completion.finish {
        FinishReason::Cancelled => Err(CliError::Interrupted),
        FinishReason::Stop | FinishReason::Length => Ok(()),
    }
}

fn generate(
    session: &mut Session,
    messages: &[ChatMessage],
    sampling: &SamplingArgs,
    events: &mut dyn FnMut(GenerateEvent<'_>),
) -> Result<Completion, CliError> {
    let options = sampling.generate_options();
    let prompt = template::render(session.model().tokenizer(), messages, options.think)?;
    let stoppable = Stoppable::begin();
    Ok(session.generate(&prompt, &options, stoppable.flag(), events)?)
}

/// Standard output that remembers its first error: the events of an answer cannot return one.
struct Output {
    /// Control characters that a model writes must not reach a terminal.
    terminal: bool,
    failure: Option<std::io::Error>,
}

impl Output {
    fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), failure: None }
    }

    /// Text of the model.
    fn print(&mut self, text: &str) {
        if self.terminal && text.contains(is_unsafe) {
            self.raw(&text.replace(is_unsafe, "\u{fffd}"));
        } else {
            self.raw(text);
        }
    }

    fn raw(&mut self, text: &str) {
        if self.failure.is_none() {
            let mut out = std::io::stdout().lock();
            self.failure = out.write_all(text.as_bytes()).and_then(|()| out.flush()).err();
        }
    }

    /// A reader that went away (`| head`) is no failure of ours.
    fn finish(self) -> Result<(), CliError> {
        match self.failure {
            Some(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(CliError::write(std::path::Path::new("<stdout>"), error))
            }
            _ => Ok(()),
        }
    }
}

fn is_unsafe(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}
