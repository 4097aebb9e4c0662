//! How the application is: version, model, and what happened to the history at start.
use super::{Answer, Desk};
use chimera_chat::wire::AppStatus;

/// Never waits, so that the window can say "loading" from its first frame.
#[tauri::command]
pub async fn app_status(desk: Desk<'_>) -> Answer<AppStatus> {
    Ok(desk.status())
}
