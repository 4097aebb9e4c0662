//! The few things a person can choose.
use super::{Answer, Desk};
use chimera_chat::wire::Settings;

#[tauri::command]
pub async fn settings_get(desk: Desk<'_>) -> Answer<Settings> {
    desk.chat().await.settings().await
}

#[tauri::command]
pub async fn settings_set(desk: Desk<'_>, settings: Settings) -> Answer<Settings> {
    desk.chat().await.set_settings(settings).await
}
