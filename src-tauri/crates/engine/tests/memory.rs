//! What a model is said to take, against what a process of its own takes at its peak.
#![cfg(target_os = "linux")]
use chimera_engine::{CancelFlag, EngineError, LoadOptions, Model, Session};
use std::path::PathBuf;
use std::process::Command;

const CHILD: &str = "CHIMERA_MEMORY_CHILD";
const CONTEXT: usize = 1024;

fn starter() -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../assets/models/chimera-starter-q4_0.gguf")
}

fn options() -> LoadOptions {
    LoadOptions { threads: 2, ..LoadOptions::default() }
}

/// A field of /proc/self/status in bytes.
fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_matches([':', '\t', ' ']).trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

/// Not a test of its own: the process that is measured, for a model named in the environment.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let estimate = Model::estimate(path.as_ref(), &options(), CONTEXT).unwrap();
    let before = status("VmRSS");
    let model = Model::load(path.as_ref(), &options()).unwrap();
    let mut session = Session::new(model);
    let tokens: Vec<u32> = (0..CONTEXT as u32).map(|i| 300 + i * 7 % 1000).collect();
    session.prefill(&tokens[..CONTEXT - 4], &CancelFlag::default(), &mut |_, _| {}).unwrap();
    for token in &tokens[CONTEXT - 4..] {
        session.step(*token).unwrap();
    }
    println!("grown by {} bytes, said {} {estimate:?}", status("VmHWM") - before, estimate.total());
}

fn measured() -> u64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, starter())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let growth = text.split("grown by ").nth(1).and_then(|rest| rest.split(' ').next());
    growth.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

#[test]
fn the_estimate_is_within_a_tenth_of_the_peak() {
    let estimate = Model::estimate(&starter(), &options(), CONTEXT).unwrap();
    let (said, measured) = (estimate.total() as f64, measured() as f64);
    assert!((said / measured - 1.0).abs() <= 0.1, "{estimate:?} = {said}, measured {measured}");
}

#[test]
fn the_peak_is_the_file_and_little_else() {
    let estimate = Model::estimate(&starter(), &options(), CONTEXT).unwrap();
    let file = std::fs::metadata(starter()).unwrap().len();
    let limit = file * 115 / 100 + estimate.state + estimate.kv + (64 << 20);
    assert!(measured() <= limit);
}

#[test]
fn a_model_over_the_limit_is_refused_with_both_numbers() {
    let estimate = Model::estimate(&starter(), &options(), 0).unwrap();
    let limited = |memory_limit| LoadOptions { memory_limit, ..options() };
    let refused = Model::load(&starter(), &limited(Some(estimate.total() - 1))).err();
    let expected = (estimate.total(), estimate.total() - 1);
    assert!(
        matches!(refused, Some(EngineError::NotEnoughMemory { needed, available }) if (needed, available) == expected)
    );
    Model::load(&starter(), &limited(Some(estimate.total()))).unwrap();
}
