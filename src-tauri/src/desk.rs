//! The chat service, opened behind the window: what the commands reach through Tauri's state.
use chimera_chat::locate::Places;
use chimera_chat::wire::{AppStatus, ModelStatus};
use chimera_chat::{ChatConfig, ChatService, LocalEngine};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Empty until the history is open.
pub struct Desk {
    opened: watch::Sender<Option<Arc<ChatService>>>,
}

impl Desk {
    /// Starts opening and returns at once: the window waits neither for a disk nor for a model.
    pub fn open_behind(data_dir: PathBuf, resources: Option<PathBuf>) -> Self {
        let (opened, _) = watch::channel(None);
        let opening = opened.clone();
        tauri::async_runtime::spawn(async move {
            let chat = Arc::new(ChatService::start(configuration(data_dir, resources)).await);
            opening.send_replace(Some(Arc::clone(&chat)));
            note(&chat).await;
        });
        Self { opened }
    }

    /// A command that comes before the history is open waits for it.
    pub async fn chat(&self) -> Arc<ChatService> {
        let mut opened = self.opened.subscribe();
        loop {
            if let Some(chat) = opened.borrow_and_update().clone() {
                return chat;
            }
            // `self` holds a sender, so the channel cannot close while this waits.
            if opened.changed().await.is_err() {
                tracing::error!("the desk is gone while a command waits for it");
            }
        }
    }

    /// Never waits.
    pub fn status(&self) -> AppStatus {
        match self.opened.borrow().as_deref() {
            Some(chat) => chat.status(),
            None => AppStatus { version: VERSION.to_owned(), model: ModelStatus::Loading, notice: None },
        }
    }

    /// Lets the answer that is being written end as stopped and closes the history.
    pub async fn close(&self) {
        let chat = self.opened.borrow().clone();
        if let Some(chat) = chat {
            chat.shutdown().await;
        }
    }
}

fn configuration(data_dir: PathBuf, resources: Option<PathBuf>) -> ChatConfig {
    let resources = resources.into_iter().collect();
    let places = Places::of_this_process(None, Some(data_dir.clone()), resources);
    let engine = LocalEngine { places, options: Default::default() };
    ChatConfig::new(VERSION, data_dir, Box::new(engine))
}

/// Writes down how the start went.
async fn note(chat: &ChatService) {
    if let Some(notice) = chat.status().notice {
        tracing::warn!(?notice, "the history");
    }
    match chat.model_loaded().await {
        ModelStatus::Ready { name, quantization, cpu_tier, threads, .. } => {
            tracing::info!(name, quantization, cpu_tier, threads, "model ready");
        }
        other => tracing::error!(status = ?other, "no model"),
    }
}
