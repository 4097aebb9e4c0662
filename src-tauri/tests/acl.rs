//! The wall between the page and Rust: commands are granted one by one, and only to our own page.
use chimera_desktop::{COMMANDS, context, with_commands};
use serde_json::Value;
use tauri::ipc::{CallbackFn, InvokeBody};
use tauri::test::{INVOKE_KEY, MockRuntime, get_ipc_response, mock_builder};
use tauri::webview::InvokeRequest;
use tauri::{WebviewUrl, WebviewWindow, WebviewWindowBuilder};

const OWN_PAGE: &str = if cfg!(windows) { "http://tauri.localhost" } else { "tauri://localhost" };

fn window(label: &str) -> WebviewWindow<MockRuntime> {
    let app = with_commands(mock_builder()).build(context()).expect("the configuration is valid");
    WebviewWindowBuilder::new(&app, label, WebviewUrl::default()).build().expect("a mock window opens")
}

fn call(window: &WebviewWindow<MockRuntime>, command: &str, page: &str) -> Result<Value, Value> {
    let request = InvokeRequest {
        cmd: command.to_owned(),
        callback: CallbackFn(0),
        error: CallbackFn(1),
        url: page.parse().expect("an address"),
        body: InvokeBody::Json(serde_json::json!({ "url": "file:///etc/passwd" })),
        headers: Default::default(),
        invoke_key: INVOKE_KEY.to_owned(),
    };
    let answer = get_ipc_response(window, request);
    answer.map(|body| body.deserialize().expect("an answer is JSON"))
}

/// `link_open` needs no state, so its own refusal shows that the call got through.
fn reached_the_command(answer: &Result<Value, Value>) -> bool {
    matches!(answer, Err(error) if error["code"] == "link_refused")
}

#[test]
fn our_own_page_reaches_a_command() {
    let answer = call(&window("main"), "link_open", OWN_PAGE);
    assert!(reached_the_command(&answer), "{answer:?}");
}

#[test]
fn a_foreign_page_reaches_none() {
    for page in ["https://example.org", "http://localhost:8000", "tauri://localhost.example.org"] {
        let answer = call(&window("main"), "link_open", page);
        assert!(answer.is_err() && !reached_the_command(&answer), "{page}: {answer:?}");
    }
}

#[test]
fn another_window_reaches_none() {
    let answer = call(&window("other"), "link_open", OWN_PAGE);
    assert!(answer.is_err() && !reached_the_command(&answer), "{answer:?}");
}

#[test]
fn plugin_and_unknown_commands_are_refused() {
    for command in ["plugin:window|close", "plugin:event|listen", "plugin:app|version", "no_such_command"] {
        assert!(call(&window("main"), command, OWN_PAGE).is_err(), "{command}");
    }
}

#[test]
fn the_capability_grants_exactly_the_commands_of_the_table() {
    let capability: Value = serde_json::from_str(include_str!("../capabilities/main.json")).expect("JSON");
    let granted: Vec<&str> =
        capability["permissions"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let declared: Vec<String> =
        COMMANDS.iter().map(|name| format!("allow-{}", name.replace('_', "-"))).collect();
    assert_eq!(granted, declared);
    assert_eq!(capability["windows"], serde_json::json!(["main"]));
    assert!(capability.get("remote").is_none());
}

#[test]
fn the_content_policy_has_no_unsafe_word() {
    let configuration: Value = serde_json::from_str(include_str!("../tauri.conf.json")).expect("JSON");
    let security = &configuration["app"]["security"];
    let policy = security["csp"].as_str().expect("a policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    assert_eq!(security["freezePrototype"], true);
    assert_eq!(configuration["app"]["withGlobalTauri"], false);
}
