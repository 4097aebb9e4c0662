//! Declares every command to Tauri's ACL: without that, any page in the window could call all of them.
#[macro_use]
#[path = "src/commands/table.rs"]
mod command_table;

macro_rules! names {
    ($($area:ident :: $name:ident,)*) => { &[$(stringify!($name)),*] };
}

const COMMANDS: &[&str] = command_table!(names);

fn main() {
    println!("cargo:rerun-if-changed=src/commands/table.rs");
    println!("cargo:rerun-if-changed=../ui/dist");
    // Code that only checks or tests needs no built interface, but Tauri wants the folder to be there.
    if let Err(error) = std::fs::create_dir_all("../ui/dist") {
        println!("cargo:warning=ui/dist could not be made: {error}");
    }
    let manifest = tauri_build::AppManifest::new().commands(COMMANDS);
    let attributes = tauri_build::Attributes::new().app_manifest(manifest);
    if let Err(error) = tauri_build::try_build(attributes) {
        println!("cargo:error={error:#}");
    }
}
