//! From the process to a window: the window opens at once, the history and the model behind it.
use crate::desk::Desk;
use crate::{logging, paths, window};
use std::path::PathBuf;
use tauri::{App, Manager, Runtime};

pub fn start<R: Runtime>(app: &mut App<R>) -> Result<(), Box<dyn std::error::Error>> {
    let data_dir = paths::data_dir(app)?;
    logging::start(&data_dir);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "start");
    app.manage(Desk::open_behind(data_dir, resources(app)));
    window::open(app)?;
    Ok(())
}

/// The installed package's resource folder; a checkout has none and is found by `chimera_chat::locate`.
fn resources<R: Runtime>(app: &App<R>) -> Option<PathBuf> {
    app.path().resource_dir().ok()
}
