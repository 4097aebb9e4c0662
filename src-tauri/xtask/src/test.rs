//! `cargo xtask test`: everything that is checked, cheap stages first, each with its seconds.
use crate::process::{is_installed, run as execute};
use crate::stages::{self, Stage};
use crate::workspace::{FEATURES, cargo};
use crate::{bindings, e2e, peer, python, system, tidy, ui};
use anyhow::{Result, bail};

const STAGES: &[Stage] = &[
    Stage { name: "system packages", body: system::for_the_tests },
    Stage { name: "format", body: format },
    Stage { name: "tidy", body: tidy::run },
    Stage { name: "ui install", body: ui::install },
    Stage { name: "ui check", body: ui::check },
    Stage { name: "ui test", body: ui::test },
    Stage { name: "ui build", body: ui::build },
    Stage { name: "clippy", body: clippy },
    Stage { name: "rust build", body: build },
    Stage { name: "rust test", body: rust_tests },
    Stage { name: "e2e", body: e2e::run },
    Stage { name: "python install", body: python::install },
    Stage { name: "python test", body: python::test },
    Stage { name: "llama.cpp parity", body: peer::run },
];

pub fn run(only: Option<&str>) -> Result<()> {
    let Some(name) = only else { return stages::run(STAGES) };
    match STAGES.iter().position(|stage| stage.name == name) {
        Some(place) => stages::run(&STAGES[place..=place]),
        None => bail!(
            "no stage `{name}`; there are: {}",
            STAGES.iter().map(|stage| stage.name).collect::<Vec<_>>().join(", ")
        ),
    }
}

fn format() -> Result<()> {
    execute(cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let arguments = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--features",
        FEATURES,
        "--",
        "-D",
        "warnings",
    ];
    execute(cargo(&arguments))
}

/// One build of everything that the tests and the window's tests run.
fn build() -> Result<()> {
    execute(cargo(&["build", "--workspace", "--all-targets", "--locked", "--features", FEATURES]))
}

/// The tests also write the bindings; those must come out as they were committed.
fn rust_tests() -> Result<()> {
    bindings::unchanged_by(|| {
        let with_nextest = is_installed("cargo-nextest");
        let runner: &[&str] = if with_nextest { &["nextest", "run"] } else { &["test"] };
        // Not `--all-targets`: a benchmark run once asserts nothing, so it is no test (the build stage compiles them).
        let targets: &[&str] =
            &["--workspace", "--lib", "--bins", "--tests", "--locked", "--features", FEATURES];
        execute(cargo(&[runner, targets].concat()))
    })
}
