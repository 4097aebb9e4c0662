//! `--batch IN.jsonl OUT.jsonl`: an answer for every row, in order, other keys kept; all or nothing on the disk.
use super::{generate, messages};
use crate::args::ChatArgs;
use crate::error::{CliError, InputFault};
use crate::gguf_io::NewFile;
use crate::interrupt::Stoppable;
use crate::{json_text, model};
use chimera_engine::{ChatMessage, EngineError, FinishReason, Session};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::Write;
use std::path::Path;

struct Row {
    /// From 1.
    line: usize,
    /// Its `"key": value` texts but for those that the answer brings.
    kept: String,
    messages: Vec<ChatMessage>,
}

/// Every row is checked before the model is loaded; the output appears when the last one is answered.
pub fn run(input: &Path, output: &Path, args: &ChatArgs) -> Result<(), CliError> {
    let rows = read_rows(input)?;
    let mut session = Session::new(model::open(&args.model)?);
    let stoppable = Stoppable::begin();
    let mut file = NewFile::create(output)?;
    let mut out = file.writer();
    let progress = progress(rows.len());
    for row in rows {
        let mut line = answer(&mut session, row, input, args, &stoppable)?;
        line.push('\n');
        out.write_all(line.as_bytes()).map_err(|source| CliError::write(output, source))?;
        progress.inc(1);
    }
    out.flush().map_err(|source| CliError::write(output, source))?;
    drop(out);
    progress.finish();
    file.publish()
}

/// Each row is a conversation of its own, with the same seed wherever it stands; equal prefixes are read once.
fn answer(
    session: &mut Session,
    row: Row,
    input: &Path,
    args: &ChatArgs,
    stoppable: &Stoppable,
) -> Result<String, CliError> {
    session.reset();
    let completion =
        generate(session, &row.messages, &args.sampling, stoppable, &mut |_| {}).map_err(|e| match e {
            CliError::Engine(EngineError::ContextFull { needed, limit }) => CliError::BadLine {
                path: input.to_owned(),
                line: row.line,
                reason: InputFault::TooLong { needed, limit },
            },
            other => other,
        })?;
    if completion.finish == FinishReason::Cancelled {
        return Err(CliError::Interrupted);
    }
    let mut line = format!("{{{}, \"answer\": {}", row.kept, Value::from(completion.text));
    if !completion.thinking.is_empty() {
        line.push_str(&format!(", \"thinking\": {}", Value::from(completion.thinking)));
    }
    line.push('}');
    Ok(line)
}

/// Blank lines are passed over; the first bad one is named.
fn read_rows(path: &Path) -> Result<Vec<Row>, CliError> {
    let bytes = std::fs::read(path).map_err(|source| CliError::read(path, source))?;
    let lines = bytes.split(|&b| b == b'\n').enumerate().map(|(i, line)| (i + 1, line.trim_ascii()));
    let rows = lines.filter(|(_, line)| !line.is_empty()).map(|(line, text)| {
        parse_row(line, text).map_err(|reason| CliError::BadLine { path: path.to_owned(), line, reason })
    });
    rows.collect()
}

fn parse_row(line: usize, text: &[u8]) -> Result<Row, InputFault> {
    let text = str::from_utf8(text).map_err(|_| InputFault::NotUtf8)?;
    let value: Value = serde_json::from_str(text)
        .map_err(|e| InputFault::Json(e.to_string().replace(" at line 1 column", " at column")))?;
    let Value::Object(fields) = value else { return Err(InputFault::NotObject) };
    let messages = messages::parse(fields.get("messages").unwrap_or(&Value::Null))?;
    Ok(Row { line, kept: kept_members(text), messages })
}

/// Never empty: "messages" is among them.
fn kept_members(text: &str) -> String {
    let is_ours = |member: &str| matches!(json_text::key(member).as_deref(), Some("answer" | "thinking"));
    let kept: Vec<&str> = json_text::members(text).into_iter().filter(|member| !is_ours(member)).collect();
    kept.join(", ")
}

/// On standard error, and only if that is a terminal.
fn progress(rows: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} [{elapsed} < {eta}]");
    ProgressBar::new(rows as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
