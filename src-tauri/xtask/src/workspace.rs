//! Where the checkout is and what cargo knows about it.
use crate::process::{command, output};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The feature set of every workspace build: one set, so that nothing is compiled twice.
pub const FEATURES: &str = "chimera-desktop/custom-protocol";

/// The checkout's top folder.
pub fn root() -> &'static Path {
    const XTASK: &str = env!("CARGO_MANIFEST_DIR");
    Path::new(XTASK).ancestors().nth(2).unwrap_or(Path::new(XTASK))
}

/// The cargo that started this task.
pub fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut cargo = command(&program, arguments);
    cargo.current_dir(root());
    cargo
}

pub fn metadata(arguments: &[&str]) -> Result<Value> {
    let text = output(cargo(&[&["metadata", "--format-version", "1"], arguments].concat()))?;
    serde_json::from_str(&text).context("cargo metadata is not JSON")
}

/// Where a profile's programs are: `debug` or `release`.
pub fn programs(profile: &str) -> Result<PathBuf> {
    let metadata = metadata(&["--no-deps"])?;
    let target = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(Path::new(target).join(profile))
}

/// Every file of the checkout that git tracks or would track.
pub fn files() -> Result<Vec<PathBuf>> {
    let mut git = command("git", &["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    git.current_dir(root());
    let listing = output(git)?;
    let present = listing.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    Ok(present.filter(|path| root().join(path).is_file()).collect())
}

/// The folder for what may be kept between checkouts, such as the Python environment.
pub fn cache() -> Result<PathBuf> {
    let home = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    home("CHIMERA_CACHE_DIR")
        .or_else(|| home("XDG_CACHE_HOME").map(|folder| folder.join("chimera")))
        .or_else(|| home("HOME").map(|folder| folder.join(".cache/chimera")))
        .or_else(|| home("LOCALAPPDATA").map(|folder| folder.join("chimera")))
        .context("no HOME to keep a cache in: set CHIMERA_CACHE_DIR")
}

/// FNV-1a, 64 bits: names a cache entry after the bytes it was made from.
pub fn fingerprint(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_checkout() {
        assert!(root().join("src-tauri/xtask/Cargo.toml").is_file());
    }

    #[test]
    fn fingerprints_as_fnv_1a_does() {
        assert_eq!(fingerprint(b""), "cbf29ce484222325");
        assert_eq!(fingerprint(b"a"), "af63dc4c8601ec8c");
    }
}
