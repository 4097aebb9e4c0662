//! The interface: its packages, its build, its checks.
use crate::process::{command, run};
use crate::workspace::{fingerprint, root};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Everything that the built page is made from.
const SOURCES: &[&str] =
    &["src", "public", "index.html", "package-lock.json", "vite.config.ts", "svelte.config.js"];

/// `npm ci`, when the lock file is another than the one that node_modules came from.
pub fn install() -> Result<()> {
    let lock = std::fs::read(folder().join("package-lock.json")).context("ui/package-lock.json")?;
    let stamp = folder().join("node_modules/.chimera-lock");
    if std::fs::read_to_string(&stamp).is_ok_and(|kept| kept == fingerprint(&lock)) {
        println!("   node_modules is up to date");
        return Ok(());
    }
    if !crate::process::is_installed("npm") {
        bail!("npm is missing: install Node.js 20 or later");
    }
    run(npm(&["ci", "--no-audit", "--no-fund", "--loglevel=error"]))?;
    Ok(std::fs::write(stamp, fingerprint(&lock))?)
}

/// Builds ui/dist when a source is newer than it.
pub fn build() -> Result<()> {
    let page = folder().join("dist/index.html");
    let newest = SOURCES.iter().filter_map(|name| newest_change(&folder().join(name))).max();
    if let (Ok(built), Some(newest)) = (page.metadata().and_then(|found| found.modified()), newest)
        && built > newest
    {
        println!("   ui/dist is up to date");
        return Ok(());
    }
    run(npm(&["run", "build"]))
}

pub fn check() -> Result<()> {
    run(npm(&["run", "check"]))
}

pub fn test() -> Result<()> {
    run(npm(&["test"]))
}

fn npm(arguments: &[&str]) -> Command {
    let mut npm = command(if cfg!(windows) { "npm.cmd" } else { "npm" }, arguments);
    npm.current_dir(folder());
    npm
}

fn folder() -> PathBuf {
    root().join("ui")
}

fn newest_change(path: &Path) -> Option<SystemTime> {
    let own = path.metadata().and_then(|found| found.modified()).ok();
    let Ok(entries) = std::fs::read_dir(path) else { return own };
    entries.flatten().filter_map(|entry| newest_change(&entry.path())).chain(own).max()
}
