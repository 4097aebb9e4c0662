//! What a comparison found, as JSON and as text.
use super::against::Bench;
use super::median;
use super::memory;
use super::peer::Configuration;
use super::phase::{Phase, Samples};
use super::protocol::Answer;
use crate::console::{self, Output};
use crate::error::CliError;
use chimera_engine::ModelInfo;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A configuration of llama.cpp and what its trial gave.
#[derive(Serialize, Clone, Debug)]
pub struct Tried {
    #[serde(flatten)]
    pub configuration: Configuration,
    prefill_256_tok_s: Option<f64>,
    decode_tok_s: Option<f64>,
    failure: Option<String>,
    pub chosen: bool,
}

impl Tried {
    /// From seconds a token read and a token written.
    pub fn worked(configuration: Configuration, read: f64, step: f64) -> Self {
        let (read, step) = (Some(1.0 / read), Some(1.0 / step));
        Self { configuration, prefill_256_tok_s: read, decode_tok_s: step, failure: None, chosen: false }
    }
    pub fn failed(configuration: Configuration, error: &CliError) -> Self {
        let failure = Some(error.to_string());
        Self { configuration, prefill_256_tok_s: None, decode_tok_s: None, failure, chosen: false }
    }
}

/// Gathered while it runs.
pub struct Comparison {
    info: ModelInfo,
    sha256: String,
    peer: Answer,
    tried: Vec<Tried>,
    load_average: Option<f64>,
    phases: Vec<(Phase, Samples)>,
    left_out: Vec<String>,
    shortened: Vec<String>,
    /// Bytes a second.
    pub roofs: Vec<f64>,
    pub batch: Vec<f64>,
    pub reread_s: Option<f64>,
    pub reopen_s: Option<f64>,
    pub ours_memory: Option<u64>,
    pub peer_memory: Option<u64>,
    pub peer_python: Option<u64>,
}

impl Comparison {
    pub fn new(
        info: &ModelInfo,
        sha256: String,
        peer: Answer,
        tried: Vec<Tried>,
        load_average: Option<f64>,
    ) -> Self {
        Self {
            info: info.clone(),
            sha256,
            peer,
            tried,
            load_average,
            phases: Vec::new(),
            left_out: Vec::new(),
            shortened: Vec::new(),
            roofs: Vec::new(),
            batch: Vec::new(),
            reread_s: None,
            reopen_s: None,
            ours_memory: None,
            peer_memory: None,
            peer_python: None,
        }
    }

    pub fn leave_out(&mut self, phase: Phase, reason: &str) {
        self.left_out.push(format!("{}: {reason}", phase.name()));
    }

    pub fn add(&mut self, phase: Phase, samples: Samples, asked: usize) {
        if samples.ours.len() < asked {
            self.shortened.push(format!("{}: {} of {asked} rounds", phase.name(), samples.ours.len()));
        }
        self.phases.push((phase, samples));
    }

    /// Both sides together, by the longest prompt so far.
    pub fn seconds_a_token_read(&self) -> f64 {
        let longest = self.phases.iter().rfind(|(p, _)| p.steps() == 0 && p.tokens().is_some());
        let trial = || self.tried.iter().filter_map(|t| t.prefill_256_tok_s).fold(0.0, f64::max);
        longest.map_or_else(
            || 2.0 / trial(),
            |(phase, s)| (middle(&s.ours) + middle(&s.theirs)) / phase.reads() as f64,
        )
    }

    fn seconds(&self, wanted: Phase) -> Option<&Samples> {
        self.phases.iter().find(|(phase, _)| *phase == wanted).map(|(_, samples)| samples)
    }

    /// The document. `ratios` are above 1 where we are better.
    pub fn finish(&self, bench: &Bench<'_>) -> Value {
        let rss_ratio = self.peer_memory.zip(self.ours_memory).map(|(peer, ours)| peer as f64 / ours as f64);
        let mut ratios = self.ratios(|s| (&s.theirs, &s.ours));
        ratios.insert("peak_rss".to_owned(), json!(rss_ratio));
        let (mut ours, mut peer) = (self.medians(|s| &s.ours), self.medians(|s| &s.theirs));
        ours.insert("peak_rss_bytes".to_owned(), json!(self.ours_memory));
        peer.insert("peak_rss_bytes".to_owned(), json!(self.peer_memory));
        peer.insert("interpreter_bytes".to_owned(), json!(self.peer_python));
        json!({
            "ratios": ratios,
            "ours": ours,
            "peer": peer,
            "cpu_ratios": self.ratios(|s| (&s.their_cpu, &s.our_cpu)),
            "roof": self.roof(bench),
            "batch8_ratio": (!self.batch.is_empty()).then(|| middle(&self.batch)),
            "reopen_ratio": self.reopen_s.zip(self.reread_s).map(|(reopen, reread)| reopen / reread),
            "decode_4096_depth": bench.depth,
            "rounds": self.phases.iter().map(|(p, s)| (p.name().to_owned(), json!(s.ours.len()))).collect::<Map<_, _>>(),
            "left_out": self.left_out,
            "shortened": self.shortened,
            "seconds": bench.budget.used(),
            "budget_seconds": bench.budget.seconds(),
            "threads": bench.threads,
            "model": self.model(),
            "machine": self.machine(),
            "engine": {
                "version": env!("CARGO_PKG_VERSION"),
                "cpu_tier": self.info.cpu_tier,
                "backend": bench.args.model.backend.name(),
            },
            "peer_info": {
                "name": "llama.cpp",
                "version": self.peer.version,
                "system_info": self.peer.system_info,
                "library": self.peer.library,
                "configuration": bench.configuration,
                "kv_cache": "f16",
                "tried": self.tried,
                "first_token_from": "just before its library is opened; ours from the start of the process",
                "peak_rss": "without what the interpreter took before the library was opened",
            },
        })
    }

