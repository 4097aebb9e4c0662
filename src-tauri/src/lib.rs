//! The shell around the window: one-line commands, the security frame, start-up. Everything that a
//! message goes through is in `chimera-chat`; nothing here knows SQL, weights or prompts.
//!
//! What the window may ask for is written once, in `commands/table.rs`; Tauri refuses the rest.
#[macro_use]
#[path = "commands/table.rs"]
mod command_table;

pub mod commands;
pub mod desk;
pub mod links;
mod logging;
mod paths;
mod startup;
mod window;

use tauri::{Builder, RunEvent, Runtime};

macro_rules! handler {
    ($($area:ident :: $name:ident,)*) => { tauri::generate_handler![$(commands::$area::$name),*] };
}

macro_rules! names {
    ($($area:ident :: $name:ident,)*) => { &[$(stringify!($name)),*] };
}

/// Every command the window can call, as the ACL knows it.
pub const COMMANDS: &[&str] = command_table!(names);

/// Gives a builder the command handlers; the tests give them to a mock window the same way.
pub fn with_commands<R: Runtime>(builder: Builder<R>) -> Builder<R> {
    builder.invoke_handler(command_table!(handler))
}

/// Runs the application until its window is closed.
pub fn run() -> Result<(), tauri::Error> {
    let app = with_commands(Builder::default())
        .plugin(tauri_plugin_single_instance::init(|app, _arguments, _directory| window::bring_forward(app)))
        .plugin(window::remembered_place())
        .setup(|app| startup::start(app))
        .build(context())?;
    app.run(|app, event| {
        if let RunEvent::Exit = event {
            startup::end(app);
        }
    });
    Ok(())
}

/// The configuration, the capabilities and, with `custom-protocol`, the interface, compiled in.
pub fn context<R: Runtime>() -> tauri::Context<R> {
    tauri::generate_context!()
}
