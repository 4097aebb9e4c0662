//! Settings: plain key and value; what they mean is known to the caller.
use crate::error::At;
use crate::{History, HistoryError};

impl History {
    pub async fn setting(&self, key: &str) -> Result<Option<String>, HistoryError> {
        sqlx::query_scalar("SELECT value FROM settings WHERE key = ?")
            .bind(key)
            .fetch_optional(&self.readers)
            .await
            .at(&self.layout.db)
    }

    /// All pairs in one transaction.
    pub async fn put_settings(&self, pairs: &[(&str, &str)]) -> Result<(), HistoryError> {
        let db = &self.layout.db;
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await.at(db)?;
        for (key, value) in pairs {
            sqlx::query(
                "INSERT INTO settings VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            )
            .bind(*key)
            .bind(*value)
            .execute(&mut *tx)
            .await
            .at(db)?;
        }
        tx.commit().await.at(db)
    }
}