    fn ratios(&self, sides: impl Fn(&Samples) -> (&Vec<f64>, &Vec<f64>)) -> Map<String, Value> {
        let ratio = |phase| {
            let (theirs, ours) = sides(self.seconds(phase)?);
            (!theirs.is_empty() && !ours.is_empty()).then(|| middle(theirs) / middle(ours))
        };
        super::phase::PHASES.iter().map(|p| (p.name().to_owned(), json!(ratio(*p)))).collect()
    }

    /// Tokens a second, and milliseconds to the first token.
    fn medians(&self, side: impl Fn(&Samples) -> &Vec<f64>) -> Map<String, Value> {
        let of = |(phase, samples): &(Phase, Samples)| {
            let seconds = middle(side(samples));
            match phase.tokens() {
                Some(tokens) => (format!("{}_tok_s", phase.name()), json!(tokens as f64 / seconds)),
                None => (format!("{}_ms", phase.name()), json!(1e3 * seconds)),
            }
        };
        self.phases.iter().map(of).collect()
    }

    /// One token of decode reads the file once (its tied embedding is the output matrix, too).
    fn roof(&self, bench: &Bench<'_>) -> Value {
        let roof = middle(&self.roofs);
        let decode = self.seconds(Phase::Decode).map(|s| Phase::Decode.steps() as f64 / middle(&s.ours));
        json!({
            "bytes": bench.roof.bytes(),
            "bytes_per_s": roof,
            "decode_roof_share": decode.map(|tokens| tokens * bench.roof.bytes() as f64 / roof),
        })
    }

    fn model(&self) -> Value {
        json!({
            "name": self.info.name,
            "sha256": self.sha256,
            "bytes": self.info.file_bytes,
            "parameters": self.info.parameters,
            "quantization": self.info.quantization,
        })
    }

    fn machine(&self) -> Value {
        json!({
            "cpu": memory::cpu_name(),
            "os": std::env::consts::OS,
            "logical_cpus": std::thread::available_parallelism().ok().map(usize::from),
            "load_average_before": self.load_average,
            "available_bytes": memory::available(),
        })
    }
}

fn middle(values: &[f64]) -> f64 {
    median(values.iter().copied())
}

pub fn print(report: &Value, as_json: bool) -> Result<(), CliError> {
    if as_json {
        return console::line(report);
    }
    let mut out = Output::new();
    out.raw(&text(report));
    out.finish()
}

/// A table: phase, both medians, ratio.
pub fn text(report: &Value) -> String {
    let (ours, peer) = (&report["ours"], &report["peer"]);
    let mut out = format!("{:<14} {:>12} {:>12} {:>8}\n", "", "chimera", "llama.cpp", "ratio");
    for (phase, ratio) in report["ratios"].as_object().into_iter().flatten() {
        let found = ours.as_object().into_iter().flatten().find(|(key, _)| {
            key.starts_with(&**phase) && {
                let unit = &key[phase.len()..];
                matches!(unit, "_tok_s" | "_ms" | "_bytes")
            }
        });
        let Some((key, mine)) = found else { continue };
        let (scale, unit) = match &key[phase.len()..] {
            "_bytes" => (1e-6, "MB"),
            "_ms" => (1.0, "ms"),
            _ => (1.0, "tokens/s"),
        };
        let value = |v: &Value| v.as_f64().map_or("-".to_owned(), |v| format!("{:.1}", v * scale));
        let ratio = ratio.as_f64().map_or("-".to_owned(), |r| format!("{r:.2}"));
        out += &format!(
            "{phase:<14} {:>12} {:>12} {ratio:>8}  {unit}\n",
            value(mine),
            value(&peer[key.as_str()])
        );
    }
    for key in ["left_out", "shortened"] {
        for what in report[key].as_array().into_iter().flatten().filter_map(Value::as_str) {
            out += &format!("{}: {what}\n", key.replace('_', " "));
        }
    }
    out + &footer(report)
}

fn footer(report: &Value) -> String {
    let word = |v: &Value| v.as_str().unwrap_or("?").to_owned();
    let percent = |v: &Value| v.as_f64().map_or("-".to_owned(), |v| format!("{:.0} %", 100.0 * v));
    format!(
        "decode at {} of the memory's speed · 8 sequences together {} times one · reopening takes {} of re-reading\n\
         {} · {} · {} threads · llama.cpp {} ({})\n",
        percent(&report["roof"]["decode_roof_share"]),
        report["batch8_ratio"].as_f64().map_or("-".to_owned(), |r| format!("{r:.1}")),
        percent(&report["reopen_ratio"]),
        word(&report["model"]["name"]),
        word(&report["machine"]["cpu"]),
        report["threads"],
        word(&report["peer_info"]["version"]),
        word(&report["peer_info"]["library"]),
    )
}
