//! Links leave the window only through here.
use super::Answer;

#[tauri::command]
pub async fn link_open(url: String) -> Answer<()> {
    crate::links::open(&url)
}
