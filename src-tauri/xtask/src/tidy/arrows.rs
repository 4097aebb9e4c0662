//! Who may depend on whom (the arrows of ARCHITECTURE.md), and which outside crate belongs to one room.
use serde_json::Value;

/// Each room, and the rooms it may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("chimera-gguf", &[]),
    ("chimera-history", &[]),
    ("chimera-engine", &["chimera-gguf"]),
    ("chimera-chat", &["chimera-engine", "chimera-history"]),
    ("chimera-cli", &["chimera-chat", "chimera-engine", "chimera-gguf"]),
    ("chimera-desktop", &["chimera-chat"]),
    ("chimera-tests", &["chimera-chat", "chimera-engine", "chimera-gguf", "chimera-history"]),
    ("xtask", &[]),
];

/// Outside crates, by the start of their names, and the only rooms that may use them.
const OWNED: &[(&str, &[&str])] = &[
    ("sqlx", &["chimera-history"]),
    ("libsqlite3", &["chimera-history"]),
    ("tauri", &["chimera-desktop"]),
    ("candle", &["chimera-engine", "chimera-cli"]),
    ("tokenizers", &["chimera-engine"]),
    ("tokio", &["chimera-history", "chimera-chat", "chimera-desktop"]),
    ("reqwest", &[]),
    ("hyper", &[]),
    ("hf-hub", &[]),
];

pub fn findings(metadata: &Value) -> Vec<String> {
    let members = list(&metadata["workspace_members"]);
    let packages = list(&metadata["packages"]);
    let rooms = packages.iter().filter(|package| members.contains(&package["id"]));
    rooms.flat_map(room_findings).collect()
}

fn room_findings(room: &Value) -> Vec<String> {
    let name = text(&room["name"]);
    let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
        return vec![format!(
            "{name}: a new room has no arrows yet; decide them in xtask/src/tidy/arrows.rs"
        )];
    };
    let dependencies = list(&room["dependencies"]).iter().map(|dependency| text(&dependency["name"]));
    dependencies.filter_map(|used| objection(name, allowed, used)).collect()
}

fn objection(room: &str, allowed: &[&str], used: &str) -> Option<String> {
    let is_room = ARROWS.iter().any(|(known, _)| *known == used);
    if is_room && !allowed.contains(&used) {
        return Some(format!("{room} may not depend on {used}"));
    }
    let (owned, owners) = OWNED.iter().find(|(start, _)| used.starts_with(start))?;
    (!owners.contains(&room)).then(|| format!("{room} may not use {used}: {owned}* belongs to {owners:?}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workspace(name: &str, dependencies: &[&str]) -> Value {
        let dependencies: Vec<Value> = dependencies.iter().map(|name| json!({ "name": name })).collect();
        json!({ "workspace_members": [name], "packages": [{ "id": name, "name": name, "dependencies": dependencies }] })
    }

    #[test]
    fn accepts_the_arrows_of_the_design() {
        assert!(
            findings(&workspace("chimera-chat", &["chimera-engine", "chimera-history", "serde"])).is_empty()
        );
    }

    #[test]
    fn refuses_an_arrow_that_points_up() {
        assert_eq!(
            findings(&workspace("chimera-gguf", &["chimera-engine"])),
            ["chimera-gguf may not depend on chimera-engine"]
        );
    }

    #[test]
    fn refuses_a_crate_outside_its_room_and_a_room_without_arrows() {
        assert_eq!(findings(&workspace("chimera-cli", &["sqlx"])).len(), 1);
        assert_eq!(findings(&workspace("chimera-engine", &["reqwest"])).len(), 1);
        assert_eq!(findings(&workspace("chimera-new", &[])).len(), 1);
    }
}
