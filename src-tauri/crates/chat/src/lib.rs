//! One turn's life: engine thread, cancellation, events; wire types and error codes.
//!
//! A turn: validate, store the message with an empty answer (then it counts as sent), render and fit the prompt, let
//! the one engine thread generate, stream the text, checkpoint it about each second, store the end. What the engine,
//! the disk or the window does wrong becomes a typed error with facts; nothing that was stored is lost.
mod active;
mod convert;
mod engine;
mod errors;
pub mod locate;
mod outbox;
mod prompt;
mod service;
pub mod snapshots;
mod text;
mod turn;
pub mod wire;
mod worker;

pub use engine::{Engine, EngineFactory, LoadError, LocalEngine, PromptTokens};
pub use service::{ChatConfig, ChatService, EventSink, IdSource, Pace};
