//! The engine: weights, kernels, model, state, tokenizer, template, sampling, generation.
//! No network, SQL, Tauri, tokio or clock.
pub mod api;
pub use api::*;
