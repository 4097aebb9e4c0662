//! Conversations on disk: the only user of SQLite.
//!
//! One process at a time holds the history (a lock file); inside it, one connection writes and a few read. What a
//! write method returned as done is on the disk (WAL, `synchronous=FULL`). A damaged file is put aside and kept, never
//! deleted; a file of a newer version is left untouched.
mod backup;
mod calendar;
mod error;
mod files;
mod inspect;
mod open;
mod read;
mod recover;
mod settings;
mod title;
mod tree;
mod types;
mod write;

pub use error::HistoryError;
pub use open::{Clock, History, OpenOptions, Opened};
pub use recover::Recovered;
pub use types::{
    AnswerStats, Conversation, ConversationSummary, Ending, Message, Outcome, Role, Status, UserTurn,
};

/// The oldest SQLite without the WAL-reset corruption (3.51.3).
pub const SQLITE_NEEDED: i32 = 3_051_003;

/// The version of the SQLite that is linked in, as 3051003.
pub fn sqlite_version() -> i32 {
    // SAFETY: takes no argument, touches no memory of ours, returns a constant.
    unsafe { libsqlite3_sys::sqlite3_libversion_number() }
}
