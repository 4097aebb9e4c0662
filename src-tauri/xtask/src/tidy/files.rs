//! Rules about the text of files: how they begin, how long they are, where `unsafe` may stand, and that
//! nothing but a lock file names a package registry.
use crate::workspace::{files, root};
use anyhow::Result;
use std::path::Path;

const MOST_LINES: usize = 500;
const REPORTED: usize = 5;

/// The only places for `unsafe`: the kernels and the memory map of the engine, and the one call into SQLite
/// that asks which version is linked in, before any file is opened with it.
const UNSAFE_HOMES: &[&str] = &[
    "src-tauri/crates/engine/src/kernels/",
    "src-tauri/crates/engine/src/weights.rs",
    // Counts what the fuzz targets allocate; part of no program that ships.
    "src-tauri/fuzz/src/allocator.rs",
    "src-tauri/crates/history/src/lib.rs",
];

/// Written in two halves, so that this list does not find itself.
const REGISTRIES: &[(&str, &str)] = &[
    ("crates", ".io"),
    ("npmjs", ".org"),
    ("pypi", ".org"),
    ("pythonhosted", ".org"),
    ("debian", ".org"),
    ("ubuntu", ".com"),
];

const LOCK_FILES: &[&str] = &["Cargo.lock", "package-lock.json", "uv.lock"];
const CODE: &[&str] = &["rs", "ts", "svelte", "py", "mjs"];

pub fn findings() -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let mut lengths = Vec::new();
    for path in files()? {
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        findings.extend(file_findings(&path, &text));
        if is_code(&path) {
            lengths.push((code_lines(&text), path));
        }
    }
    report_lengths(lengths);
    Ok(findings)
}

fn report_lengths(mut lengths: Vec<(usize, std::path::PathBuf)>) {
    lengths.sort_by(|left, right| right.cmp(left));
    let total: usize = lengths.iter().map(|(lines, _)| lines).sum();
    println!("   {} code files, {total} lines without tests; the longest:", lengths.len());
    for (lines, path) in lengths.iter().take(REPORTED) {
        println!("   {lines:>6}  {}", path.display());
    }
}

fn file_findings(path: &Path, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let name = path.to_string_lossy().replace('\\', "/");
    if is_rust(path) {
        if !text.starts_with("//!") {
            findings.push(format!("{name}: begins without a //! line that says what it is for"));
        }
        if !UNSAFE_HOMES.iter().any(|home| name.starts_with(home)) && text.lines().any(is_unsafe) {
            findings.push(format!("{name}: holds unsafe code outside the engine's kernels and mmap"));
        }
    }
    if is_code(path) && code_lines(text) > MOST_LINES {
        findings.push(format!("{name}: {} lines without tests; {MOST_LINES} is the most", code_lines(text)));
    }
    if let Some(host) = registry_in(text)
        && !LOCK_FILES.iter().any(|lock| name.ends_with(lock))
    {
        findings.push(format!("{name}: names the package registry {host}"));
    }
    findings
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

fn is_code(path: &Path) -> bool {
    path.extension().is_some_and(|extension| CODE.iter().any(|known| extension == *known))
        && !path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "bindings")
}

/// Lines up to the test module that closes a Rust file.
fn code_lines(text: &str) -> usize {
    text.lines().take_while(|line| *line != "#[cfg(test)]").count()
}

fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["{", "fn ", "impl ", "extern ", "trait "].iter().any(|next| code.contains(&["unsafe ", next].concat()))
}

fn registry_in(text: &str) -> Option<String> {
    REGISTRIES.iter().map(|(name, end)| format!("{name}{end}")).find(|host| text.contains(host.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, text: &str) -> usize {
        file_findings(Path::new(name), text).len()
    }

    #[test]
    fn wants_a_first_line_that_says_what_a_rust_file_is_for() {
        assert_eq!(of("a.rs", "//! A.\n"), 0);
        assert_eq!(of("a.rs", "use std::fs;\n"), 1);
    }

    #[test]
    fn keeps_unsafe_in_its_homes() {
        // Spelled so that this file does not find itself.
        let code = format!("//! A.\nfn a() {{ un{} {{ b() }} }}\n", "safe");
        assert_eq!(of("src-tauri/src/lib.rs", &code), 1);
        assert_eq!(of("src-tauri/crates/engine/src/kernels/avx2.rs", &code), 0);
        assert_eq!(of("src-tauri/src/lib.rs", "//! A.\n#![forbid(unsafe_code)]\n"), 0);
    }

    #[test]
    fn counts_lines_up_to_the_tests() {
        let long = format!("//! A.\n{}", "//\n".repeat(MOST_LINES));
        assert_eq!(of("a.rs", &long), 1);
        let tested = format!("//! A.\n#[cfg(test)]\n{}", "//\n".repeat(MOST_LINES));
        assert_eq!(of("a.rs", &tested), 0);
    }

    #[test]
    fn finds_a_registry_outside_the_lock_files() {
        let text = format!("https://{}{}/x", "pypi", ".org");
        assert_eq!(of("README.md", &text), 1);
        assert_eq!(of("training/uv.lock", &text), 0);
    }
}
