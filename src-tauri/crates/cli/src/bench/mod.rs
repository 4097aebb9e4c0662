//! `chimera bench`: load, first token, prefill, decode, peak memory, alone or against llama.cpp. Medians over `--repeats`.
mod against;
mod memory;
mod peer;
mod phase;
mod protocol;
mod report;
mod roof;
mod worker;

use crate::args::BenchArgs;
use crate::console::{self, Output};
use crate::error::CliError;
use crate::model;
use chimera_engine::{CancelFlag, Model, Session, TokenId};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

/// The wheel that the comparison was made with.
pub const PEER_VERSION: &str = "2026.10.11549";

/// Length of the prompt that the first token answers.
const FIRST_TOKEN_PROMPT: usize = 64;

/// Repeated until a prompt is long enough.
const TEXT: &str = "इंद्रधनुष तब बनता है जब सूरज की रोशनी पानी की बूँदों से होकर गुज़रती है। A rainbow appears when sunlight \
                    passes through drops of water, is bent, reflected, and bent again on its way out. ";

#[derive(Serialize)]
struct Report<'a> {
    load_ms: f64,
    /// From before the process is started to the first token of a 64-token prompt.
    first_token_ms: f64,
    prefill_tok_s: f64,
    decode_tok_s: f64,
    /// `null` where the platform does not tell.
    peak_rss_bytes: Option<u64>,
    threads: usize,
    cpu_tier: &'a str,
    backend: &'static str,
    model: &'a str,
    model_sha256: &'a str,
    model_bytes: u64,
    quantization: &'a str,
    first_token_prompt_tokens: usize,
    prompt_tokens: u32,
    decode_tokens: u32,
    repeats: u32,
}

/// What a probe process prints when it has its first token.
#[derive(Serialize, Deserialize)]
struct Probe {
    load_ms: f64,
    token: TokenId,
}

pub fn run(args: &BenchArgs) -> Result<(), CliError> {
    if args.first_token_probe {
        return probe(args);
    }
    if args.worker {
        return worker::run(args);
    }
    let path = model::locate(args.model.model.as_deref())?;
    if args.against.is_some() {
        return against::run(args, &path);
    }
    // Loaded first, so that a bad file is reported as what it is.
    let model = Model::load(&path, &args.model.load_options())?;
    check_fits(&model, args)?;
    let probes: Vec<(f64, f64)> =
        (0..args.repeats).map(|_| time_probe(args, &path)).collect::<Result<_, _>>()?;
    let speeds: Vec<(f64, f64)> =
        (0..args.repeats).map(|_| time_generation(&model, args)).collect::<Result<_, _>>()?;
    let peak_rss_bytes = memory::peak_rss();
    let info = model.info();
    let report = Report {
        load_ms: median(probes.iter().map(|p| p.0)),
        first_token_ms: median(probes.iter().map(|p| p.1)),
        prefill_tok_s: median(speeds.iter().map(|s| s.0)),
        decode_tok_s: median(speeds.iter().map(|s| s.1)),
        peak_rss_bytes,
        threads: info.threads,
        cpu_tier: &info.cpu_tier,
        backend: args.model.backend.name(),
        model: &info.name,
        model_sha256: model.sha256(),
        model_bytes: info.file_bytes,
        quantization: &info.quantization,
        first_token_prompt_tokens: FIRST_TOKEN_PROMPT,
        prompt_tokens: args.prompt_tokens,
        decode_tokens: args.decode_tokens,
        repeats: args.repeats,
    };
    print(&report, args.json)
}

fn check_fits(model: &Model, args: &BenchArgs) -> Result<(), CliError> {
    if args.prompt_tokens as usize + args.decode_tokens as usize <= model.info().context_length {
        return Ok(());
    }
    Err(CliError::Usage {
        option: "prompt-tokens",
        needs: "to fit the model's context together with --decode-tokens",
    })
}

fn print(report: &Report<'_>, as_json: bool) -> Result<(), CliError> {
    if as_json {
        return console::line(serde_json::json!(report));
    }
    let mut out = Output::new();
    let mut line =
        |label: &str, value: f64, unit: &str| out.raw(&format!("{label:<12} {value:>10.1} {unit}\n"));
    line("load", report.load_ms, "ms");
    line("first token", report.first_token_ms, "ms from process start (64-token prompt)");
    line("prefill", report.prefill_tok_s, &format!("tokens/s ({} tokens)", report.prompt_tokens));
    line("decode", report.decode_tok_s, &format!("tokens/s ({} tokens)", report.decode_tokens));
    if let Some(bytes) = report.peak_rss_bytes {
        line("peak memory", bytes as f64 / 1e6, "MB");
    }
    out.raw(&format!("{} · {} · {} threads\n", report.model, report.cpu_tier, report.threads));
    out.finish()
}

/// The child's part: load, read, sample greedily, say so.
fn probe(args: &BenchArgs) -> Result<(), CliError> {
    let start = Instant::now();
    let model = model::open(&args.model)?;
    let load_ms = milliseconds(start);
    let prompt = prompt(&model, FIRST_TOKEN_PROMPT);
    let mut session = Session::new(model);
    let token = likeliest(session.prefill(&prompt, &CancelFlag::default(), &mut |_, _| {})?);
    console::line(serde_json::json!(Probe { load_ms, token }))
}

/// (load, first token) of a fresh process, in milliseconds.
fn time_probe(args: &BenchArgs, path: &Path) -> Result<(f64, f64), CliError> {
    let failed = |e: std::io::Error| CliError::Probe { reason: e.to_string() };
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command
        .args(["bench", "--first-token-probe", "--backend", args.model.backend.name(), "--model"])
        .arg(path);
    command.arg("--threads").arg(args.model.threads.to_string());
    command.args(args.model.cpu.iter().flat_map(|tier| ["--cpu", tier]));
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
    }
    let first_token_ms = milliseconds(start);
    child.wait().map_err(failed)?;
    let probe: Probe = serde_json::from_str(&line).map_err(|e| CliError::Probe { reason: e.to_string() })?;
    Ok((probe.load_ms, first_token_ms))
}

/// (prefill, decode) in tokens a second, on an empty sequence.
fn time_generation(model: &Arc<Model>, args: &BenchArgs) -> Result<(f64, f64), CliError> {
    let prompt = prompt(model, args.prompt_tokens as usize);
    let mut session = Session::new(Arc::clone(model));
    let start = Instant::now();
    let mut next = likeliest(session.prefill(&prompt, &CancelFlag::default(), &mut |_, _| {})?);
    let prefill = prompt.len() as f64 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    for _ in 0..args.decode_tokens {
        next = likeliest(session.step(next)?);
    }
    Ok((prefill, f64::from(args.decode_tokens) / start.elapsed().as_secs_f64()))
}

fn prompt(model: &Model, len: usize) -> Vec<TokenId> {
    model.tokenizer().encode(TEXT).into_iter().cycle().take(len).collect()
}

fn likeliest(logits: &[f32]) -> TokenId {
    let best = logits.iter().zip(0..).max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.map_or(0, |(_, id)| id)
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// The middle value, or the mean of the two middle ones.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    match (sorted.get(sorted.len().saturating_sub(1) / 2), sorted.get(sorted.len() / 2)) {
        (Some(low), Some(high)) => (low + high) / 2.0,
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median([7.0].into_iter()), 7.0);
    }
}
