//! inspect, verify, tokenize, eval, bench.
use crate::checkpoint::VOCAB;
use crate::run::{chimera, command, fails, finish, ok, s, tiny};
use chimera_gguf::{Gguf, Limits};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn sha256(path: &Path) -> String {
    Sha256::digest(std::fs::read(path).unwrap()).iter().map(|b| format!("{b:02x}")).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A copy of the quantized model with some bytes of `tensor` overwritten.
fn damaged(dir: &TempDir, tensor: &str, at: usize, with: &[u8]) -> PathBuf {
    let mut bytes = std::fs::read(&tiny().q4_0).unwrap();
    let gguf = Gguf::parse(&bytes, &Limits::default()).unwrap();
    let start = gguf.tensor(tensor).unwrap().range.start + at;
    bytes[start..start + with.len()].copy_from_slice(with);
    let path = dir.path().join("damaged.gguf");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn inspect_shows_keys_tensors_and_digest() {
    let text = ok(&["inspect", s(&tiny().q4_0)]);
    for part in ["general.architecture = \"granitehybrid\"", "blk.0.ssm_in.weight", "Q4_0", "runs in Chimera"]
    {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let report = json(&ok(&["inspect", s(&tiny().q4_0), "--json"]));
    assert_eq!(report["sha256"], sha256(&tiny().q4_0));
    assert_eq!(report["metadata"]["granitehybrid.attention.head_count_kv"], serde_json::json!([0, 0, 2, 0]));
    assert_eq!(report["tensors"].as_array().unwrap().len(), 50);
    assert_eq!(report["runnable"], true);
}

#[test]
fn verify_accepts_what_convert_and_quantize_write() {
    for path in [&tiny().f32, &tiny().q4_0] {
        let report = json(&ok(&["verify", s(path), "--json"]));
        assert_eq!((&report["ok"], &report["sha256"]), (&Value::Bool(true), &Value::from(sha256(path))));
        assert!(ok(&["verify", s(path)]).contains("ok"));
    }
}

#[test]
fn verify_refuses_weights_that_are_not_finite() {
    let dir = TempDir::new().unwrap();
    fails(
        &["verify", s(&damaged(&dir, "blk.1.ffn_up.weight", 18 * 3 + 1, &[0x7c]))],
        4,
        "blk.1.ffn_up.weight",
    );
    fails(&["verify", s(&damaged(&dir, "output_norm.weight", 6, &[0xc0, 0x7f]))], 4, "output_norm.weight");
}

#[test]
fn verify_refuses_truncated_foreign_and_missing_files() {
    let dir = TempDir::new().unwrap();
    let whole = std::fs::read(&tiny().q4_0).unwrap();
    let path = dir.path().join("cut.gguf");
    for len in [0, 3, 24, 1000, whole.len() - 64] {
        std::fs::write(&path, &whole[..len]).unwrap();
        fails(&["verify", s(&path)], 4, "cut.gguf");
        fails(&["inspect", s(&path)], 4, "cut.gguf");
    }
    fails(&["verify", "/nonexistent.gguf"], 3, "no model file");
}

#[test]
fn tokenize_prints_ids_that_give_the_text_back() {
    let model = s(&tiny().q4_0);
    assert_eq!(json(&ok(&["tokenize", "the", "--json", "--model", model])), serde_json::json!([265]));
    let pieces = ok(&["tokenize", "the ठ", "--model", model]);
    assert_eq!(pieces.lines().next(), Some("265\t\"the\""));
}

#[test]
fn bits_per_byte_of_a_random_model_are_near_uniform() {
    let dir = TempDir::new().unwrap();
    let text = dir.path().join("t.txt");
    std::fs::write(&text, "A line of text that is long enough for two windows. ".repeat(20)).unwrap();
    let args = ["eval", "bpb", s(&text), "--json", "--context", "64", "--model", s(&tiny().f32)];
    let report = json(&ok(&args));
    let tokens = report["tokens"].as_u64().unwrap();
    assert_eq!((&report["bytes"], &report["context"]), (&Value::from(1040), &Value::from(64)));
    // Position 32 … 62 of every whole window predict the token after them.
    assert_eq!(report["scored_tokens"].as_u64().unwrap(), tokens / 64 * 31);
    // log2(1024) = 10 bits a token for a uniform guess; random weights guess about as well.
    let bits = report["bits_per_byte"].as_f64().unwrap() * 1040.0 / tokens as f64;
    assert!((7.0..30.0).contains(&bits), "{bits} bits a token");
    assert!((bits - report["bits_per_token"].as_f64().unwrap()).abs() < 1e-9);
}

#[test]
fn bits_per_byte_needs_one_window_and_utf8() {
    let dir = TempDir::new().unwrap();
    let text = dir.path().join("t.txt");
    std::fs::write(&text, "short").unwrap();
    fails(&["eval", "bpb", s(&text), "--model", s(&tiny().f32)], 5, "one window needs 512");
    std::fs::write(&text, [0xff, 0xfe]).unwrap();
    fails(&["eval", "bpb", s(&text), "--model", s(&tiny().f32)], 5, "UTF-8");
}

#[test]
fn logits_are_rows_of_the_vocabulary_and_agree_between_backends() {
    let dir = TempDir::new().unwrap();
    let ids = dir.path().join("ids.json");
    std::fs::write(&ids, "[1, 70, 80, 90, 2, 265, 100]").unwrap();
    let read = |backend: &str| -> Vec<f32> {
        let out = dir.path().join(backend);
        let model = s(&tiny().f32);
        ok(&[
            "eval",
            "logits",
            "--tokens-file",
            s(&ids),
            "--out",
            s(&out),
            "--model",
            model,
            "--backend",
            backend,
        ]);
        std::fs::read(out).unwrap().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let (fast, reference) = (read("fast"), read("reference"));
    assert_eq!((fast.len(), reference.len()), (7 * VOCAB, 7 * VOCAB));
    let norm = reference.iter().map(|l| l * l).sum::<f32>().sqrt();
    let error = fast.iter().zip(&reference).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
    assert!(error / norm < 1e-3, "relative error {}", error / norm);
}

#[test]
fn bench_reports_every_figure() {
    let sizes = ["--prompt-tokens", "32", "--decode-tokens", "8", "--repeats", "2", "--threads", "1"];
    let mut args = vec!["bench", "--json", "--model", s(&tiny().q4_0)];
    args.extend(sizes);
    let report = json(&ok(&args));
    for key in ["load_ms", "first_token_ms", "prefill_tok_s", "decode_tok_s"] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key}: {report}");
    }
    assert!(report["first_token_ms"].as_f64() > report["load_ms"].as_f64());
    assert_eq!(report["model_sha256"], sha256(&tiny().q4_0));
    assert_eq!((&report["threads"], &report["prompt_tokens"]), (&Value::from(1), &Value::from(32)));
    assert!(report["cpu_tier"].is_string());
    if cfg!(target_os = "linux") {
        assert!(report["peak_rss_bytes"].as_u64().unwrap() > 1 << 20);
    }
}

#[test]
fn bench_of_a_damaged_model_fails_with_its_code() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x.gguf");
    std::fs::write(&path, b"GGUF").unwrap();
    let outcome = chimera(&["bench", "--json", "--model", s(&path)]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (4, ""), "{}", outcome.stderr);
}

#[test]
fn a_missing_peer_has_its_code_and_says_how_to_install_one() {
    let mut command =
        command(&["bench", "--against", "llama.cpp", "--peer", "/no/python", "--model", s(&tiny().q4_0)]);
    let english = finish(command_again(&mut command, "C.UTF-8"));
    assert_eq!(english.code, 8, "{}", english.stderr);
    assert!(english.stderr.contains("pip install xllamacpp=="), "{}", english.stderr);
    let hindi = finish(command_again(&mut command, "hi_IN.UTF-8"));
    assert!(
        hindi.stderr.contains("नहीं मिला") && hindi.stderr.contains("pip install xllamacpp=="),
        "{}",
        hindi.stderr
    );
    fails(&["bench", "--peer", "python3"], 2, "--against");
    let mut named = crate::run::command(&["bench", "--against", "llama.cpp", "--model", s(&tiny().q4_0)]);
    named.env("CHIMERA_LLAMA_CPP", "/no/python");
    assert_eq!(finish(named).code, 8);
    let mut alone = crate::run::command(&[
        "bench",
        "--model",
        s(&tiny().q4_0),
        "--prompt-tokens",
        "8",
        "--decode-tokens",
        "2",
        "--repeats",
        "1",
    ]);
    alone.env("CHIMERA_LLAMA_CPP", "/no/python");
    assert_eq!(finish(alone).code, 0, "the variable alone changes nothing");
}

/// The same command in another language.
fn command_again(command: &mut std::process::Command, lang: &str) -> std::process::Command {
    let mut again = std::process::Command::new(command.get_program());
    again.args(command.get_args()).env_remove("LC_ALL").env_remove("LC_MESSAGES").env("LANG", lang);
    again
}

/// The side that is compared, driven as `--against` drives it.
#[test]
fn the_worker_reads_steps_batches_and_reopens() {
    use std::io::Write;
    let mut command = command(&["bench", "--worker"]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let load = serde_json::json!({
        "do": "load", "model": tiny().q4_0, "threads": 1, "context": 128, "flash_attention": false, "repack": true
    });
    let orders = [
        load.to_string(),
        r#"{"do":"read","tokens":20,"afresh":true}"#.to_owned(),
        r#"{"do":"step","tokens":3}"#.to_owned(),
        r#"{"do":"reopen","tokens":4}"#.to_owned(),
        r#"{"do":"together","sequences":8,"tokens":2}"#.to_owned(),
        r#"{"do":"memory"}"#.to_owned(),
    ];
    child.stdin.take().unwrap().write_all(orders.join("\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let answers: Vec<Value> = String::from_utf8(output.stdout).unwrap().lines().map(json).collect();
    assert_eq!(answers.len(), orders.len());
    assert!(answers.iter().all(|a| a["error"].is_null()), "{answers:?}");
    assert!(answers[..5].iter().all(|a| a["seconds"].as_f64().unwrap() > 0.0), "{answers:?}");
}

#[test]
fn help_documents_the_exit_codes() {
    let help = ok(&["--help"]);
    for code in ["0 ", "2 ", "3 ", "4 ", "5 ", "6 ", "7 ", "8 ", "130 "] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(code)), "{code} in {help}");
    }
}
