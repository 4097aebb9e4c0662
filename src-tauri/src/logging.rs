//! The log: one file in the data folder, for the person's own eyes. It holds what the application did,
//! never what was said in a conversation.
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Mutex;
use tracing_subscriber::filter::LevelFilter;

const LOG_FILE: &str = "chimera.log";
const OLD_LOG_FILE: &str = "chimera.log.1";
/// At this size the log of earlier starts moves aside, so that both together stay small.
const ROTATE_AT_BYTES: u64 = 1 << 20;

/// Logging is never a reason not to start: without a file the application runs unlogged.
pub fn start(data_dir: &Path) {
    match open(data_dir) {
        Ok(file) => install(file),
        Err(error) => eprintln!("chimera-desktop: no log file: {error}"),
    }
    log_panics();
}

fn open(data_dir: &Path) -> std::io::Result<File> {
    let path = data_dir.join(LOG_FILE);
    if path.metadata().is_ok_and(|found| found.len() >= ROTATE_AT_BYTES) {
        std::fs::rename(&path, data_dir.join(OLD_LOG_FILE))?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

fn install(file: File) {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .finish();
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        eprintln!("chimera-desktop: logging was already started");
    }
}

/// A panic on any thread is written down before the default report goes to standard error.
fn log_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = std::backtrace::Backtrace::force_capture();
        tracing::error!(place, reason = panic.payload_as_str(), %backtrace, "panic");
        report(panic);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_a_full_log_aside_and_keeps_a_short_one() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join(LOG_FILE), vec![b'x'; ROTATE_AT_BYTES as usize])?;
        open(folder.path())?;
        assert_eq!(folder.path().join(OLD_LOG_FILE).metadata()?.len(), ROTATE_AT_BYTES);
        assert_eq!(folder.path().join(LOG_FILE).metadata()?.len(), 0);
        std::fs::write(folder.path().join(LOG_FILE), "short")?;
        open(folder.path())?;
        assert_eq!(std::fs::read(folder.path().join(LOG_FILE))?, b"short");
        Ok(())
    }
}
