//! The one list of what the window may ask for. `build.rs` declares it to the ACL, `lib.rs` makes the
//! handlers from it, and `capabilities/main.json` must grant exactly it (checked by `tests/acl.rs`).
//! The build script compiles this file too, so it holds nothing but the table.
macro_rules! command_table {
    ($use_table:ident) => {
        $use_table! {
            app::app_status,
            settings::settings_get,
            settings::settings_set,
            conversations::conversations_list,
            conversations::conversation_open,
            conversations::conversation_rename,
            conversations::conversation_delete,
            chat::chat_send,
            chat::chat_regenerate,
            chat::chat_stop,
            chat::message_version,
            links::link_open,
        }
    };
}
