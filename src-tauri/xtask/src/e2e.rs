//! The tests in the real window: WebKit's driver under a virtual display, driven from `node --test`.
use crate::process::{command, run as execute};
use crate::workspace::{programs, root};
use anyhow::{Result, bail};
use std::path::PathBuf;

/// The window under test draws on a screen of its own, whatever the desktop around it is.
const SCREEN: &str = "-screen 0 1280x860x24";

pub fn run() -> Result<()> {
    if !cfg!(target_os = "linux") {
        println!("   skipped: the driver of this test is WebKitGTK's");
        return Ok(());
    }
    let app = programs("debug")?.join("chimera-desktop");
    let mut tests = command("dbus-run-session", &["--", "xvfb-run", "-a", "-s", SCREEN]);
    tests.args(["node", "--test", "--test-reporter=spec", "--test-concurrency=1"]).args(test_files()?);
    tests.current_dir(root()).env("APP", app);
    execute(tests)
}

fn test_files() -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(root().join("tests/e2e"))?.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.to_string_lossy().ends_with(".test.mjs")).collect();
    files.sort();
    if files.is_empty() {
        bail!("tests/e2e holds no tests");
    }
    Ok(files)
}
