//! The chat service, opened behind the window: what the commands reach through Tauri's state.
use crate::pending::ChatService;
use chimera_chat::wire::{AppStatus, ModelStatus, WireError};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

type Opened = Result<Arc<ChatService>, WireError>;

/// Empty until the history is open; then the service, or why there is none.
pub struct Desk {
    opened: watch::Sender<Option<Opened>>,
}

impl Desk {
    /// Starts opening and returns at once, so that the window need not wait for a disk.
    pub fn open_behind(data_dir: PathBuf, resources: Option<PathBuf>) -> Self {
        let (opened, _) = watch::channel(None);
        let desk = Self { opened };
        let opening = desk.opened.clone();
        tauri::async_runtime::spawn(async move {
            let result = ChatService::open(data_dir, resources).await.map(Arc::new);
            if let Err(error) = &result {
                tracing::error!(?error, "the history could not be opened");
            }
            opening.send_replace(Some(result));
        });
        desk
    }

    /// Waits for the history: a command that comes early is late by that much, not lost.
    pub async fn chat(&self) -> Opened {
        let mut watched = self.opened.subscribe();
        loop {
            if let Some(opened) = watched.borrow_and_update().clone() {
                return opened;
            }
            // The sender lives in this same struct, so the change can only be the opening's end.
            if watched.changed().await.is_err() {
                tracing::error!("the opening task is gone");
            }
        }
    }

    /// Never waits.
    pub fn status(&self) -> AppStatus {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        match self.opened.borrow().clone() {
            None => AppStatus { version, model: ModelStatus::Loading, notice: None },
            Some(Ok(chat)) => chat.status(),
            Some(Err(error)) => AppStatus {
                version,
                model: ModelStatus::Failed { error: error.clone() },
                notice: Some(error),
            },
        }
    }
}
