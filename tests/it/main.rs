//! One integration binary.
mod gguf_attacks;
mod gguf_damage;
mod raw_gguf;
