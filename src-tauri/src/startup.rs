//! From the process to a window: the window opens at once, the history and the model behind it.
use crate::desk::Desk;
use crate::{logging, paths, window};
use std::path::PathBuf;
use std::time::Duration;
use tauri::{App, AppHandle, Manager, Runtime};

/// An end that takes longer is a crash to the history, which knows how to come back from one.
const PATIENCE: Duration = Duration::from_secs(3);

pub fn start<R: Runtime>(app: &mut App<R>) -> Result<(), Box<dyn std::error::Error>> {
    let data_dir = paths::data_dir(app)?;
    logging::start(&data_dir);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "start");
    app.manage(Desk::open_behind(data_dir, resources(app)));
    window::open(app)?;
    end_on_signal(app.handle());
    Ok(())
}

/// Logging out, or Ctrl-C in the terminal, ends the application as closing its window does.
fn end_on_signal<R: Runtime>(app: &AppHandle<R>) {
    let app = app.clone();
    if let Err(error) = ctrlc::set_handler(move || app.exit(0)) {
        tracing::warn!(%error, "signals are not handled");
    }
}

/// The installed package's resource folder; a checkout has none and is found by `chimera_chat::locate`.
fn resources<R: Runtime>(app: &App<R>) -> Option<PathBuf> {
    app.path().resource_dir().ok()
}

/// The window is closed: the answer that is being written is kept, then the history closes.
pub fn end<R: Runtime>(app: &AppHandle<R>) {
    let Some(desk) = app.try_state::<Desk>() else { return };
    let closed = tauri::async_runtime::block_on(async { tokio::time::timeout(PATIENCE, desk.close()).await });
    match closed {
        Ok(()) => tracing::info!("end"),
        Err(_) => tracing::warn!("ended with an answer still being written"),
    }
}
