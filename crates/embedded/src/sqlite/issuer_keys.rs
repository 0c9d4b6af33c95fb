//! The keys of game servers.

use async_trait::async_trait;
use common::clock::Timestamp;
use common::ports::{IssuerKey, IssuerKeys, ListedIssuerKey, NewIssuerKey, StoreError};
use common::signature::SigningKey;
use rusqlite::{Connection, params};

use super::columns;
use super::failure::Failure;
use super::store::SqliteStore;

#[async_trait]
impl IssuerKeys for SqliteStore {
    async fn create_issuer_key(&self, key: NewIssuerKey) -> Result<(), StoreError> {
        let sql = "INSERT INTO issuer_keys (key_id, name, secret, created_at) VALUES (?1, ?2, ?3, ?4)";
        let create = move |connection: &Connection| {
            let (id, secret) = (&key.key.key_id, key.key.secret.as_bytes());
            connection.execute(sql, params![id, key.name, secret, key.created_at.as_millis()])?;
            Ok::<_, Failure>(())
        };
        self.writer.run(create).await
    }

    async fn list_issuer_keys(&self) -> Result<Vec<ListedIssuerKey>, StoreError> {
        self.readers.run(list).await
    }

    async fn revoke_issuer_key(&self, key_id: &str, now: Timestamp) -> Result<bool, StoreError> {
        let key_id = key_id.to_owned();
        let sql = "UPDATE issuer_keys SET revoked_at = ?2 WHERE key_id = ?1 AND revoked_at IS NULL";
        let revoke = move |connection: &Connection| {
            Ok::<_, Failure>(connection.execute(sql, params![key_id, now.as_millis()])? == 1)
        };
        self.writer.run(revoke).await
    }

    async fn active_issuer_keys(&self) -> Result<Vec<IssuerKey>, StoreError> {
        self.readers.run(active).await
    }
}

fn list(connection: &Connection) -> Result<Vec<ListedIssuerKey>, Failure> {
    let mut statement = connection
        .prepare_cached("SELECT key_id, name, created_at, revoked_at FROM issuer_keys ORDER BY created_at, key_id")?;
    let keys = statement.query_and_then([], |row| {
        Ok(ListedIssuerKey {
            key_id: row.get(0)?,
            name: row.get(1)?,
            created_at: columns::time(row, 2)?,
            revoked_at: columns::optional_time(row, 3)?,
        })
    })?;
    keys.collect()
}

fn active(connection: &Connection) -> Result<Vec<IssuerKey>, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT key_id, secret FROM issuer_keys WHERE revoked_at IS NULL ORDER BY key_id")?;
    let keys = statement
        .query_and_then([], |row| Ok(IssuerKey { key_id: row.get(0)?, secret: SigningKey::from_bytes(row.get(1)?) }))?;
    keys.collect()
}
