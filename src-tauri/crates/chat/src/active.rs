//! Which conversations have an answer being written: one at a time in each.
use chimera_engine::CancelFlag;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use uuid::Uuid;

#[derive(Default)]
pub(crate) struct Active {
    turns: Mutex<HashMap<Uuid, CancelFlag>>,
    ended: Notify,
}

/// Held for the length of a turn; dropping it frees the conversation.
pub(crate) struct Claim {
    active: Arc<Active>,
    conversation: Uuid,
    pub cancel: CancelFlag,
}

impl Active {
    /// `None` when an answer is being written in this conversation.
    pub fn claim(self: &Arc<Self>, conversation: Uuid) -> Option<Claim> {
        let mut turns = self.lock();
        if turns.contains_key(&conversation) {
            return None;
        }
        let cancel = CancelFlag::default();
        turns.insert(conversation, cancel.clone());
        Some(Claim { active: Arc::clone(self), conversation, cancel })
    }

    /// Asks the turn to stop; nothing to do is fine.
    pub fn cancel(&self, conversation: Uuid) {
        if let Some(cancel) = self.lock().get(&conversation) {
            cancel.cancel();
        }
    }

    pub fn cancel_all(&self) {
        self.lock().values().for_each(CancelFlag::cancel);
    }

    /// Returns when no turn runs in the conversation.
    pub async fn until_free(&self, conversation: Uuid) {
        self.until(|turns| !turns.contains_key(&conversation)).await;
    }

    pub async fn until_idle(&self) {
        self.until(HashMap::is_empty).await;
    }

    async fn until(&self, reached: impl Fn(&HashMap<Uuid, CancelFlag>) -> bool) {
        loop {
            let ended = self.ended.notified(); // made before the look, so no end is missed
            if reached(&self.lock()) {
                return;
            }
            ended.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, CancelFlag>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.active.lock().remove(&self.conversation);
        self.active.ended.notify_waiters();
    }
}
