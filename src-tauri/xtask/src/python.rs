//! The training workspace's Python: one locked environment, kept by the lock file's fingerprint. Only
//! `cargo xtask test` and `fixtures` come here; `run` never does.
use crate::process::{command, is_installed, run, succeeds};
use crate::workspace::{cache, fingerprint, root};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The uv that is installed where the machine has none.
const UV: &str = "uv==0.13.9";

/// Makes the environment when the lock file is new, and gives its interpreter.
pub fn environment() -> Result<PathBuf> {
    let lock = std::fs::read(training().join("uv.lock")).context("training/uv.lock")?;
    let folder = cache()?.join(format!("training-{}", fingerprint(&lock)));
    let python = interpreter(&folder);
    let complete = folder.join("complete");
    if complete.is_file() && succeeds(command(&python.to_string_lossy(), &["-c", "import torch"])) {
        println!("   the environment of this lock file is there: {}", folder.display());
        return Ok(python);
    }
    let mut sync =
        command(&uv()?, &["sync", "--locked", "--no-install-project", "--link-mode=copy", "--project"]);
    sync.arg(training()).env("UV_PROJECT_ENVIRONMENT", &folder).env("UV_PYTHON_DOWNLOADS", "never");
    run(sync)?;
    std::fs::write(complete, "")?;
    Ok(python)
}

/// A small environment of its own for a requirements file, made once for each content of it.
pub fn environment_of(requirements: &Path, name: &str) -> Result<PathBuf> {
    let text = std::fs::read(requirements).with_context(|| requirements.display().to_string())?;
    let folder = cache()?.join(format!("{name}-{}", fingerprint(&text)));
    let python = interpreter(&folder);
    let complete = folder.join("complete");
    if !complete.is_file() {
        let uv = uv()?;
        run(command(&uv, &["venv", "--quiet", "--clear", &folder.to_string_lossy()]))?;
        let target = python.to_string_lossy();
        let mut install =
            command(&uv, &["pip", "install", "--quiet", "--link-mode=copy", "--python", &target, "-r"]);
        install.arg(requirements);
        run(install)?;
        std::fs::write(complete, "")?;
    }
    Ok(python)
}

pub fn install() -> Result<()> {
    environment().map(drop)
}

pub fn test() -> Result<()> {
    run(module("pytest", &["tests"])?)
}

/// `python -m NAME …` in training/, with the package importable from its sources.
pub fn module(name: &str, arguments: &[&str]) -> Result<Command> {
    let python = environment()?;
    let mut command = command(&python.to_string_lossy(), &["-m", name]);
    command.args(arguments).current_dir(training());
    command.env("PYTHONPATH", training().join("src")).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

fn training() -> PathBuf {
    root().join("training")
}

/// uv from the PATH, or one of our own in the cache: no system Python package is touched.
fn uv() -> Result<String> {
    if is_installed("uv") {
        return Ok("uv".to_owned());
    }
    let folder = cache()?.join("uv");
    let own = folder.join(scripts()).join("uv");
    if !succeeds(command(&own.to_string_lossy(), &["--version"])) {
        let python = host_python()?;
        run(command(python, &["-m", "venv", &folder.to_string_lossy()]))?;
        run(command(&interpreter(&folder).to_string_lossy(), &["-m", "pip", "install", "--quiet", UV]))?;
    }
    Ok(own.to_string_lossy().into_owned())
}

fn host_python() -> Result<&'static str> {
    match ["python3", "python"].into_iter().find(|name| is_installed(name)) {
        Some(name) => Ok(name),
        None => bail!("Python 3.11 or later is missing"),
    }
}

fn interpreter(environment: &Path) -> PathBuf {
    environment.join(scripts()).join("python")
}

fn scripts() -> &'static str {
    if cfg!(windows) { "Scripts" } else { "bin" }
}
