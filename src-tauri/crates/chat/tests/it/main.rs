//! The chat service with a scripted engine (no model, no clock of its own, no sleeping), and what it remembers of
//! conversations with the real engine and a tiny model.
mod failures;
mod remembering;
mod scripted;
mod store;
mod streaming;
mod turns;
mod world;
