//! The engine: weights, kernels, model, state, tokenizer, template, sampling, generation.
//! No network, SQL, Tauri, tokio or clock.
mod api;
mod error;
mod generate;
mod model;
mod session;
mod state;
pub mod template;
mod tokenizer;

pub use api::*;
pub use error::EngineError;
pub use model::Model;
pub use session::Session;
pub use state::Snapshot;
pub use tokenizer::{StreamDecoder, Tokenizer};
