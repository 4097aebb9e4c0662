//! The engine: weights, kernels, model, state, tokenizer, template, sampling, generation.
//! No network, SQL, Tauri, tokio or clock.
mod answer;
mod api;
mod error;
mod generate;
pub mod kernels;
mod model;
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
pub use error::EngineError;
pub use model::Model;
pub use session::Session;
pub use state::Snapshot;
pub use tokenizer::{StreamDecoder, Tokenizer};
