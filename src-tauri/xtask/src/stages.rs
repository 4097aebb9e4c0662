//! Named, timed steps, and the table that closes a run.
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

pub struct Stage {
    pub name: &'static str,
    pub body: fn() -> Result<()>,
}

/// Runs the stages in order, stops at the first that fails, and always prints the table.
pub fn run(stages: &[Stage]) -> Result<()> {
    let started = Instant::now();
    let mut table = Vec::new();
    let mut failure = None;
    for stage in stages {
        let (time, result) = timed(stage);
        table.push((stage.name, time, result.is_ok()));
        if let Err(error) = result {
            eprintln!("!! {}: {error:#}", stage.name);
            failure = Some(stage.name);
            break;
        }
    }
    print_table(&table, stages.len(), started.elapsed());
    match failure {
        Some(name) => bail!("the stage `{name}` failed"),
        None => Ok(()),
    }
}

fn timed(stage: &Stage) -> (Duration, Result<()>) {
    println!("\n== {}", stage.name);
    let started = Instant::now();
    let result = (stage.body)();
    let time = started.elapsed();
    println!("== {}: {} in {:.1} s", stage.name, word(result.is_ok()), time.as_secs_f64());
    (time, result)
}

fn print_table(table: &[(&str, Duration, bool)], planned: usize, total: Duration) {
    println!("\n{:<24} {:>9}", "stage", "seconds");
    for (name, time, passed) in table {
        println!("{name:<24} {:>9.1}  {}", time.as_secs_f64(), word(*passed));
    }
    println!("{:<24} {:>9.1}  {} of {planned} stages ran", "total", total.as_secs_f64(), table.len());
}

fn word(passed: bool) -> &'static str {
    if passed { "ok" } else { "FAILED" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_at_the_first_failure_and_names_it() {
        let stages = [
            Stage { name: "first", body: || Ok(()) },
            Stage { name: "second", body: || bail!("no") },
            Stage { name: "third", body: || panic!("a stage after a failure must not run") },
        ];
        let error = run(&stages).map_err(|error| error.to_string());
        assert_eq!(error, Err("the stage `second` failed".to_owned()));
    }
}
