//! Rows that nobody needs any more. They are looked for by a reader: the one thread that writes only takes them away.

use async_trait::async_trait;
use common::clock::{Timestamp, UtcDay};
use common::ports::{Housekeeping, StoreError};
use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::columns;
use super::failure::Failure;
use super::store::SqliteStore;

#[async_trait]
impl Housekeeping for SqliteStore {
    async fn forget_sessions(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let (find, forget) = (
            "SELECT id FROM sessions WHERE expires_at < ?1 LIMIT ?2",
            // A refresh may have come in between.
            "DELETE FROM sessions WHERE id = ?1 AND expires_at < ?2",
        );
        self.forget(find, forget, before.as_millis(), limit).await
    }

    async fn forget_daily_sums(&self, before: UtcDay, limit: usize) -> Result<usize, StoreError> {
        let (find, forget) = (
            "SELECT board, user, day, action_type FROM daily_points WHERE day < ?1 LIMIT ?2",
            "DELETE FROM daily_points WHERE board = ?1 AND user = ?2 AND day = ?3 AND action_type = ?4 AND day < ?5",
        );
        self.forget(find, forget, before.0.into(), limit).await
    }
}

impl SqliteStore {
    /// `find` gives the keys of rows below a bound; `forget` takes a key's columns and the bound once more.
    async fn forget(
        &self,
        find: &'static str,
        forget: &'static str,
        bound: i64,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let keys = self.readers.run(move |connection| keys(connection, find, bound, limit)).await?;
        if keys.is_empty() {
            return Ok(0);
        }
        let take_away = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(forget)?;
            let mut forgotten = 0;
            for mut key in keys {
                key.push(Value::Integer(bound));
                forgotten += statement.execute(rusqlite::params_from_iter(key))?;
            }
            Ok(forgotten)
        };
        self.writer.run(take_away).await
    }
}

fn keys(connection: &Connection, find: &str, bound: i64, limit: usize) -> Result<Vec<Vec<Value>>, Failure> {
    let mut statement = connection.prepare_cached(find)?;
    let columns = statement.column_count();
    let keys = statement.query_map(params![bound, columns::limit(limit)], |row| {
        (0..columns).map(|column| row.get(column)).collect::<Result<Vec<Value>, _>>()
    })?;
    Ok(keys.collect::<Result<_, _>>()?)
}
