//! `bench-report`: measures models against llama.cpp and writes the table of the README's performance section.
use crate::process::{command, output, run};
use crate::workspace::{cargo, programs, root};
use anyhow::{Context, Result, bail};
use serde_json::Value;

const START: &str = "<!-- bench-report: begin -->";
const END: &str = "<!-- bench-report: end -->";
const PHASES: [(&str, &str); 7] = [
    ("decode", "decode"),
    ("decode_4096", "decode at depth"),
    ("prefill_64", "prefill 64"),
    ("prefill_512", "prefill 512"),
    ("prefill_2048", "prefill 2048"),
    ("first_token", "first token"),
    ("peak_rss", "peak memory"),
];

/// `arguments`: model files, and `--threads 1,2`.
pub fn write(arguments: &[String]) -> Result<()> {
    let (models, threads) = parse(arguments)?;
    run(cargo(&["build", "--release", "-p", "chimera-cli"]))?;
    let chimera = programs("release")?.join("chimera");
    let chimera = chimera.to_str().context("a path that is no text")?;
    let mut reports = Vec::new();
    for model in &models {
        for n in &threads {
            let bench = ["bench", "--against", "llama.cpp", "--json", "--model", model, "--threads", n];
            let text = output(command(chimera, &bench))?;
            reports.push(serde_json::from_str(&text).context("bench printed no JSON")?);
        }
    }
    let commit = output(command("git", &["-C", &root().to_string_lossy(), "rev-parse", "--short", "HEAD"]))?;
    let readme = root().join("README.md");
    let text = std::fs::read_to_string(&readme)?;
    std::fs::write(&readme, replaced(&text, &section(&reports, commit.trim()))?)?;
    Ok(())
}

fn parse(arguments: &[String]) -> Result<(Vec<String>, Vec<String>)> {
    let mut models = Vec::new();
    let mut threads = vec!["1".to_owned(), "2".to_owned()];
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word == "--threads" {
            let list = words.next().context("--threads needs a list such as 1,2")?;
            threads = list.split(',').map(str::to_owned).collect();
        } else {
            models.push(word.clone());
        }
    }
    if models.is_empty() {
        bail!("bench-report needs the model files to measure");
    }
    Ok((models, threads))
}

/// The text with everything between the markers replaced.
fn replaced(text: &str, section: &str) -> Result<String> {
    let (before, rest) = text.split_once(START).context("the README has no place for the report")?;
    let (_, after) = rest.split_once(END).context("the README's report has no end")?;
    Ok(format!("{before}{START}\n{section}{END}{after}"))
}

fn section(reports: &[Value], commit: &str) -> String {
    let mut out = String::from("| model | threads |");
    PHASES.iter().for_each(|(_, title)| out += &format!(" {title} |"));
    out += &format!("\n|---|---|{}\n", "---|".repeat(PHASES.len()));
    for report in reports {
        out += &format!("| {} | {} |", word(&report["model"]["name"]), report["threads"]);
        PHASES.iter().for_each(|(phase, _)| out += &format!(" {} |", cell(report, phase)));
        out.push('\n');
    }
    out.push('\n');
    for report in reports {
        out += &origin(report, commit);
    }
    out
}

/// The ratio, and ours in its unit.
fn cell(report: &Value, phase: &str) -> String {
    let Some(ratio) = report["ratios"][phase].as_f64() else { return "–".to_owned() };
    let ours = &report["ours"];
    let value = |key: String, scale: f64, unit: &str| {
        ours[&key].as_f64().map(|v| format!(" ({:.0} {unit})", v * scale))
    };
    let shown = value(format!("{phase}_tok_s"), 1.0, "tokens/s")
        .or_else(|| value(format!("{phase}_ms"), 1.0, "ms"))
        .or_else(|| value(format!("{phase}_bytes"), 1e-6, "MB"));
    format!("{ratio:.2}×{}", shown.unwrap_or_default())
}

fn origin(report: &Value, commit: &str) -> String {
    let sha256 = word(&report["model"]["sha256"]);
    format!(
        "- {}, {} threads: {}, commit {commit}, model sha256 {}…, llama.cpp {} ({}), load before {}\n",
        word(&report["model"]["name"]),
        report["threads"],
        word(&report["machine"]["cpu"]),
        sha256.get(..16).unwrap_or(&sha256),
        word(&report["peer_info"]["version"]),
        word(&report["peer_info"]["library"]),
        report["machine"]["load_average_before"],
    )
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("?").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn writes_between_the_markers_and_nowhere_else() {
        let text = format!("a\n{START}\nold\n{END}\nb\n");
        assert_eq!(replaced(&text, "new\n").unwrap(), format!("a\n{START}\nnew\n{END}\nb\n"));
        assert!(replaced("a", "new").is_err());
    }

    #[test]
    fn a_row_has_ratio_and_value_or_a_dash() {
        let report = json!({
            "model": {"name": "m", "sha256": "ab"}, "threads": 2, "machine": {"cpu": "c"},
            "peer_info": {"version": "v", "library": "l"},
            "ratios": {"decode": 1.5, "prefill_64": null, "peak_rss": 2.0},
            "ours": {"decode_tok_s": 80.4, "peak_rss_bytes": 70_000_000},
        });
        let text = section(&[report], "abc");
        assert!(text.contains("| m | 2 | 1.50× (80 tokens/s) | – | – |"), "{text}");
        assert!(text.contains("2.00× (70 MB) |") && text.contains("commit abc"), "{text}");
    }

    #[test]
    fn models_and_threads_are_told_apart() {
        let words = ["a.gguf", "--threads", "1,4"].map(str::to_owned);
        assert_eq!(parse(&words).unwrap(), (vec!["a.gguf".to_owned()], vec!["1".to_owned(), "4".to_owned()]));
        assert!(parse(&[]).is_err());
    }
}
