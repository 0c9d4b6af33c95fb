//! The keys of game servers.

use async_trait::async_trait;
use common::clock::Timestamp;
use common::ports::{IssuerKey, IssuerKeys, ListedIssuerKey, NewIssuerKey, StoreError};
use common::signature::SigningKey;

use super::error::unreadable;
use super::values::{PgTime, column, time};
use super::{PgStore, statements};

#[async_trait]
impl IssuerKeys for PgStore {
    async fn create_issuer_key(&self, key: NewIssuerKey) -> Result<(), StoreError> {
        let (key_id, secret) = (&key.key.key_id, key.key.secret.as_bytes().as_slice());
        let created_at = PgTime(key.created_at);
        self.change(statements::CREATE_ISSUER_KEY, &[key_id, &key.name, &secret, &created_at]).await.map(|_| ())
    }

    async fn list_issuer_keys(&self) -> Result<Vec<ListedIssuerKey>, StoreError> {
        let rows = self.rows(statements::LIST_ISSUER_KEYS, &[]).await?;
        rows.iter()
            .map(|row| {
                Ok(ListedIssuerKey {
                    key_id: column(row, 0)?,
                    name: column(row, 1)?,
                    created_at: time(row, 2)?,
                    revoked_at: column::<Option<PgTime>>(row, 3)?.map(|time| time.0),
                })
            })
            .collect()
    }

    async fn revoke_issuer_key(&self, key_id: &str, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.change(statements::REVOKE_ISSUER_KEY, &[&key_id, &PgTime(now)]).await? == 1)
    }

    async fn active_issuer_keys(&self) -> Result<Vec<IssuerKey>, StoreError> {
        let rows = self.rows(statements::ACTIVE_ISSUER_KEYS, &[]).await?;
        rows.iter()
            .map(|row| {
                let secret = column::<&[u8]>(row, 1)?.try_into();
                let secret = secret.map_err(|_| unreadable("an issuer key is not 32 bytes".into()))?;
                Ok(IssuerKey { key_id: column(row, 0)?, secret: SigningKey::from_bytes(secret) })
            })
            .collect()
    }
}
