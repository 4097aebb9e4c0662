//! The interactive conversation.
use super::generate;
use crate::args::ChatArgs;
use crate::console::{self, Output};
use crate::error::CliError;
use crate::interrupt::Stoppable;
use crate::lang::Lang;
use crate::model;
use chimera_engine::{ChatMessage, Completion, FinishReason, GenerateEvent, Role, Session, template};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use std::path::Path;

enum Line {
    Text(String),
    New,
    Help,
    Quit,
    Empty,
    Unknown(String),
}

impl Line {
    fn parse(line: &str) -> Self {
        match line.trim() {
            "" => Self::Empty,
            "/new" => Self::New,
            "/help" => Self::Help,
            "/quit" | "/exit" => Self::Quit,
            command if command.starts_with('/') && !command.contains(char::is_whitespace) => {
                Self::Unknown(command.to_owned())
            }
            text => Self::Text(text.to_owned()),
        }
    }
}

struct Repl<'a> {
    args: &'a ChatArgs,
    lang: Lang,
    session: Session,
    messages: Vec<ChatMessage>,
}

pub fn run(args: &ChatArgs, lang: Lang) -> Result<(), CliError> {
    let session = Session::new(model::open(&args.model)?);
    let mut repl = Repl { args, lang, session, messages: Vec::new() };
    repl.welcome();
    let mut editor = DefaultEditor::new().map_err(stdin_error)?;
    let mut interrupted = false;
    loop {
        match editor.readline("› ") {
            Ok(line) => {
                interrupted = false;
                let _ = editor.add_history_entry(&line);
                if repl.take(Line::parse(&line))? {
                    return Ok(());
                }
            }
            Err(ReadlineError::Interrupted) if interrupted => return Err(CliError::Interrupted),
            Err(ReadlineError::Interrupted) => {
                interrupted = true;
                repl.say("Press Ctrl-C again to leave.", "बाहर जाने के लिए Ctrl-C फिर दबाएँ।");
            }
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(stdin_error(error)),
        }
    }
}

fn stdin_error(error: ReadlineError) -> CliError {
    let source = match error {
        ReadlineError::Io(source) => source,
        other => std::io::Error::other(other.to_string()),
    };
    CliError::read(Path::new("<stdin>"), source)
}

impl Repl<'_> {
    /// Notices go to standard error, so that a pipe sees answers only.
    fn say(&self, en: &str, hi: &str) {
        console::note(self.lang.pick(en, hi));
    }

    fn welcome(&self) {
        let info = self.session.model().info();
        console::note(format_args!("Chimera · {} · {}", info.name, info.quantization));
        self.say(
            "Ask in Hindi or English. /help lists the commands.",
            "हिंदी या अंग्रेज़ी में पूछिए। /help से आदेश देखिए।",
        );
    }

    /// Whether to leave.
    fn take(&mut self, line: Line) -> Result<bool, CliError> {
        match line {
            Line::Empty => {}
            Line::Quit => return Ok(true),
            Line::New => {
                self.messages.clear();
                self.session.reset();
                self.say("A new conversation.", "नई बातचीत।");
            }
            Line::Help => self.say(
                "/new   start a new conversation\n/quit  leave (or Ctrl-D)\n/help  this list\nCtrl-C stops the answer; twice, it leaves.",
                "/new   नई बातचीत शुरू करें\n/quit  बाहर जाएँ (या Ctrl-D)\n/help  यह सूची\nCtrl-C जवाब रोकता है; दो बार दबाने पर बाहर जाते हैं।",
            ),
            Line::Unknown(command) => self.say(
                &format!("{command} is no command; /help lists them."),
                &format!("{command} कोई आदेश नहीं है; /help से सूची देखिए।"),
            ),
            Line::Text(text) => self.answer(text)?,
        }
        Ok(false)
    }

    fn answer(&mut self, question: String) -> Result<(), CliError> {
        self.messages.push(ChatMessage { role: Role::User, content: question });
        if !self.fit()? {
            self.messages.pop();
            self.say("This message is longer than the model's context.", "यह संदेश मॉडल की सीमा से लंबा है।");
            return Ok(());
        }
        let completion = self.stream()?;
        match completion.finish {
            FinishReason::Stop => {}
            FinishReason::Cancelled => self.say("(stopped)", "(रोका गया)"),
            FinishReason::Length => self.say("(cut at the token limit)", "(टोकन सीमा पर कटा)"),
        }
        // The model has never seen a question without an answer, so one that was stopped at once is forgotten.
        if completion.text.is_empty() {
            self.messages.pop();
        } else {
            self.messages.push(ChatMessage { role: Role::Assistant, content: completion.text });
        }
        Ok(())
    }

    fn stream(&mut self) -> Result<Completion, CliError> {
        let mut out = Output::new();
        let stoppable = Stoppable::begin();
        // Thinking is shown, dimmed, to people only.
        let (terminal, mut thinking) = (out.terminal, false);
        let completion =
            generate(&mut self.session, &self.messages, &self.args.sampling, &stoppable, &mut |event| {
                match event {
                    GenerateEvent::Thinking(text) if terminal => {
                        if !thinking {
                            out.raw("\x1b[2m");
                            thinking = true;
                        }
                        out.print(text);
                    }
                    GenerateEvent::Text(text) => {
                        if std::mem::take(&mut thinking) {
                            out.raw("\x1b[0m\n");
                        }
                        out.print(text);
                    }
                    _ => {}
                }
            })?;
        out.raw(if thinking { "\x1b[0m\n" } else { "\n" });
        out.finish()?;
        Ok(completion)
    }

    /// When the prompt leaves no room for an answer (at most half of the context), drops the oldest exchanges until half of
    /// the rest is used, so that the turns that follow find their prefix read; `false` when the question alone is too long.
    fn fit(&mut self) -> Result<bool, CliError> {
        let context = self.session.model().info().context_length;
        let limit = context - self.args.sampling.max_tokens.min(context / 2);
        if self.prompt_len(&self.messages[self.messages.len().saturating_sub(1)..])? > limit {
            return Ok(false);
        }
        let (is_full, mut dropped) = (self.prompt_len(&self.messages)? > limit, 0);
        while is_full && self.messages.len() >= 3 && self.prompt_len(&self.messages)? > limit / 2 {
            self.messages.drain(..2);
            dropped += 1;
        }
        if dropped > 0 {
            self.say(
                &format!("({dropped} oldest exchange(s) no longer fit and were left out)"),
                &format!("(सबसे पुराने {dropped} सवाल-जवाब अब नहीं समाते और छोड़ दिए गए)"),
            );
        }
        Ok(true)
    }

    fn prompt_len(&self, messages: &[ChatMessage]) -> Result<usize, CliError> {
        let think = self.args.sampling.think.into();
        Ok(template::prompt(self.session.model(), messages, think, super::now())?.len())
    }
}
