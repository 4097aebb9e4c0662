//! Writing: every method is one transaction that took the write lock at its beginning (`BEGIN IMMEDIATE`).
use crate::error::At;
use crate::read::{conversation_in, id_of, message_in, optional_id, summary_in, tree_in};
use crate::{
    Conversation, ConversationSummary, History, HistoryError, Message, Outcome, Role, Status, UserTurn,
    backup, title,
};
use sqlx::{Row, Sqlite, SqliteConnection, Transaction};
use uuid::Uuid;

/// What an `INSERT INTO messages` needs.
struct NewMessage<'a> {
    id: Uuid,
    conversation: Uuid,
    parent: Option<Uuid>,
    role: Role,
    status: Status,
    text: &'a str,
    now: i64,
}

impl History {
    /// Stores the person's message after the shown leaf, with an empty streaming answer, in one transaction.
    /// The returned conversation ends with these two.
    pub async fn begin_turn(&self, turn: &UserTurn) -> Result<Conversation, HistoryError> {
        let now = (self.clock)();
        let mut tx = self.begin().await?;
        let parent = self.ensure_conversation(&mut tx, turn, now).await?;
        self.add_turn(tx, turn, parent, now).await
    }

    /// The person's message `of`, said otherwise: a branch beside it, with an empty streaming answer, that is now shown.
    /// What followed `of` stays in the tree.
    pub async fn begin_edit(&self, of: Uuid, turn: &UserTurn) -> Result<Conversation, HistoryError> {
        let (db, now) = (&self.layout.db, (self.clock)());
        let mut tx = self.begin().await?;
        let tree = tree_in(&mut tx, turn.conversation).await.at(db)?;
        let node = tree.get(of).ok_or(HistoryError::NotFound { id: of })?;
        if node.role != Role::User {
            return Err(HistoryError::NotAQuestion { id: of });
        }
        self.add_turn(tx, turn, node.parent, now).await
    }

    /// The message after `parent` and its empty answer, as the end of the transaction.
    async fn add_turn(
        &self,
        mut tx: Transaction<'static, Sqlite>,
        turn: &UserTurn,
        parent: Option<Uuid>,
        now: i64,
    ) -> Result<Conversation, HistoryError> {
        let db = &self.layout.db;
        end_leftovers(&mut tx, turn.conversation).await.at(db)?;
        let user = NewMessage {
            id: turn.user,
            conversation: turn.conversation,
            parent,
            role: Role::User,
            status: Status::Complete,
            text: &turn.text,
            now,
        };
        self.insert(&mut tx, user).await?;
        self.insert(&mut tx, empty_answer(turn.conversation, turn.user, turn.assistant, now)).await?;
        show(&mut tx, turn.conversation, turn.assistant, Some(now)).await.at(db)?;
        let conversation = conversation_in(&mut tx, db, turn.conversation).await?;
        tx.commit().await.at(db)?;
        Ok(conversation)
    }

    /// Adds an empty streaming version beside the answer `of` and shows it.
    /// The returned conversation ends with the new version.
    pub async fn begin_version(
        &self,
        conversation: Uuid,
        of: Uuid,
        assistant: Uuid,
    ) -> Result<Conversation, HistoryError> {
        let (db, now) = (&self.layout.db, (self.clock)());
        let mut tx = self.begin().await?;
        let tree = tree_in(&mut tx, conversation).await.at(db)?;
        let node = tree.get(of).ok_or(HistoryError::NotFound { id: of })?;
        let (Role::Assistant, Some(question)) = (node.role, node.parent) else {
            return Err(HistoryError::NotAnAnswer { id: of });
        };
        end_leftovers(&mut tx, conversation).await.at(db)?;
        self.insert(&mut tx, empty_answer(conversation, question, assistant, now)).await?;
        show(&mut tx, conversation, assistant, Some(now)).await.at(db)?;
        let conversation = conversation_in(&mut tx, db, conversation).await?;
        tx.commit().await.at(db)?;
        Ok(conversation)
    }

