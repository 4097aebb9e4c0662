//! Runs the built binary in a directory of its own, with an English environment and no model from outside.
use crate::checkpoint::Checkpoint;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chimera"));
    command.args(args).stdin(Stdio::null());
    command.env_remove("CHIMERA_MODEL").env_remove("LC_ALL").env_remove("LC_MESSAGES").env("LANG", "C.UTF-8");
    command
}

pub fn finish(mut command: Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code().expect("ended by a signal"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn chimera(args: &[&str]) -> Outcome {
    finish(command(args))
}

/// As [`chimera`], and expects success.
pub fn ok(args: &[&str]) -> String {
    let outcome = chimera(args);
    assert_eq!(outcome.code, 0, "{args:?}: {}", outcome.stderr);
    outcome.stdout
}

/// Expects failure with this code and a message that contains `part`.
pub fn fails(args: &[&str], code: i32, part: &str) {
    let outcome = chimera(args);
    assert_eq!(outcome.code, code, "{args:?}: {}", outcome.stderr);
    assert!(outcome.stderr.contains(part), "{args:?}: {}", outcome.stderr);
}

pub struct Tiny {
    _dir: TempDir,
    pub checkpoint: PathBuf,
    pub f32: PathBuf,
    pub q4_0: PathBuf,
}

/// The random model, converted and quantized once for all tests.
pub fn tiny() -> &'static Tiny {
    static TINY: OnceLock<Tiny> = OnceLock::new();
    TINY.get_or_init(|| {
        let dir = TempDir::new().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (checkpoint, f32, q4_0) = (path("tiny"), path("tiny-f32.gguf"), path("tiny-q4_0.gguf"));
        Checkpoint::tiny().write(&checkpoint);
        ok(&["convert", s(&checkpoint), "-o", s(&f32), "--type", "f32"]);
        ok(&["quantize", s(&f32), s(&q4_0), "--type", "q4_0", "--embedding", "q8_0"]);
        Tiny { _dir: dir, checkpoint, f32, q4_0 }
    })
}

pub fn s(path: &Path) -> &str {
    path.to_str().unwrap()
}
