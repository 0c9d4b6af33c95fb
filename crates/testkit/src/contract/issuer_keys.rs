//! What every [`IssuerKeys`] must do. Keys are made anew, so a database may be shared.

use std::any::Any;
use std::sync::Arc;

use common::ports::{IssuerKey, IssuerKeys, ListedIssuerKey, NewIssuerKey, StoreError};
use common::signature::SigningKey;
use uuid::Uuid;

use crate::fixtures::noon;

/// The store under test.
pub struct Fixture {
    /// It.
    pub keys: Arc<dyn IssuerKeys>,
    /// What it stands on, dropped with it.
    pub guard: Box<dyn Any + Send + Sync>,
}

/// A test of each case of the suite.
#[macro_export]
macro_rules! issuer_keys_contract {
    ($fixture:path) => {
        $crate::contract_tests!(
            issuer_keys as issuer_keys_contract,
            $fixture,
            [
                a_created_key_is_active_and_listed,
                a_taken_id_changes_nothing,
                a_revoked_key_is_inactive_for_good_and_still_listed,
                an_unknown_key_is_not_revoked,
            ]
        );
    };
}

impl Fixture {
    async fn make(&self, name: &str) -> IssuerKey {
        let key = key();
        let new = NewIssuerKey { key: key.clone(), name: name.to_owned(), created_at: noon() };
        self.keys.create_issuer_key(new).await.unwrap();
        key
    }

    async fn active(&self, key_id: &str) -> Option<IssuerKey> {
        self.keys.active_issuer_keys().await.unwrap().into_iter().find(|key| key.key_id == key_id)
    }

    async fn listed(&self, key_id: &str) -> Option<ListedIssuerKey> {
        self.keys.list_issuer_keys().await.unwrap().into_iter().find(|key| key.key_id == key_id)
    }
}

fn key() -> IssuerKey {
    let (id, a, b) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let mut secret = [0; 32];
    secret[..16].copy_from_slice(a.as_bytes());
    secret[16..].copy_from_slice(b.as_bytes());
    IssuerKey { key_id: format!("iss_{}", id.simple()), secret: SigningKey::from_bytes(secret) }
}

/// With its own secret, beside others of the same name.
pub async fn a_created_key_is_active_and_listed(fixture: &Fixture) {
    let (first, second) = (fixture.make("arena").await, fixture.make("arena").await);
    for key in [first, second] {
        assert_eq!(fixture.active(&key.key_id).await.as_ref(), Some(&key));
        let listed = ListedIssuerKey {
            key_id: key.key_id.clone(),
            name: "arena".to_owned(),
            created_at: noon(),
            revoked_at: None,
        };
        assert_eq!(fixture.listed(&key.key_id).await, Some(listed));
    }
}

/// A key is never replaced, not even a revoked one.
pub async fn a_taken_id_changes_nothing(fixture: &Fixture) {
    let known = fixture.make("arena").await;
    let other = IssuerKey { key_id: known.key_id.clone(), ..key() };
    let again = NewIssuerKey { key: other, name: "other".to_owned(), created_at: noon() };
    let refused = fixture.keys.create_issuer_key(again.clone()).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert_eq!(fixture.active(&known.key_id).await.as_ref(), Some(&known));
    fixture.keys.revoke_issuer_key(&known.key_id, noon()).await.unwrap();
    assert!(fixture.keys.create_issuer_key(again).await.is_err());
    assert_eq!(fixture.active(&known.key_id).await, None);
}

/// Revoking again changes nothing, not even the time; other keys stay.
pub async fn a_revoked_key_is_inactive_for_good_and_still_listed(fixture: &Fixture) {
    let (revoked, kept) = (fixture.make("a").await, fixture.make("b").await);
    let at = noon().plus_millis(1);
    assert!(fixture.keys.revoke_issuer_key(&revoked.key_id, at).await.unwrap());
    assert!(!fixture.keys.revoke_issuer_key(&revoked.key_id, at.plus_millis(1)).await.unwrap());
    assert_eq!(fixture.active(&revoked.key_id).await, None);
    assert_eq!(fixture.listed(&revoked.key_id).await.unwrap().revoked_at, Some(at));
    assert_eq!(fixture.active(&kept.key_id).await, Some(kept));
}

/// Whatever the id looks like.
pub async fn an_unknown_key_is_not_revoked(fixture: &Fixture) {
    for key_id in ["", "iss_unknown", "' OR 1=1 --"] {
        assert!(!fixture.keys.revoke_issuer_key(key_id, noon()).await.unwrap(), "{key_id}");
    }
}
