//! Which model a command uses, and loading it.
use crate::args::ModelArgs;
use crate::error::CliError;
use chimera_chat::locate::{LocateError, Places};
use chimera_engine::Model;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The window's identifier: its data directory names the model in use.
const APPLICATION: &str = "org.chimera.desktop";

pub fn open(args: &ModelArgs) -> Result<Arc<Model>, CliError> {
    Ok(Model::load(&locate(args.model.as_deref())?, &args.load_options())?)
}

/// `--model`, else what the window would use.
pub fn locate(given: Option<&Path>) -> Result<PathBuf, CliError> {
    let places = Places::of_this_process(given.map(Path::to_owned), data_dir(), Vec::new());
    chimera_chat::locate::locate(&places).map_err(|error| match error {
        LocateError::Named { path } => CliError::ModelMissing { path },
        LocateError::Nowhere { looked_in } => CliError::NoModel { looked: looked_in },
    })
}

fn data_dir() -> Option<PathBuf> {
    let named = std::env::var_os("CHIMERA_DATA_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    named.or_else(|| Some(dirs::data_dir()?.join(APPLICATION)))
}
