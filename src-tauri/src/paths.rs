//! Where things live on this computer.
use std::path::PathBuf;
use tauri::{App, Manager, Runtime};

/// Set by tests and by people who keep their conversations elsewhere.
const DATA_DIR: &str = "CHIMERA_DATA_DIR";

/// The folder of the history and the log, made if it is not there.
pub fn data_dir<R: Runtime>(app: &App<R>) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let directory = match std::env::var_os(DATA_DIR).filter(|value| !value.is_empty()) {
        Some(chosen) => PathBuf::from(chosen),
        None => app.path().app_data_dir()?,
    };
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}