    /// The answer so far: what is left of it if the process dies now.
    pub async fn checkpoint(&self, id: Uuid, text: &str, thinking: &str) -> Result<(), HistoryError> {
        let done =
            sqlx::query("UPDATE messages SET text = ?, thinking = ? WHERE id = ? AND status = 'streaming'")
                .bind(text)
                .bind(thinking)
                .bind(id.to_string())
                .execute(&self.writer)
                .await
                .at(&self.layout.db)?;
        if done.rows_affected() == 0 { Err(HistoryError::NotStreaming { id }) } else { Ok(()) }
    }

    /// Ends an answer; returns it as stored (another branch may be shown by now).
    pub async fn finish(
        &self,
        id: Uuid,
        outcome: &Outcome,
    ) -> Result<(Message, ConversationSummary), HistoryError> {
        let db = &self.layout.db;
        let stats = outcome.stats.as_ref().and_then(|stats| serde_json::to_string(stats).ok());
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "UPDATE messages SET status = ?, text = ?, thinking = ?, stats = ?
             WHERE id = ? AND status = 'streaming' RETURNING conversation_id",
        )
        .bind(Status::from(outcome.ending).name())
        .bind(&outcome.text)
        .bind(&outcome.thinking)
        .bind(stats)
        .bind(id.to_string())
        .fetch_optional(&mut *tx)
        .await
        .at(db)?
        .ok_or(HistoryError::NotStreaming { id })?;
        let conversation = id_of(&row, "conversation_id").at(db)?;
        touch(&mut tx, conversation, (self.clock)()).await.at(db)?;
        let tree = tree_in(&mut tx, conversation).await.at(db)?;
        let message = message_in(&mut tx, &tree, id).await.at(db)?;
        let summary = summary_in(&mut tx, db, conversation).await?;
        tx.commit().await.at(db)?;
        Ok((message, summary))
    }

    /// Shows the branch that goes on from `message`.
    pub async fn show_version(&self, message: Uuid) -> Result<Conversation, HistoryError> {
        let db = &self.layout.db;
        let mut tx = self.begin().await?;
        let conversation =
            conversation_of(&mut tx, message).await.at(db)?.ok_or(HistoryError::NotFound { id: message })?;
        let leaf = tree_in(&mut tx, conversation).await.at(db)?.newest_leaf(message);
        show(&mut tx, conversation, leaf, None).await.at(db)?;
        let conversation = conversation_in(&mut tx, db, conversation).await?;
        tx.commit().await.at(db)?;
        Ok(conversation)
    }

    /// An empty title brings back the one derived from the first message.
    pub async fn rename(&self, id: Uuid, wanted: &str) -> Result<ConversationSummary, HistoryError> {
        let db = &self.layout.db;
        let mut tx = self.begin().await?;
        let title = match title::typed(wanted) {
            Some(title) => title,
            None => title::derived(&first_text(&mut tx, id).await.at(db)?),
        };
        sqlx::query("UPDATE conversations SET title = ? WHERE id = ?")
            .bind(title)
            .bind(id.to_string())
            .execute(&mut *tx)
            .await
            .at(db)?;
        let summary = summary_in(&mut tx, db, id).await?;
        tx.commit().await.at(db)?;
        Ok(summary)
    }

    /// Erases: the rows, their bytes in the file and in its log, and the conversation's copies in the backups.
    pub async fn delete(&self, id: Uuid) -> Result<(), HistoryError> {
        let db = &self.layout.db;
        let gone = sqlx::query("DELETE FROM conversations WHERE id = ?")
            .bind(id.to_string())
            .execute(&self.writer)
            .await
            .at(db)?;
        if gone.rows_affected() == 0 {
            return Err(HistoryError::NotFound { id });
        }
        self.empty_log().await?;
        backup::erase(&self.layout, id).await
    }

    /// Folds the log into the file and cuts it to nothing. Waits for readers as long as the busy timeout.
    async fn empty_log(&self) -> Result<(), HistoryError> {
        let db = &self.layout.db;
        let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&self.writer).await.at(db)?;
        match row.try_get::<i64, _>(0).at(db)? {
            0 => Ok(()),
            _ => {
                Err(HistoryError::Storage { path: db.clone(), reason: "the log is held by a reader".into() })
            }
        }
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, HistoryError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.at(&self.layout.db)
    }

    /// The leaf after which the turn goes; makes the conversation when its id is new.
    async fn ensure_conversation(
        &self,
        tx: &mut SqliteConnection,
        turn: &UserTurn,
        now: i64,
    ) -> Result<Option<Uuid>, HistoryError> {
        let db = &self.layout.db;
        let made =
            sqlx::query("INSERT INTO conversations VALUES (?, ?, NULL, ?, ?) ON CONFLICT (id) DO NOTHING")
                .bind(turn.conversation.to_string())
                .bind(title::derived(&turn.text))
                .bind(now)
                .bind(now)
                .execute(&mut *tx)
                .await
                .at(db)?;
        if made.rows_affected() == 1 {
            return Ok(None);
        }
        let row = sqlx::query("SELECT leaf_id FROM conversations WHERE id = ?")
            .bind(turn.conversation.to_string())
            .fetch_one(tx)
            .await
            .at(db)?;
        optional_id(&row, "leaf_id").at(db)
    }

    async fn insert(&self, tx: &mut SqliteConnection, new: NewMessage<'_>) -> Result<(), HistoryError> {
        let done = sqlx::query(
            "INSERT INTO messages (id, conversation_id, parent_id, role, status, text, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(new.id.to_string())
        .bind(new.conversation.to_string())
        .bind(new.parent.map(|id| id.to_string()))
        .bind(new.role.name())
        .bind(new.status.name())
        .bind(new.text)
        .bind(new.now)
        .execute(tx)
        .await;
        match done {
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                Err(HistoryError::DuplicateId { id: new.id })
            }
            other => other.at(&self.layout.db).map(drop),
        }
    }
}

