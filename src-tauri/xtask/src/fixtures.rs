//! `tests/fixtures/tiny`: a random model of the true structure, made again from its sources.
use crate::process::run as execute;
use crate::python;
use crate::workspace::{cargo, root};
use anyhow::Result;

pub fn make() -> Result<()> {
    let tiny = root().join("tests/fixtures/tiny");
    let folder = tiny.to_string_lossy().into_owned();
    execute(python::module("chimera_train.tiny", &["--out", &folder])?)?;
    let full = tiny.join("full.gguf.tmp").to_string_lossy().into_owned();
    execute(chimera(&["convert", "--type", "f32", "--out", &full, &folder]))?;
    let small = tiny.join("tiny-q4_0.gguf").to_string_lossy().into_owned();
    let quantized = execute(chimera(&["quantize", "--embedding", "q8_0", &full, &small]));
    std::fs::remove_file(full)?;
    quantized
}

fn chimera(arguments: &[&str]) -> std::process::Command {
    cargo(&[&["run", "--quiet", "-p", "chimera-cli", "--"], arguments].concat())
}
