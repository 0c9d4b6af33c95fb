//! What is asked of auth: about tokens of keys that are not known here, and about sessions that ended.

use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use common::account::{OpenSession, Revocation, TokenGrant};
use common::ids::UserId;
use common::ports::{EventStream, IssuerKey, QueueError};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use testkit::waiting::{SOON, eventually, within};
use tokio::sync::Semaphore;

use super::*;
use crate::secrets::TokenSigningKey;

const NOW_S: i64 = 1_790_000_000;

struct StoodStill;

impl Clock for StoodStill {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(NOW_S * 1000)
    }
}

/// An auth that publishes these keys, or says that it cannot, once it is let.
struct Auth {
    keys: Mutex<Option<Vec<VerificationKey>>>,
    asked: AtomicUsize,
    answers: Semaphore,
    ended: Mutex<Vec<Revocation>>,
}

impl Auth {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Authority for Auth {
    async fn verification_keys(&self) -> Result<Vec<VerificationKey>, Refusal> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answers.acquire().await.unwrap().forget();
        self.keys.lock().clone().ok_or_else(Refusal::unavailable)
    }
    async fn register(&self, _: &str, _: &str) -> Result<(UserId, String), Refusal> {
        unreachable!("only keys and ended sessions are asked for")
    }
    async fn login(&self, _: &str, _: &str) -> Result<TokenGrant, Refusal> {
        unreachable!("only keys and ended sessions are asked for")
    }
    async fn refresh(&self, _: &str) -> Result<TokenGrant, Refusal> {
        unreachable!("only keys and ended sessions are asked for")
    }
    async fn logout(&self, _: SessionId) -> Result<(), Refusal> {
        unreachable!("only keys and ended sessions are asked for")
    }
    async fn change_password(&self, _: UserId, _: SessionId, _: &str, _: &str) -> Result<Vec<SessionId>, Refusal> {
        unreachable!("only keys and ended sessions are asked for")
    }
    async fn logout_all(&self, _: UserId) -> Result<Vec<SessionId>, Refusal> {
        unreachable!("only keys and ended sessions are asked for")
    }
    async fn sessions(&self, _: UserId) -> Result<Vec<OpenSession>, Refusal> {
        unreachable!("only keys and ended sessions are asked for")
    }
    async fn revocations(&self, since: Timestamp) -> Result<Vec<Revocation>, Refusal> {
        Ok(self.ended.lock().iter().filter(|ended| ended.revoked_at >= since).cloned().collect())
    }
    async fn issuer_keys(&self) -> Result<Vec<IssuerKey>, Refusal> {
        unreachable!("only keys and ended sessions are asked for")
    }
}

fn key(seed: u8) -> TokenSigningKey {
    TokenSigningKey::from_seed(&[seed; 32])
}

fn token(seed: u8) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some("at+jwt".to_owned());
    header.kid = Some(key(seed).kid().to_owned());
    let claims = json!({
        "iss": "scoreboard", "aud": "scoreboard", "typ": "access", "jti": "t",
        "sub": "00000000-0000-4000-8000-000000000001", "sid": "00000000-0000-4000-8000-000000000002",
        "name": "alice", "iat": NOW_S, "exp": NOW_S + 3600,
    });
    encode(&header, &claims, &EncodingKey::from_ed_der(&key(seed).pkcs8_der().unwrap())).unwrap()
}

/// A gate that knows the key 1, and its auth, which answers nothing more.
async fn gate() -> (Arc<Auth>, Arc<TokenGate>) {
    let keys = Mutex::new(Some(vec![key(1).verification_key()]));
    let auth = Arc::new(Auth { keys, asked: AtomicUsize::new(0), answers: Semaphore::new(1), ended: Mutex::default() });
    let gate = Arc::new(TokenGate::new(auth.clone(), Arc::new(StoodStill)));
    gate.read_keys().await.unwrap();
    auth.asked.store(0, Ordering::SeqCst);
    (auth, gate)
}

