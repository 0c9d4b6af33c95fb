//! Where the keys of game servers are kept.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::signature::SigningKey;

/// A key with which a game server signs actions, as whoever verifies them knows it. Its secret is never printed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IssuerKey {
    /// What an update names as `keyId`.
    pub key_id: String,
    /// The key itself.
    pub secret: SigningKey,
}

/// A new issuer key.
#[derive(Clone, Debug)]
pub struct NewIssuerKey {
    /// The key; its id is random, so that no two are alike.
    pub key: IssuerKey,
    /// What the operator calls it; need not be unique.
    pub name: String,
    /// When.
    pub created_at: Timestamp,
}

/// An issuer key as the operator sees it: without its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedIssuerKey {
    /// What an update names as `keyId`.
    pub key_id: String,
    /// What the operator calls it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}

/// Issuer keys. Revoked ones are kept: the audit names them.
#[async_trait]
pub trait IssuerKeys: Send + Sync {
    /// Keeps a new key. `Conflict` when its id is taken.
    async fn create_issuer_key(&self, key: NewIssuerKey) -> Result<(), StoreError>;

    /// Every key, revoked ones too, oldest first.
    async fn list_issuer_keys(&self) -> Result<Vec<ListedIssuerKey>, StoreError>;

    /// Takes a key out of use for good. `false`: unknown, or revoked before.
    async fn revoke_issuer_key(&self, key_id: &str, now: Timestamp) -> Result<bool, StoreError>;

    /// The keys in use, with their secrets, by id.
    async fn active_issuer_keys(&self) -> Result<Vec<IssuerKey>, StoreError>;
}