fn empty_answer(conversation: Uuid, question: Uuid, id: Uuid, now: i64) -> NewMessage<'static> {
    NewMessage {
        id,
        conversation,
        parent: Some(question),
        role: Role::Assistant,
        status: Status::Streaming,
        text: "",
        now,
    }
}

/// An answer whose last transaction failed (a full disk) is still marked as streaming when the next turn begins.
async fn end_leftovers(tx: &mut SqliteConnection, conversation: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE messages SET status = 'interrupted' WHERE conversation_id = ? AND status = 'streaming'",
    )
    .bind(conversation.to_string())
    .execute(tx)
    .await
    .map(drop)
}

/// Remembers the shown leaf; `now` when the conversation is to move to the top of the list.
async fn show(
    tx: &mut SqliteConnection,
    conversation: Uuid,
    leaf: Uuid,
    now: Option<i64>,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE conversations SET leaf_id = ?, updated_at = coalesce(?, updated_at) WHERE id = ?")
        .bind(leaf.to_string())
        .bind(now)
        .bind(conversation.to_string())
        .execute(tx)
        .await
        .map(drop)
}

async fn touch(tx: &mut SqliteConnection, conversation: Uuid, now: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE conversations SET updated_at = ? WHERE id = ?")
        .bind(now)
        .bind(conversation.to_string())
        .execute(tx)
        .await
        .map(drop)
}

async fn conversation_of(tx: &mut SqliteConnection, message: Uuid) -> Result<Option<Uuid>, sqlx::Error> {
    let row = sqlx::query("SELECT conversation_id FROM messages WHERE id = ?")
        .bind(message.to_string())
        .fetch_optional(tx)
        .await?;
    row.map(|row| id_of(&row, "conversation_id")).transpose()
}

async fn first_text(tx: &mut SqliteConnection, conversation: Uuid) -> Result<String, sqlx::Error> {
    let text = sqlx::query_scalar("SELECT text FROM messages WHERE conversation_id = ? ORDER BY seq LIMIT 1")
        .bind(conversation.to_string())
        .fetch_optional(tx)
        .await?;
    Ok(text.unwrap_or_default())
}
