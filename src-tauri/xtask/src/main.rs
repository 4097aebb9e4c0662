//! The repository's own tasks: `cargo xtask run`, `cargo xtask test` and their parts.
//!
//! Plain Rust with two dependencies, so that it builds in seconds on a machine that has nothing else yet.
mod bench_report;
mod bindings;
mod e2e;
mod fixtures;
mod peer;
mod process;
mod python;
mod run;
mod stages;
mod system;
mod test;
mod tidy;
mod ui;
mod workspace;

use anyhow::{Result, bail};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask run                 install what is missing, build, open the window
cargo xtask test [--only NAME]  install what is missing and check everything (or one stage of it)
cargo xtask tidy                rooms and their arrows, licences, unsafe, file lengths
cargo xtask bindings            write the TypeScript types of the wire
cargo xtask fixtures            make tests/fixtures/tiny again from the training package
cargo xtask e2e                 only the tests in the real window
cargo xtask bench-report MODEL.gguf... [--threads 1,2]
                                measure against llama.cpp and write the README's performance table";

enum Task {
    Run { arguments: Vec<String> },
    Test { only: Option<String> },
    Tidy,
    Bindings,
    Fixtures,
    E2e,
    BenchReport { arguments: Vec<String> },
    Help,
}

impl Task {
    fn parse(arguments: &[String]) -> Result<Self> {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Ok(match words.as_slice() {
            [] | ["help" | "--help" | "-h"] => Self::Help,
            ["run", rest @ ..] => Self::Run { arguments: rest.iter().map(ToString::to_string).collect() },
            ["test"] => Self::Test { only: None },
            ["test", "--only", name] => Self::Test { only: Some((*name).to_owned()) },
            ["tidy"] => Self::Tidy,
            ["bindings"] => Self::Bindings,
            ["fixtures"] => Self::Fixtures,
            ["e2e"] => Self::E2e,
            ["bench-report", rest @ ..] => {
                Self::BenchReport { arguments: rest.iter().map(ToString::to_string).collect() }
            }
            _ => bail!("no such task: {}\n\n{USAGE}", words.join(" ")),
        })
    }

    fn perform(self) -> Result<()> {
        match self {
            Self::Run { arguments } => run::run(&arguments),
            Self::Test { only } => test::run(only.as_deref()),
            Self::Tidy => tidy::run(),
            Self::Bindings => bindings::write(),
            Self::Fixtures => fixtures::make(),
            Self::BenchReport { arguments } => bench_report::write(&arguments),
            Self::E2e => test::run(Some("e2e")),
            Self::Help => {
                println!("{USAGE}");
                Ok(())
            }
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match Task::parse(&arguments).and_then(Task::perform) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Task> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Task::parse(&words)
    }

    #[test]
    fn names_every_task_and_refuses_others() {
        for line in [
            "run",
            "test",
            "test --only clippy",
            "tidy",
            "bindings",
            "fixtures",
            "e2e",
            "bench-report m",
            "help",
            "",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in ["build", "test --only", "tidy now"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
