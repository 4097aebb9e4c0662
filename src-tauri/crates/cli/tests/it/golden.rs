//! The fixture of the training side: its weights, converted, give the logits that Transformers computed.
use crate::run::{ok, s};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/tiny")
}

fn golden() -> Value {
    serde_json::from_slice(&std::fs::read(fixture().join("golden.json")).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn checkpoint(variant: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    for file in ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        std::fs::copy(fixture().join(file), dir.path().join(file)).unwrap();
    }
    let config =
        if variant == "default" { "config.json".to_owned() } else { format!("config-{variant}.json") };
    std::fs::copy(fixture().join(config), dir.path().join("config.json")).unwrap();
    ok(&["convert", s(dir.path()), "-o", s(&dir.path().join("m.gguf")), "--type", "f32"]);
    dir
}

/// The logits of the golden tokens, `[tokens, vocabulary]`.
fn logits(dir: &Path, golden: &Value, backend: &str) -> Vec<f32> {
    let (gguf, ids, out) = (dir.join("m.gguf"), dir.join("ids.json"), dir.join("logits"));
    std::fs::write(&ids, golden["ids"].to_string()).unwrap();
    let args = ["eval", "logits", "--tokens-file", s(&ids), "--out", s(&out), "--model", s(&gguf)];
    ok(&[&args[..], &["--backend", backend]].concat());
    std::fs::read(out).unwrap().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// The largest difference at a golden position, relative to the largest logit there.
fn worst(found: &[f32], golden: &Value, variant: &str) -> f32 {
    let vocab = found.len() / golden["ids"].as_array().unwrap().len();
    let positions = golden["positions"].as_array().unwrap().iter().map(|p| p.as_u64().unwrap() as usize);
    let errors = positions.map(|position| {
        let expected = numbers(&golden["variants"][variant]["logits"][position.to_string()]);
        let found = &found[position * vocab..(position + 1) * vocab];
        assert_eq!(found.len(), expected.len());
        let scale = expected.iter().fold(0.0, |m: f32, l| m.max(l.abs()));
        found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale
    });
    errors.fold(0.0, f32::max)
}

#[test]
fn logits_equal_those_of_transformers_for_every_rope() {
    let golden = golden();
    for variant in ["default", "yarn", "longrope"] {
        let dir = checkpoint(variant);
        for backend in ["reference", "fast"] {
            let error = worst(&logits(dir.path(), &golden, backend), &golden, variant);
            println!("{variant} {backend}: {error:e}");
            assert!(error <= 1e-3, "{variant}, {backend}: {error}");
        }
    }
}

/// The check can fail: one rope's logits are not another's.
#[test]
fn logits_differ_between_ropes() {
    let golden = golden();
    let dir = checkpoint("default");
    let found = logits(dir.path(), &golden, "reference");
    assert!(worst(&found, &golden, "longrope") > 1e-3);
}

#[test]
fn tokens_are_those_of_the_python_tokenizer() {
    let golden = golden();
    let dir = checkpoint("default");
    let text = golden["text"].as_str().unwrap();
    let found = ok(&["tokenize", text, "--json", "--model", s(&dir.path().join("m.gguf"))]);
    assert_eq!(serde_json::from_str::<Value>(&found).unwrap(), golden["ids"]);
}
