//! Conversations on disk: the only user of SQLite.
