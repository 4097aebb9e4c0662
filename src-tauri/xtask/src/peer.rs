//! Parity with llama.cpp itself, installed into the cache beside the training environment.
use crate::process::run as execute;
use crate::python;
use crate::workspace::root;
use anyhow::Result;

pub fn run() -> Result<()> {
    let tests = root().join("tests/peer");
    execute(python::module("pytest", &[&tests.to_string_lossy()])?)
}
