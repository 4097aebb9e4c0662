//! `cargo xtask run`: from a fresh clone to a person's first answer.
use crate::process::{command, run as execute};
use crate::workspace::{cargo, programs, root};
use crate::{system, ui};
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::time::Instant;

const MODEL: &str = "CHIMERA_MODEL";

pub fn run(arguments: &[String]) -> Result<()> {
    check_model()?;
    if has_display() { open_window() } else { chat_in_the_terminal(arguments) }
}

fn open_window() -> Result<()> {
    timed("system packages", system::for_the_window)?;
    timed("interface packages", ui::install)?;
    timed("interface", ui::build)?;
    timed("desktop program", build_desktop)?;
    println!("\n== opening the window");
    execute(command(&program("chimera-desktop")?, &[]))
}

fn chat_in_the_terminal(arguments: &[String]) -> Result<()> {
    println!(
        "There is no display (neither DISPLAY nor WAYLAND_DISPLAY is set): the chat starts in this terminal."
    );
    timed("terminal program", || execute(cargo(&["build", "--release", "--locked", "-p", "chimera-cli"])))?;
    let mut chat = command(&program("chimera")?, &["chat"]);
    chat.args(arguments);
    execute(chat)
}

/// With REMOVE_UNUSED_COMMANDS Tauri leaves out of the program every command that no capability grants.
fn build_desktop() -> Result<()> {
    let mut build =
        cargo(&["build", "--release", "--locked", "-p", "chimera-desktop", "--features", "custom-protocol"]);
    build.env("REMOVE_UNUSED_COMMANDS", root().join("src-tauri"));
    execute(build)
}

fn program(name: &str) -> Result<String> {
    let path = programs("release")?.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    Ok(path.to_string_lossy().into_owned())
}

fn has_display() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !cfg!(target_os = "linux") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY")
}

/// A window without a model would open on an error; say it before anything is built.
fn check_model() -> Result<()> {
    if let Some(chosen) = std::env::var_os(MODEL).filter(|value| !value.is_empty()) {
        if PathBuf::from(&chosen).is_file() {
            return Ok(());
        }
        bail!("{MODEL} names {}, which is no file", chosen.to_string_lossy());
    }
    let folder = root().join("assets/models");
    let mut names = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    if names.any(|path| path.extension().is_some_and(|extension| extension == "gguf")) {
        return Ok(());
    }
    bail!(
        "there is no model in {}: this checkout is incomplete. Get the file with `git checkout -- assets/models` \
         (or `git lfs pull`), or set {MODEL} to a GGUF file of yours",
        folder.display()
    )
}

fn timed(name: &str, body: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("\n== {name}");
    let started = Instant::now();
    body()?;
    println!("== {name}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}
