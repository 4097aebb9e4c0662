//! Our side of a comparison: orders from standard input, answers to standard output (see `protocol`).
use super::memory;
use super::protocol::{Answer, Order, token};
use crate::args::BenchArgs;
use crate::console;
use crate::error::CliError;
use chimera_engine::{CancelFlag, EngineError, Feed, Model, Session, SnapshotFile, write_snapshots};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

pub fn run(args: &BenchArgs) -> Result<(), CliError> {
    let mut session = None;
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let order = serde_json::from_str(&line).map_err(|e| CliError::Probe { reason: e.to_string() })?;
        let answer = perform(&order, &mut session, args)
            .unwrap_or_else(|error| Answer { error: Some(error.to_string()), ..Answer::default() });
        console::line(serde_json::json!(answer))?;
    }
    Ok(())
}

fn perform(order: &Order, session: &mut Option<Session>, args: &BenchArgs) -> Result<Answer, CliError> {
    let (start, cpu) = (Instant::now(), memory::cpu_seconds());
    let mut answer = Answer::default();
    match (order, session.as_mut()) {
        (Order::Load { model, threads, .. }, _) => {
            let options = chimera_engine::LoadOptions { threads: *threads, ..args.model.load_options() };
            let model = Model::load(model, &options)?;
            answer.vocab = model.info().vocab_size;
            *session = Some(Session::new(model));
        }
        (Order::Memory, _) => answer.peak_rss_bytes = memory::peak_rss(),
        (Order::Read { tokens, afresh }, Some(session)) => read(session, *tokens, *afresh)?,
        (Order::Step { tokens }, Some(session)) => step(session, *tokens)?,
        (Order::Together { sequences, tokens }, Some(session)) => {
            answer.seconds = together(session, *sequences, *tokens)?;
            return Ok(answer);
        }
        (Order::Reopen { tokens }, Some(session)) => {
            answer.seconds = reopen(session, *tokens)?;
            return Ok(answer);
        }
        (_, None) => return Err(CliError::Probe { reason: "no model was loaded".to_owned() }),
    }
    answer.seconds = start.elapsed().as_secs_f64();
    answer.cpu_seconds = memory::cpu_seconds().zip(cpu).map(|(after, before)| after - before);
    Ok(answer)
}

fn read(session: &mut Session, tokens: usize, afresh: bool) -> Result<(), CliError> {
    if afresh {
        session.reset();
    }
    let from = session.tokens().len();
    let vocab = vocab(session);
    let ids: Vec<u32> = (from..from + tokens).map(|i| token(i, vocab)).collect();
    session.prefill(&ids, &CancelFlag::default(), &mut |_, _| {})?;
    Ok(())
}

fn step(session: &mut Session, tokens: usize) -> Result<(), CliError> {
    let (from, vocab) = (session.tokens().len(), vocab(session));
    for i in from..from + tokens {
        session.step(token(i, vocab))?;
    }
    Ok(())
}

/// Seconds of `tokens` passes, each a token of every sequence.
fn together(session: &Session, sequences: usize, tokens: usize) -> Result<f64, CliError> {
    let (model, vocab) = (Arc::clone(session.model()), vocab(session));
    let mut sessions: Vec<Session> = (0..sequences).map(|_| Session::new(Arc::clone(&model))).collect();
    let mut pass = |i: usize| {
        let ids: Vec<[u32; 1]> = (0..sequences).map(|s| [token(i + 97 * s, vocab)]).collect();
        let mut feeds: Vec<Feed<'_>> = sessions
            .iter_mut()
            .zip(&ids)
            .map(|(session, tokens)| Feed { session, tokens, logits: true })
            .collect();
        model.read_together(&mut feeds).into_iter().collect::<Result<(), EngineError>>()
    };
    pass(0)?;
    let start = Instant::now();
    (1..=tokens).try_for_each(pass)?;
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds from opening the file to the logits after the new tokens.
fn reopen(session: &mut Session, tokens: usize) -> Result<f64, CliError> {
    let file = tempfile::NamedTempFile::new().map_err(|e| CliError::write(Path::new("<temporary>"), e))?;
    let path = file.path();
    let snapshot = session.snapshot()?;
    // The window knows the hash of its model; hashing is not part of reopening.
    write_snapshots(std::slice::from_ref(&snapshot), &mut file.as_file())?;
    let (count, model) = (snapshot.token_count(), Arc::clone(session.model()));
    drop(snapshot);
    let start = Instant::now();
    let open = File::open(path).map_err(|e| CliError::read(path, e))?;
    let mut again = Session::new(model);
    again.restore(&SnapshotFile::open(BufReader::new(open))?.read(count)?)?;
    read(&mut again, tokens, false)?;
    Ok(start.elapsed().as_secs_f64())
}

fn vocab(session: &Session) -> usize {
    Arc::as_ref(session.model()).info().vocab_size
}
