//! Sending, stopping, answering again. Answers stream over a channel of the call itself: ordered, and
//! gone with the call.
use super::{Answer, Desk};
use chimera_chat::EventSink;
use chimera_chat::wire::{ChatEvent, Conversation, RegenerateRequest, SendAccepted, SendRequest};
use tauri::ipc::Channel;

/// Returns once the message is on disk.
#[tauri::command]
pub async fn chat_send(
    desk: Desk<'_>,
    request: SendRequest,
    events: Channel<ChatEvent>,
) -> Answer<SendAccepted> {
    desk.chat().await.send(request, into(events)).await
}

#[tauri::command]
pub async fn chat_regenerate(
    desk: Desk<'_>,
    request: RegenerateRequest,
    events: Channel<ChatEvent>,
) -> Answer<SendAccepted> {
    desk.chat().await.regenerate(request, into(events)).await
}

#[tauri::command]
pub async fn chat_stop(desk: Desk<'_>, conversation_id: String) -> Answer<()> {
    desk.chat().await.stop(&conversation_id)
}

#[tauri::command]
pub async fn message_version(desk: Desk<'_>, message_id: String) -> Answer<Conversation> {
    desk.chat().await.show_version(&message_id).await
}

/// A window that went away loses its events, never the answer: that is already on its way to disk.
fn into(events: Channel<ChatEvent>) -> EventSink {
    Box::new(move |event| {
        if let Err(error) = events.send(event) {
            tracing::warn!(%error, "an event did not reach the window");
        }
    })
}
