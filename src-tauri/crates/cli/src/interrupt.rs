//! Ctrl-C: the first one stops what is being made (an answer, a file), any other ends the program.
use crate::error::{CliError, code};
use chimera_engine::CancelFlag;
use std::sync::{Mutex, MutexGuard, PoisonError};

static CURRENT: Mutex<Option<CancelFlag>> = Mutex::new(None);

fn current() -> MutexGuard<'static, Option<CancelFlag>> {
    // The handler only swaps a flag, so a poisoned lock still holds a valid value.
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Call once. Where the platform refuses a handler, Ctrl-C keeps its default: it ends the program.
pub fn install() {
    let _ = ctrlc::set_handler(|| match current().as_ref().filter(|flag| !flag.is_cancelled()) {
        Some(flag) => flag.cancel(),
        None => std::process::exit(i32::from(code::INTERRUPTED)),
    });
}

/// While this lives, Ctrl-C cancels its flag.
pub struct Stoppable(CancelFlag);

impl Stoppable {
    pub fn begin() -> Self {
        let flag = CancelFlag::default();
        *current() = Some(flag.clone());
        Self(flag)
    }

    /// Between the steps of long work: ends it, and with it its temporary files, once Ctrl-C was pressed.
    pub fn check(&self) -> Result<(), CliError> {
        if self.0.is_cancelled() { Err(CliError::Interrupted) } else { Ok(()) }
    }

    pub fn flag(&self) -> &CancelFlag {
        &self.0
    }
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        *current() = None;
    }
}
