//! Reading: the list of conversations, and one conversation as it is shown.
use crate::error::At;
use crate::tree::{Node, Tree};
use crate::{AnswerStats, Conversation, ConversationSummary, History, HistoryError, Message, Role, Status};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use std::path::Path;
use uuid::Uuid;

impl History {
    /// Newest first.
    pub async fn conversations(&self) -> Result<Vec<ConversationSummary>, HistoryError> {
        let rows = sqlx::query(
            "SELECT id, title, created_at, updated_at FROM conversations ORDER BY updated_at DESC, rowid DESC",
        )
        .fetch_all(&self.readers)
        .await
        .at(&self.layout.db)?;
        rows.iter().map(|row| summary_of(row).at(&self.layout.db)).collect()
    }

    pub async fn conversation(&self, id: Uuid) -> Result<Conversation, HistoryError> {
        let db = &self.layout.db;
        let mut tx = self.readers.begin().await.at(db)?; // one view of the tree and its texts
        let conversation = conversation_in(&mut tx, db, id).await?;
        tx.commit().await.at(db)?;
        Ok(conversation)
    }
}

pub(crate) async fn summary_in(
    tx: &mut SqliteConnection,
    db: &Path,
    id: Uuid,
) -> Result<ConversationSummary, HistoryError> {
    let row = sqlx::query("SELECT id, title, created_at, updated_at FROM conversations WHERE id = ?")
        .bind(id.to_string())
        .fetch_optional(tx)
        .await
        .at(db)?
        .ok_or(HistoryError::NotFound { id })?;
    summary_of(&row).at(db)
}

/// The conversation as the transaction sees it.
pub(crate) async fn conversation_in(
    tx: &mut SqliteConnection,
    db: &Path,
    id: Uuid,
) -> Result<Conversation, HistoryError> {
    let row =
        sqlx::query("SELECT id, title, leaf_id, created_at, updated_at FROM conversations WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&mut *tx)
            .await
            .at(db)?
            .ok_or(HistoryError::NotFound { id })?;
    let summary = summary_of(&row).at(db)?;
    let messages = match optional_id(&row, "leaf_id").at(db)? {
        Some(leaf) => branch(&mut *tx, id, leaf).await.at(db)?,
        None => Vec::new(),
    };
    Ok(Conversation { summary, messages })
}

/// From the first message to `leaf`: parents arrived before their children, so `seq` is the order of the branch.
async fn branch(
    tx: &mut SqliteConnection,
    conversation: Uuid,
    leaf: Uuid,
) -> Result<Vec<Message>, sqlx::Error> {
    let tree = tree_in(&mut *tx, conversation).await?;
    let rows = sqlx::query(
        "WITH RECURSIVE branch (id) AS (
             VALUES (?)
             UNION ALL
             SELECT parent_id FROM messages JOIN branch USING (id) WHERE parent_id IS NOT NULL
         )
         SELECT id, role, status, text, thinking, stats, created_at FROM messages JOIN branch USING (id) ORDER BY seq",
    )
    .bind(leaf.to_string())
    .fetch_all(tx)
    .await?;
    rows.iter().map(|row| message_of(row, tree.versions(id_of(row, "id")?))).collect()
}

pub(crate) async fn message_in(
    tx: &mut SqliteConnection,
    tree: &Tree,
    id: Uuid,
) -> Result<Message, sqlx::Error> {
    let row =
        sqlx::query("SELECT id, role, status, text, thinking, stats, created_at FROM messages WHERE id = ?")
            .bind(id.to_string())
            .fetch_one(tx)
            .await?;
    message_of(&row, tree.versions(id))
}

pub(crate) async fn tree_in(tx: &mut SqliteConnection, conversation: Uuid) -> Result<Tree, sqlx::Error> {
    let rows = sqlx::query("SELECT id, parent_id, role FROM messages WHERE conversation_id = ? ORDER BY seq")
        .bind(conversation.to_string())
        .fetch_all(tx)
        .await?;
    let node = |row: &SqliteRow| {
        Ok(Node { id: id_of(row, "id")?, parent: optional_id(row, "parent_id")?, role: role_of(row)? })
    };
    rows.iter().map(node).collect::<Result<_, sqlx::Error>>().map(Tree::new)
}

fn summary_of(row: &SqliteRow) -> Result<ConversationSummary, sqlx::Error> {
    Ok(ConversationSummary {
        id: id_of(row, "id")?,
        title: row.try_get("title")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

fn message_of(row: &SqliteRow, versions: Vec<Uuid>) -> Result<Message, sqlx::Error> {
    Ok(Message {
        id: id_of(row, "id")?,
        role: role_of(row)?,
        text: row.try_get("text")?,
        thinking: row.try_get("thinking")?,
        status: named(row, "status", Status::from_name)?,
        created_at: row.try_get("created_at")?,
        stats: stats_of(row)?,
        versions,
    })
}

/// Statistics that cannot be read are no reason to hide an answer.
fn stats_of(row: &SqliteRow) -> Result<Option<AnswerStats>, sqlx::Error> {
    let json: Option<&str> = row.try_get("stats")?;
    Ok(json.and_then(|json| serde_json::from_str(json).ok()))
}

fn role_of(row: &SqliteRow) -> Result<Role, sqlx::Error> {
    named(row, "role", Role::from_name)
}

pub(crate) fn id_of(row: &SqliteRow, column: &str) -> Result<Uuid, sqlx::Error> {
    named(row, column, |text| Uuid::parse_str(text).ok())
}

pub(crate) fn optional_id(row: &SqliteRow, column: &str) -> Result<Option<Uuid>, sqlx::Error> {
    match row.try_get::<Option<&str>, _>(column)? {
        Some(_) => id_of(row, column).map(Some),
        None => Ok(None),
    }
}

/// A text column with a closed set of values.
fn named<T>(row: &SqliteRow, column: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, sqlx::Error> {
    let text: &str = row.try_get(column)?;
    parse(text).ok_or_else(|| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: format!("unexpected value {text:?}").into(),
    })
}
