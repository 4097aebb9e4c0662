//! The desktop shell: starts the window and nothing else.
#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

use std::process::ExitCode;

fn main() -> ExitCode {
    match chimera_desktop::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the window could not be started");
            eprintln!("chimera-desktop: {error}");
            ExitCode::FAILURE
        }
    }
}
