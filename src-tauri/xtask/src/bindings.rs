//! The TypeScript types of the wire: written from Rust, committed, and compared in the tests.
use crate::process::run;
use crate::workspace::{cargo, root};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::path::PathBuf;

type Files = BTreeMap<PathBuf, Vec<u8>>;

pub fn write() -> Result<()> {
    run(cargo(&["test", "--quiet", "-p", "chimera-chat", "export_bindings"]))
}

/// Runs `body`, whose tests write the bindings, and fails if what they wrote is not what was there.
pub fn unchanged_by(body: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = files()?;
    body()?;
    let changed = difference(&before, &files()?);
    if !changed.is_empty() {
        bail!(
            "the committed bindings were not up to date (they are now; commit them): {}",
            changed.join(", ")
        );
    }
    Ok(())
}

fn files() -> Result<Files> {
    let folder = root().join("ui/src/ipc/bindings");
    let mut files = Files::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry?.path();
        files.insert(path.clone(), std::fs::read(path)?);
    }
    Ok(files)
}

fn difference(before: &Files, after: &Files) -> Vec<String> {
    let names = before.keys().chain(after.keys()).collect::<std::collections::BTreeSet<_>>();
    let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    changed.filter_map(|name| Some(name.file_name()?.to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_new_changed_and_missing_files() {
        let files = |list: &[(&str, &str)]| -> Files {
            list.iter().map(|(name, text)| (PathBuf::from(name), text.as_bytes().to_vec())).collect()
        };
        let before = files(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let after = files(&[("a", "1"), ("b", "2"), ("d", "1")]);
        assert_eq!(difference(&before, &after), ["b", "c", "d"]);
    }
}
