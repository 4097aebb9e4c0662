//! Where the model is: the one that was named, the one in use, else the bundled one.
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The bundled model's file name begins with this.
const STARTER: &str = "chimera-starter";
/// Where packages put what the application reads.
const INSTALLED: [&str; 4] =
    ["/usr/lib/chimera", "/usr/lib/Chimera", "/usr/lib/chimera-desktop", "/usr/local/lib/chimera"];
/// Below each of those, and beside the executable.
const WITHIN: [&str; 3] = ["", "models", "assets/models"];

/// Everything that the answer depends on.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Named by the caller (`--model`).
    pub explicit: Option<PathBuf>,
    /// `CHIMERA_MODEL`.
    pub variable: Option<PathBuf>,
    /// The application's data directory: `models/current.json` names the model in use.
    pub data_dir: Option<PathBuf>,
    /// Given by the shell: where an install keeps its resources.
    pub resources: Vec<PathBuf>,
    pub executable: Option<PathBuf>,
    pub current_dir: Option<PathBuf>,
}

impl Places {
    /// Fills in what the process knows: the variable, the executable, the current and the installed directories.
    pub fn of_this_process(
        explicit: Option<PathBuf>,
        data_dir: Option<PathBuf>,
        resources: Vec<PathBuf>,
    ) -> Self {
        let installed = INSTALLED.iter().map(PathBuf::from);
        Self {
            explicit,
            variable: std::env::var_os("CHIMERA_MODEL").filter(|value| !value.is_empty()).map(PathBuf::from),
            data_dir,
            resources: resources.into_iter().chain(installed).collect(),
            executable: std::env::current_exe().and_then(std::fs::canonicalize).ok(),
            current_dir: std::env::current_dir().ok(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    #[error("no model file at {}", path.display())]
    Named { path: PathBuf },
    #[error("no model found in {} places", looked_in.len())]
    Nowhere { looked_in: Vec<PathBuf> },
}

/// A file that was named and is not there is an error, never a reason to take another one.
pub fn locate(places: &Places) -> Result<PathBuf, LocateError> {
    if let Some(path) = places.explicit.as_ref().or(places.variable.as_ref()) {
        return if path.is_file() {
            Ok(path.clone())
        } else {
            Err(LocateError::Named { path: path.clone() })
        };
    }
    if let Some(path) = places.data_dir.as_deref().and_then(in_use) {
        return Ok(path);
    }
    let looked_in = bundled_dirs(places);
    match looked_in.iter().find_map(|dir| model_in(dir)) {
        Some(path) => Ok(path),
        None => Err(LocateError::Nowhere { looked_in }),
    }
}

/// `models/current.json` = `{"file": "NAME.gguf"}`, a file of the same directory. Without it, or when the file is gone,
/// the bundled model answers.
fn in_use(data_dir: &Path) -> Option<PathBuf> {
    let models = data_dir.join("models");
    let json = std::fs::read(models.join("current.json")).ok()?;
    let value: serde_json::Value = serde_json::from_slice(&json).ok()?;
    let name = Path::new(value.get("file")?.as_str()?);
    let is_plain = name.file_name() == Some(name.as_os_str());
    Some(models.join(name)).filter(|path| is_plain && path.is_file())
}

fn bundled_dirs(places: &Places) -> Vec<PathBuf> {
    let executable_dir = places.executable.as_deref().and_then(Path::parent);
    let beside = executable_dir.into_iter().chain(places.resources.iter().map(PathBuf::as_path));
    let mut dirs: Vec<PathBuf> = beside.flat_map(|dir| WITHIN.map(|below| dir.join(below))).collect();
    for start in [executable_dir, places.current_dir.as_deref()].into_iter().flatten() {
        dirs.extend(start.ancestors().map(|dir| dir.join("assets/models")));
    }
    let mut seen = std::collections::HashSet::new();
    dirs.retain(|dir| seen.insert(dir.clone()));
    dirs
}

/// The starter if it is there, else the first by name.
fn model_in(dir: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let models = entries.filter(|path| path.extension() == Some(OsStr::new("gguf")) && path.is_file());
    models.min_by_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (!name.starts_with(STARTER), name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn touch(root: &TempDir, path: &str) -> PathBuf {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "GGUF").unwrap();
        path
    }

    /// All the places at once, so that each test shows which one wins.
    fn everywhere(root: &TempDir) -> Places {
        let named = touch(root, "named.gguf");
        touch(root, "data/models/used.gguf");
        std::fs::write(root.path().join("data/models/current.json"), r#"{"file": "used.gguf"}"#).unwrap();
        touch(root, "resources/models/chimera-starter-q4_0.gguf");
        touch(root, "checkout/assets/models/chimera-starter-q4_0.gguf");
        Places {
            explicit: Some(named.clone()),
            variable: Some(named),
            data_dir: Some(root.path().join("data")),
            resources: vec![root.path().join("resources")],
            executable: Some(root.path().join("bin/chimera")),
            current_dir: Some(root.path().join("checkout/src/deep")),
        }
    }

    #[test]
    fn a_named_file_comes_first_then_the_variable_the_one_in_use_the_install_the_checkout() {
        let root = TempDir::new().unwrap();
        let mut places = everywhere(&root);
        let found = |places: &Places| locate(places).unwrap().strip_prefix(root.path()).unwrap().to_owned();
        assert_eq!(found(&places), Path::new("named.gguf"));
        places.explicit = None;
        assert_eq!(found(&places), Path::new("named.gguf"));
        places.variable = None;
        assert_eq!(found(&places), Path::new("data/models/used.gguf"));
        places.data_dir = None;
        assert_eq!(found(&places), Path::new("resources/models/chimera-starter-q4_0.gguf"));
        places.resources.clear();
        assert_eq!(found(&places), Path::new("checkout/assets/models/chimera-starter-q4_0.gguf"));
    }

    #[test]
    fn a_named_file_that_is_not_there_is_an_error_though_another_model_exists() {
        let root = TempDir::new().unwrap();
        let path = root.path().join("gone.gguf");
        let places = Places { explicit: Some(path.clone()), ..everywhere(&root) };
        assert_eq!(locate(&places), Err(LocateError::Named { path }));
    }

    #[test]
    fn a_checkout_is_found_by_walking_up_from_the_executable() {
        let root = TempDir::new().unwrap();
        let model = touch(&root, "assets/models/chimera-starter-q4_0.gguf");
        let places =
            Places { executable: Some(root.path().join("target/release/chimera")), ..Places::default() };
        assert_eq!(locate(&places), Ok(model));
    }

    #[test]
    fn the_starter_is_preferred_to_other_files_of_its_directory() {
        let root = TempDir::new().unwrap();
        touch(&root, "r/a.gguf");
        touch(&root, "r/readme.txt");
        let starter = touch(&root, "r/chimera-starter-q4_0.gguf");
        let places = Places { resources: vec![root.path().join("r")], ..Places::default() };
        assert_eq!(locate(&places), Ok(starter));
    }

    #[test]
    fn a_current_file_that_points_elsewhere_or_nowhere_is_passed_over() {
        let root = TempDir::new().unwrap();
        touch(&root, "outside.gguf");
        let data_dir = root.path().join("data");
        std::fs::create_dir_all(data_dir.join("models")).unwrap();
        for json in [r#"{"file": "../../outside.gguf"}"#, r#"{"file": "gone.gguf"}"#, "not json", "{}"] {
            std::fs::write(data_dir.join("models/current.json"), json).unwrap();
            assert_eq!(in_use(&data_dir), None, "{json}");
        }
    }

    #[test]
    fn nothing_anywhere_names_the_places() {
        let root = TempDir::new().unwrap();
        let places = Places { resources: vec![root.path().to_owned()], ..Places::default() };
        let Err(LocateError::Nowhere { looked_in }) = locate(&places) else { panic!("nothing is there") };
        assert!(looked_in.contains(&root.path().join("assets/models")));
    }
}
