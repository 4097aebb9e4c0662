//! The chat service with a scripted engine: no model, no clock of its own, no sleeping.
mod failures;
mod scripted;
mod streaming;
mod turns;
mod world;