/// So many tokens of an unknown key at once; what each is told.
async fn strangers(auth: &Auth, gate: &Arc<TokenGate>, count: usize) -> Vec<Result<(), ErrorCode>> {
    let waiting: Vec<_> = (0..count)
        .map(|_| {
            let gate = Arc::clone(gate);
            tokio::spawn(async move { gate.verify(&token(2)).await.map(|_| ()).map_err(|refusal| refusal.code) })
        })
        .collect();
    eventually(SOON, "auth to be asked", async || (auth.asked() > 0).then_some(())).await;
    gate.verify(&token(1)).await.expect("a good token waits for no stranger's");
    // All of them wait by now: one thread runs one after the other.
    tokio::task::yield_now().await;
    auth.answers.add_permits(count);
    let mut told = Vec::new();
    for stranger in waiting {
        told.push(stranger.await.unwrap());
    }
    told
}

#[tokio::test]
async fn a_hundred_strangers_share_one_question_and_the_next_is_refused_at_once() {
    let (auth, gate) = gate().await;
    let told = strangers(&auth, &gate, 100).await;
    assert_eq!(told, vec![Err(ErrorCode::Unauthenticated); 100]);
    assert_eq!(gate.verify(&token(2)).await.unwrap_err().code, ErrorCode::Unauthenticated);
    assert_eq!(auth.asked(), 1);
    eventually(SOON, "auth to be asked again after the gap", async || {
        gate.verify(&token(2)).await.unwrap_err();
        (auth.asked() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_auth_that_cannot_say_is_told_as_such_and_not_asked_again_at_once() {
    let (auth, gate) = gate().await;
    *auth.keys.lock() = None;
    assert_eq!(strangers(&auth, &gate, 10).await, vec![Err(ErrorCode::Unavailable); 10]);
    assert_eq!(gate.verify(&token(2)).await.unwrap_err().code, ErrorCode::Unauthenticated);
    assert_eq!(auth.asked(), 1);
}

#[tokio::test]
async fn a_new_key_is_known_to_all_who_asked_for_it() {
    let (auth, gate) = gate().await;
    auth.keys.lock().as_mut().unwrap().push(key(2).verification_key());
    assert_eq!(strangers(&auth, &gate, 10).await, vec![Ok(()); 10]);
    assert_eq!(auth.asked(), 1);
}

#[tokio::test]
async fn a_question_whose_asker_went_away_is_over() {
    let (auth, gate) = gate().await;
    let stranger = token(2);
    let asker = tokio::time::timeout(Duration::from_millis(10), gate.verify(&stranger)).await;
    assert!(asker.is_err(), "auth does not answer");
    assert_eq!(gate.verify(&stranger).await.unwrap_err().code, ErrorCode::Unauthenticated);
    assert_eq!(auth.asked(), 1);
}

/// A bus over which nothing is ever heard.
struct DeafBus;

struct DeafStream;

#[async_trait]
impl EventBus for DeafBus {
    async fn publish(&self, _: Event) -> Result<(), QueueError> {
        unreachable!("a gate tells nobody")
    }
    fn subscribe(&self) -> Box<dyn EventStream> {
        Box::new(DeafStream)
    }
}

#[async_trait]
impl EventStream for DeafStream {
    async fn next(&mut self) -> Option<Signal> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_session_that_ended_is_refused_and_its_followers_told_without_any_event() {
    let (auth, gate) = gate().await;
    auth.answers.add_permits(1);
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (gate, stop) = (Arc::clone(&gate), stop.clone());
        async move { gate.run(&DeafBus, stop).await }
    });
    eventually(SOON, "the first answer about sessions", async || gate.knows_revocations().then_some(())).await;
    let claims = gate.verify(&token(1)).await.expect("a good token");
    let follower = gate.follow(claims.session);
    let (session, revoked_at) = (claims.session, Timestamp::from_millis(NOW_S * 1000));
    auth.ended.lock().push(Revocation { session, revoked_at });
    // Asked once a second: what an event that is lost may cost.
    within(Duration::from_secs(3), "the session's end", follower.ended()).await;
    assert_eq!(gate.verify(&token(1)).await.unwrap_err().code, ErrorCode::TokenRevoked);
    stop.cancel();
    within(SOON, "the gate's end", running).await.unwrap();
}
