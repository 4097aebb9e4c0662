//! The one window, and the frame that keeps its page from going anywhere.
use crate::links::is_own_page;
use tauri::plugin::TauriPlugin;
use tauri::utils::config::Color;
use tauri::webview::NewWindowResponse;
use tauri::{App, AppHandle, Manager, Runtime, WebviewUrl, WebviewWindow, WebviewWindowBuilder};
use tauri_plugin_window_state::StateFlags;

pub const MAIN: &str = "main";
const FIRST_SIZE: (f64, f64) = (1100.0, 760.0);
const LEAST_SIZE: (f64, f64) = (420.0, 480.0);
/// What shows before the page has painted: near the light theme's ground, and no glare in the dark one.
const GROUND: Color = Color(250, 249, 246, 255);

/// Shown at once, in the page's own ground colour, so that nothing white flashes. (Opened hidden until the page has
/// loaded, WebKit may lay the page out for a window of no width and keep the narrow layout.)
pub fn open<R: Runtime>(app: &App<R>) -> Result<WebviewWindow<R>, tauri::Error> {
    let dev_server = app.config().build.dev_url.clone().filter(|_| tauri::is_dev());
    WebviewWindowBuilder::new(app, MAIN, WebviewUrl::default())
        .title("Chimera")
        .inner_size(FIRST_SIZE.0, FIRST_SIZE.1)
        .min_inner_size(LEAST_SIZE.0, LEAST_SIZE.1)
        .background_color(GROUND)
        .devtools(cfg!(debug_assertions))
        .on_navigation(move |url| is_own_page(url, dev_server.as_ref()))
        .on_new_window(|_url, _features| NewWindowResponse::Deny)
        .on_download(|_webview, _event| false)
        .build()
}

/// A second start brings the first one's window to the front.
pub fn bring_forward<R: Runtime>(app: &AppHandle<R>) {
    let Some(window) = app.get_webview_window(MAIN) else { return };
    log_failure("unminimize", window.unminimize());
    log_failure("show", window.show());
    log_failure("focus", window.set_focus());
}

/// Size and place are remembered; visibility is ours to decide.
pub fn remembered_place<R: Runtime>() -> TauriPlugin<R> {
    let kept = StateFlags::SIZE | StateFlags::POSITION | StateFlags::MAXIMIZED;
    tauri_plugin_window_state::Builder::default().with_state_flags(kept).build()
}

fn log_failure(action: &str, result: Result<(), tauri::Error>) {
    if let Err(error) = result {
        tracing::warn!(action, %error, "the window manager refused");
    }
}
