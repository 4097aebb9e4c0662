//! `tests/fixtures/tiny`: a random model of the true structure, made again from its sources.
use crate::process::run as execute;
use crate::python;
use crate::workspace::{cargo, root};
use anyhow::Result;

pub fn make() -> Result<()> {
    let tiny = root().join("tests/fixtures/tiny");
    let folder = tiny.to_string_lossy().into_owned();
    execute(python::module("chimera_train.tiny", &["--out", &folder])?)?;
    let full = tiny.join("tiny-f32.gguf").to_string_lossy().into_owned();
    let small = tiny.join("tiny-q4_0.gguf").to_string_lossy().into_owned();
    execute(chimera(&["convert", &folder, &full]))?;
    execute(chimera(&["quantize", &full, &small]))
}

fn chimera(arguments: &[&str]) -> std::process::Command {
    cargo(&[&["run", "--quiet", "-p", "chimera-cli", "--"], arguments].concat())
}
