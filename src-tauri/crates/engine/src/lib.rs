//! The engine: weights, kernels, model, state, tokenizer, template, sampling, generation.
//! No network, SQL, Tauri, tokio or clock. `unsafe` only in `kernels` and for the map in `weights`.
#![deny(unsafe_code)]
mod answer;
mod api;
mod batch;
mod error;
mod generate;
#[allow(unsafe_code)]
pub mod kernels;
mod memory;
mod model;
mod resume;
mod sampling;
mod session;
mod state;
pub mod template;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tokenizer;
mod weights;

pub use api::*;
pub use batch::{Batch, Ended, Feed, Refused, Ticket};
pub use error::{EngineError, TemplateError};
pub use memory::MemoryEstimate;
pub use model::{Model, check_types};
pub use session::Session;
pub use state::{Snapshot, SnapshotFile, write_snapshots};
pub use tokenizer::{StreamDecoder, Tokenizer};
