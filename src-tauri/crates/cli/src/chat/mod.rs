//! `chimera chat`: one question, a list of messages, a file of rows, or a conversation.
mod batch;
mod messages;
mod repl;

use crate::args::{ChatArgs, SamplingArgs};
use crate::console::Output;
use crate::error::CliError;
use crate::interrupt::Stoppable;
use crate::lang::Lang;
use crate::model;
use chimera_engine::{ChatMessage, Completion, FinishReason, GenerateEvent, Role, Session, template};

pub fn run(args: &ChatArgs, lang: Lang) -> Result<(), CliError> {
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
    let stoppable = Stoppable::begin();
    let completion = generate(&mut session, messages, &args.sampling, &stoppable, &mut |event| {
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
    stoppable: &Stoppable,
    events: &mut dyn FnMut(GenerateEvent<'_>),
) -> Result<Completion, CliError> {
    let options = sampling.generate_options();
    let prompt = template::prompt(session.model(), messages, options.think, now())?;
    Ok(session.generate(&prompt, &options, stoppable.flag(), events)?)
}

/// For templates that write a date.
fn now() -> Option<i64> {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since_1970.ok().map(|t| t.as_secs() as i64)
}
