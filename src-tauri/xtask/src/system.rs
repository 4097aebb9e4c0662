//! System packages: found, installed where that is allowed, or named in one line to copy.
use crate::process::{command, is_installed, run, succeeds};
use anyhow::{Result, bail};
use std::process::{Command, Stdio};

/// What building and opening the window takes on Debian and Ubuntu.
const FOR_THE_WINDOW: &[&str] =
    &["build-essential", "pkg-config", "libwebkit2gtk-4.1-dev", "librsvg2-dev", "xdg-utils"];

/// What the tests in the real window take on top.
const FOR_THE_TESTS: &[&str] = &[
    "webkit2gtk-driver",
    "xvfb",
    "xauth",
    "dbus",
    "dbus-x11",
    "at-spi2-core",
    "fonts-noto-core",
    "fonts-noto-color-emoji",
    "python3-venv",
];

/// Other distributions: how to tell them, and the line that installs the same there.
const OTHER_LINES: &[(&str, &str)] = &[
    ("dnf", "sudo dnf install gcc pkgconf-pkg-config webkit2gtk4.1-devel librsvg2-devel xdg-utils"),
    ("pacman", "sudo pacman -S --needed base-devel webkit2gtk-4.1 librsvg xdg-utils"),
    (
        "zypper",
        "sudo zypper install -t pattern devel_basis && sudo zypper install webkit2gtk3-devel librsvg-devel",
    ),
    ("apk", "sudo apk add build-base webkit2gtk-4.1-dev librsvg-dev xdg-utils"),
];

pub fn for_the_window() -> Result<()> {
    ensure(FOR_THE_WINDOW)
}

pub fn for_the_tests() -> Result<()> {
    ensure(&[FOR_THE_WINDOW, FOR_THE_TESTS].concat())
}

fn ensure(packages: &[&str]) -> Result<()> {
    if !cfg!(target_os = "linux") {
        println!("   nothing to install: the system's own web view is used");
        return Ok(());
    }
    if is_installed("apt-get") && is_installed("dpkg-query") {
        ensure_by_apt(packages)
    } else {
        ensure_by_hand()
    }
}

fn ensure_by_apt(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|name| !has_package(name)).collect();
    if missing.is_empty() {
        println!("   all {} system packages are there", packages.len());
        return Ok(());
    }
    let Some(prefix) = root_prefix() else {
        bail!("system packages are missing; install them and start again:\n\n  {}\n", apt_line(&missing));
    };
    run(apt(prefix, &["update", "-qq"]))?;
    run(apt(prefix, &[&["install", "-y", "-qq", "--no-install-recommends"], missing.as_slice()].concat()))
}

fn has_package(name: &str) -> bool {
    let query = command("dpkg-query", &["-W", "-f=${db:Status-Status}", name]).stderr(Stdio::null()).output();
    query.is_ok_and(|answer| answer.stdout == b"installed")
}

fn apt_line(packages: &[&str]) -> String {
    format!("sudo apt-get update && sudo apt-get install -y --no-install-recommends {}", packages.join(" "))
}

/// Nothing for root, `sudo -n` where it asks no password, none otherwise.
fn root_prefix() -> Option<&'static [&'static str]> {
    let is_root = command("id", &["-u"]).output().is_ok_and(|answer| answer.stdout.trim_ascii() == b"0");
    if is_root {
        return Some(&[]);
    }
    succeeds(command("sudo", &["-n", "true"])).then_some(&["sudo", "-n"])
}

fn apt(prefix: &[&str], arguments: &[&str]) -> Command {
    let words = [prefix, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"], arguments].concat();
    command(words[0], &words[1..])
}

/// Without apt the libraries are looked for, and the distribution's line is printed.
fn ensure_by_hand() -> Result<()> {
    if succeeds(command("pkg-config", &["--exists", "webkit2gtk-4.1", "librsvg-2.0"])) {
        return Ok(());
    }
    match OTHER_LINES.iter().find(|(tool, _)| is_installed(tool)) {
        Some((_, line)) => bail!("system packages are missing; install them and start again:\n\n  {line}\n"),
        None => {
            bail!("WebKitGTK 4.1 and librsvg, with their headers, are missing: install them and start again")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_line_to_copy() {
        let line = apt_line(&["xvfb", "xauth"]);
        assert!(line.ends_with("install -y --no-install-recommends xvfb xauth"), "{line}");
    }

    #[test]
    fn apt_runs_through_sudo_only_where_it_must() {
        assert_eq!(apt(&[], &["update"]).get_program(), "env");
        assert_eq!(apt(&["sudo", "-n"], &["update"]).get_program(), "sudo");
    }
}
