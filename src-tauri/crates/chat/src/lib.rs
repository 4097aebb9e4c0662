//! One turn's life: engine thread, cancellation, events; wire types and error codes.
pub mod wire;
