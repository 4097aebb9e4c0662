//! Parity with llama.cpp itself (`tests/peer`), prebuilt, in an environment of its own in the cache.
use crate::process::{command, run as execute};
use crate::python;
use crate::workspace::{programs, root};
use anyhow::Result;

pub fn run() -> Result<()> {
    let folder = root().join("tests/peer");
    let interpreter = python::environment_of(&folder.join("requirements.txt"), "peer")?;
    let mut tests =
        command(&interpreter.to_string_lossy(), &["-m", "pytest", "-q", "-p", "no:cacheprovider"]);
    tests.arg(&folder).current_dir(root()).env("PYTHONDONTWRITEBYTECODE", "1");
    // The program that the build stage made: building it again with other features would take minutes.
    tests.env("CHIMERA_BIN", programs("debug")?.join(format!("chimera{}", std::env::consts::EXE_SUFFIX)));
    execute(tests)
}
