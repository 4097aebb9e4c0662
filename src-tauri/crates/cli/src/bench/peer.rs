//! Finding an installed llama.cpp and starting it as the other side.
use super::protocol::{Answer, Order, Side};
use crate::error::CliError;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Written for any Python from 3.8 on, without packages of its own.
const DRIVER: &str = include_str!("peer.py");

/// An interpreter, and the library it is to open; without one, what its packages bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    python: PathBuf,
    library: Option<PathBuf>,
}

/// How llama.cpp is set up. KV cache f16 and batches of 512 are its defaults and stay.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
pub struct Configuration {
    pub flash_attention: bool,
    pub repack: bool,
}

impl Configuration {
    pub fn load(self, model: &Path, threads: usize, context: usize) -> Order {
        let Self { flash_attention, repack } = self;
        Order::Load { model: model.to_owned(), threads, context, flash_attention, repack }
    }
}

/// The most likely first.
pub const CONFIGURATIONS: [Configuration; 3] = [
    Configuration { flash_attention: true, repack: true },
    Configuration { flash_attention: false, repack: true },
    // A build whose repacked products crash still has these.
    Configuration { flash_attention: true, repack: false },
];

/// Where to look: the named one alone if there is one, else the libraries beside `llama-bench`, else Python with a package.
pub fn find(named: Option<&Path>) -> Result<Peer, CliError> {
    match named {
        Some(path) => look_at(Some(path)),
        None => beside_llama_bench().map_or_else(|| look_at(None), |found| look_at(Some(&found))),
    }
}

fn beside_llama_bench() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    let program = format!("llama-bench{}", std::env::consts::EXE_SUFFIX);
    let found = std::env::split_paths(&paths).map(|folder| folder.join(&program)).find(|p| p.is_file())?;
    library_of(&found).ok()
}

/// The library that a program of llama.cpp uses: beside it, or in `../lib`.
fn library_of(program: &Path) -> Result<PathBuf, CliError> {
    let real = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    let folder = real.parent().unwrap_or(Path::new("."));
    library_in(folder).or_else(|error| library_in(folder.parent().ok_or(error)?))
}

fn look_at(named: Option<&Path>) -> Result<Peer, CliError> {
    let python = || PathBuf::from(if cfg!(windows) { "python" } else { "python3" });
    let peer = match named {
        None => Peer { python: python(), library: None },
        Some(path) if path.is_dir() => Peer { python: python(), library: Some(library_in(path)?) },
        Some(path) if is_program(path) => Peer { python: python(), library: Some(library_of(path)?) },
        Some(path) if is_library(path) => Peer { python: python(), library: Some(path.to_owned()) },
        Some(path) => Peer { python: path.to_owned(), library: None },
    };
    if peer.is_there() {
        return Ok(peer);
    }
    Err(CliError::PeerMissing { looked: named.map_or_else(|| peer.python.clone(), Path::to_owned) })
}

fn library_in(folder: &Path) -> Result<PathBuf, CliError> {
    let name = format!("{}llama{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let places = ["", "bin", "lib", "build/bin"].map(|below| folder.join(below).join(&name));
    places.into_iter().find(|p| p.is_file()).ok_or(CliError::PeerMissing { looked: folder.to_owned() })
}

/// `libllama.so`, `libllama.so.0.6.0`, `llama.dll`, `libllama.dylib`, `xllamacpp.abi3.so`.
fn is_library(path: &Path) -> bool {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    name.ends_with(std::env::consts::DLL_SUFFIX) || name.contains(".so.")
}

fn is_program(path: &Path) -> bool {
    path.file_stem().is_some_and(|name| name.to_string_lossy().starts_with("llama-"))
}

impl Peer {
    /// Whether the interpreter runs and has what it is to open.
    fn is_there(&self) -> bool {
        let probe = match &self.library {
            Some(path) => {
                return path.is_file() && self.succeeds("pass");
            }
            None => {
                "import importlib.util as u, sys; sys.exit(not any(map(u.find_spec, ('xllamacpp', 'llama_cpp'))))"
            }
        };
        self.succeeds(probe)
    }

    fn succeeds(&self, code: &str) -> bool {
        let mut command = Command::new(&self.python);
        command.args(["-c", code]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    pub fn start(&self) -> Result<Side, CliError> {
        let mut command = Command::new(&self.python);
        command.args(["-c", DRIVER]).args(&self.library).stderr(Stdio::null());
        Side::start(command, |reason| CliError::PeerFailed { reason })
    }

    /// A process with the model loaded.
    pub fn loaded(
        &self,
        model: &Path,
        threads: usize,
        context: usize,
        configuration: Configuration,
    ) -> Result<(Side, Answer), CliError> {
        let mut side = self.start()?;
        let answer = side.order(&configuration.load(model, threads, context))?;
        Ok((side, answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_an_interpreter_and_a_folder_are_told_apart() {
        let yes = [format!("x/{}", "libllama.so.0.6.0"), format!("libllama{}", std::env::consts::DLL_SUFFIX)];
        assert!(yes.iter().all(|p| is_library(Path::new(p))));
        assert!(
            ["venv/bin/python", "python3.11", "bin/llama-bench"].iter().all(|p| !is_library(Path::new(p)))
        );
        assert!(is_program(Path::new("bin/llama-bench")) && !is_program(Path::new("libllama.so")));
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(find(Some(empty.path())), Err(CliError::PeerMissing { .. })));
        assert!(matches!(find(Some(Path::new("/no/such/python"))), Err(CliError::PeerMissing { .. })));
    }
}
