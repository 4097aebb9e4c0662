//! Stands where `chimera_chat::ChatService` will: every answer is an honest "not yet".
use chimera_chat::wire::*;
use std::path::PathBuf;
pub struct ChatService;
type A<T> = Result<T, WireError>;
fn not_yet<T>() -> A<T> {
    Err(WireError::new(ErrorCode::ModelLoading))
}
type Events = Box<dyn Fn(ChatEvent) + Send + Sync>;
impl ChatService {
    pub async fn open(_d: PathBuf, _r: Option<PathBuf>) -> A<Self> {
        not_yet()
    }
    pub fn status(&self) -> AppStatus {
        AppStatus { version: String::new(), model: ModelStatus::Loading, notice: None }
    }
    pub async fn settings_get(&self) -> A<Settings> {
        not_yet()
    }
    pub async fn settings_set(&self, _s: Settings) -> A<Settings> {
        not_yet()
    }
    pub async fn conversations_list(&self) -> A<Vec<ConversationSummary>> {
        not_yet()
    }
    pub async fn conversation_open(&self, _i: &str) -> A<Conversation> {
        not_yet()
    }
    pub async fn conversation_rename(&self, _i: &str, _t: &str) -> A<ConversationSummary> {
        not_yet()
    }
    pub async fn conversation_delete(&self, _i: &str) -> A<()> {
        not_yet()
    }
    pub async fn send(&self, _r: SendRequest, _e: Events) -> A<SendAccepted> {
        not_yet()
    }
    pub async fn regenerate(&self, _r: RegenerateRequest, _e: Events) -> A<SendAccepted> {
        not_yet()
    }
    pub async fn stop(&self, _i: &str) -> A<()> {
        not_yet()
    }
    pub async fn message_version(&self, _i: &str) -> A<Conversation> {
        not_yet()
    }
}
