use std::time::Instant;

use async_trait::async_trait;
use common::account::{OpenSession, Revocation, TokenGrant};
use common::clock::Timestamp;
use common::error_code::ErrorCode;
use common::ids::{SessionId, UserId};
use common::ports::{IssuerKey, VerificationKey};
use parking_lot::Mutex;
use testkit::waiting::{SOON, eventually, within};

use super::*;

/// An auth that knows issuer keys, or does not answer.
struct Auth {
    keys: Mutex<Option<Vec<&'static str>>>,
    asked: AtomicU64,
}

fn key(id: &str) -> IssuerKey {
    let mut secret = [0; 32];
    secret[..id.len()].copy_from_slice(id.as_bytes());
    IssuerKey { key_id: id.to_owned(), secret: SigningKey::from_bytes(secret) }
}

#[async_trait]
impl Authority for Auth {
    async fn register(&self, _: &str, _: &str) -> Result<(UserId, String), Refusal> {
        unreachable!("only keys are asked for")
    }
    async fn login(&self, _: &str, _: &str) -> Result<TokenGrant, Refusal> {
        unreachable!("only keys are asked for")
    }
    async fn refresh(&self, _: &str) -> Result<TokenGrant, Refusal> {
        unreachable!("only keys are asked for")
    }
    async fn logout(&self, _: SessionId) -> Result<(), Refusal> {
        unreachable!("only keys are asked for")
    }
    async fn change_password(&self, _: UserId, _: SessionId, _: &str, _: &str) -> Result<Vec<SessionId>, Refusal> {
        unreachable!("only keys are asked for")
    }
    async fn logout_all(&self, _: UserId) -> Result<Vec<SessionId>, Refusal> {
        unreachable!("only keys are asked for")
    }
    async fn sessions(&self, _: UserId) -> Result<Vec<OpenSession>, Refusal> {
        unreachable!("only keys are asked for")
    }
    async fn verification_keys(&self) -> Result<Vec<VerificationKey>, Refusal> {
        unreachable!("only keys are asked for")
    }
    async fn revocations(&self, _: Timestamp) -> Result<Vec<Revocation>, Refusal> {
        unreachable!("only keys are asked for")
    }
    async fn issuer_keys(&self) -> Result<Vec<IssuerKey>, Refusal> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let keys = self.keys.lock().clone().ok_or_else(Refusal::unavailable)?;
        Ok(keys.into_iter().map(key).collect())
    }
}

/// A ring that follows an auth with these keys for as long as the test runs.
fn ring(keys: Option<Vec<&'static str>>) -> (Arc<Auth>, Arc<IssuerKeyRing>) {
    let auth = Arc::new(Auth { keys: Mutex::new(keys), asked: AtomicU64::new(0) });
    let ring = Arc::new(IssuerKeyRing::new(auth.clone()));
    let follower = Arc::clone(&ring);
    tokio::spawn(async move { follower.run().await });
    (auth, ring)
}

#[tokio::test]
async fn a_key_is_found_by_its_id_and_another_is_unknown() {
    let (_auth, ring) = ring(Some(vec!["a", "b"]));
    assert_eq!(ring.find("b").await, Ok(Some(key("b").secret)));
    assert_eq!(ring.find("c").await, Ok(None));
}

#[tokio::test]
async fn a_key_that_was_just_made_is_known_to_the_first_update_that_names_it() {
    let (auth, ring) = ring(Some(vec!["a"]));
    assert_eq!(ring.find("b").await, Ok(None));
    *auth.keys.lock() = Some(vec!["a", "b"]);
    assert_eq!(ring.find("b").await, Ok(Some(key("b").secret)));
}

#[tokio::test]
async fn a_revoked_key_is_unknown_within_five_seconds_though_nobody_asks() {
    let (auth, ring) = ring(Some(vec!["a"]));
    assert!(ring.find("a").await.unwrap().is_some());
    *auth.keys.lock() = Some(Vec::new());
    let gone = eventually(SOON, "the key to be gone", async || ring.known("a").is_none().then_some(()));
    within(Duration::from_secs(5), "the promise", gone).await;
}

#[tokio::test]
async fn while_auth_is_away_known_keys_verify_and_nobody_is_called_unknown() {
    let (auth, ring) = ring(Some(vec!["a"]));
    assert!(ring.find("a").await.unwrap().is_some());
    *auth.keys.lock() = None;
    assert_eq!(ring.find("b").await.map_err(|refusal| refusal.code), Err(ErrorCode::Unavailable));
    assert!(ring.find("a").await.unwrap().is_some());
    *auth.keys.lock() = Some(vec!["b"]);
    assert!(ring.find("b").await.unwrap().is_some());
}

#[tokio::test]
async fn a_thousand_unknown_keys_cost_auth_few_questions() {
    let (auth, ring) = ring(Some(Vec::new()));
    let began = Instant::now();
    for _ in 0..10 {
        let finding = (0..100).map(|_| ring.find("x"));
        for found in futures_util::future::join_all(finding).await {
            assert_eq!(found, Ok(None));
        }
    }
    let allowed = began.elapsed().as_millis() / SHORTEST_GAP.as_millis() + 2;
    assert!(u128::from(auth.asked.load(Ordering::SeqCst)) <= allowed);
}
