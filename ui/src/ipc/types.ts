// The wire, as ts-rs writes it from crates/chat/src/wire.rs: one import for the rest of the window.
export type * from "./bindings/index";
