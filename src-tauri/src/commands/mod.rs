//! What the window can call, one module per area, one line per body. Names and types are in
//! `chimera_chat::wire`; the list that the ACL enforces is in `table.rs`.
pub mod app;
pub mod chat;
pub mod conversations;
pub mod links;
pub mod settings;

use chimera_chat::wire::WireError;

type Answer<T> = Result<T, WireError>;
type Desk<'a> = tauri::State<'a, crate::desk::Desk>;
