//! The list of conversations, and one of them at a time.
use super::{Answer, Desk};
use chimera_chat::wire::{Conversation, ConversationSummary};

#[tauri::command]
pub async fn conversations_list(desk: Desk<'_>) -> Answer<Vec<ConversationSummary>> {
    desk.chat().await.conversations().await
}

#[tauri::command]
pub async fn conversation_open(desk: Desk<'_>, id: String) -> Answer<Conversation> {
    desk.chat().await.conversation(&id).await
}

#[tauri::command]
pub async fn conversation_rename(desk: Desk<'_>, id: String, title: String) -> Answer<ConversationSummary> {
    desk.chat().await.rename(&id, &title).await
}

#[tauri::command]
pub async fn conversation_delete(desk: Desk<'_>, id: String) -> Answer<()> {
    desk.chat().await.delete(&id).await
}
