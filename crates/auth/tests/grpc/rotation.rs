//! Keys that are rotated while players are logged in.

use std::sync::Arc;

use common::clock::Timestamp;
use common::error_code::ErrorCode;
use common::ids::SessionId;
use common::ports::Authority as _;
use common::signature::SigningKey;
use runtime::access_token::AccessTokenVerifier;
use runtime::secrets::{AuthSecrets, GatewaySecrets, retire_token_key, rotate_signing_master, rotate_token_key};

use crate::support::{Auth, PASSWORD};

/// As `AuthSettings::new` has it.
const OVERLAP_MS: i64 = 60_000;

impl Auth {
    fn hear_hangup(&self) {
        self.service.reload(&AuthSecrets::load(self.secrets_dir()).unwrap()).unwrap();
    }

    /// The key that signs a token of now.
    async fn signing_kid(&self) -> String {
        let token = self.service.login("alice", PASSWORD).await.unwrap().access_token;
        let verifier =
            AccessTokenVerifier::new(self.service.verification_keys().await.unwrap(), Arc::new(self.clock.clone()));
        verifier.unwrap().verify(&token).expect("every token verifies with the keys published now").kid.to_string()
    }
}

#[tokio::test]
async fn a_new_key_is_published_at_once_and_signs_after_the_overlap() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let before = client.login("alice", PASSWORD).await.unwrap().access_token;
    let old = auth.secrets.active_key.kid().to_owned();
    let new = rotate_token_key(auth.secrets_dir()).unwrap().active;
    assert_eq!(auth.signing_kid().await, old, "nobody has told it yet");

    auth.hear_hangup();
    let published: Vec<_> = auth.service.verification_keys().await.unwrap().into_iter().map(|key| key.kid).collect();
    assert!(published.contains(&new) && published.contains(&old), "{published:?}");
    assert_eq!(auth.signing_kid().await, old);
    auth.clock.advance_millis(OVERLAP_MS / 2);
    auth.hear_hangup();
    auth.clock.advance_millis(OVERLAP_MS / 2 - 1);
    assert_eq!(auth.signing_kid().await, old);
    auth.clock.advance_millis(1);
    assert_eq!(auth.signing_kid().await, new, "a second HUP does not begin the wait anew");
    assert!(client.validate(&before).await.is_ok(), "the old key verifies");

    retire_token_key(auth.secrets_dir(), &old).unwrap();
    auth.hear_hangup();
    assert_eq!(client.validate(&before).await, Err(ErrorCode::Unauthenticated), "until it is retired");
    assert_eq!(auth.signing_kid().await, new);
}

#[tokio::test]
async fn a_stolen_key_is_out_of_use_at_once() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let before = client.login("alice", PASSWORD).await.unwrap().access_token;
    let old = auth.secrets.active_key.kid().to_owned();
    let new = rotate_token_key(auth.secrets_dir()).unwrap().active;
    retire_token_key(auth.secrets_dir(), &old).unwrap();
    auth.hear_hangup();
    assert_eq!(client.validate(&before).await, Err(ErrorCode::Unauthenticated));
    assert_eq!(auth.signing_kid().await, new);
}

#[tokio::test]
async fn every_signing_key_that_was_given_is_one_that_the_gateway_derives() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let login = client.login("alice", PASSWORD).await.unwrap();
    let session = SessionId::parse(&client.validate(&login.access_token).await.unwrap()).unwrap();
    rotate_signing_master(auth.secrets_dir()).unwrap();
    let gateway = GatewaySecrets::load(auth.secrets_dir()).unwrap().signing_masters;
    let derives = |key: &[u8]| gateway.session_keys(session).position(|derived| derived.as_bytes() == key);
    assert_eq!(derives(&login.signing_key), Some(1), "from before the rotation");

    auth.hear_hangup();
    let first = client.refresh(&login.refresh_token).await.unwrap();
    let not_yet_told = SigningKey::for_session(&auth.gateway.signing_masters.current, session);
    assert_eq!(first.signing_key, not_yet_told.as_bytes(), "also a gateway that has not heard yet derives it");
    auth.clock.advance_millis(OVERLAP_MS);
    let second = client.refresh(&first.refresh_token).await.unwrap();
    assert_eq!(derives(&second.signing_key), Some(0), "of the current master after the overlap");
}

#[tokio::test]
async fn secrets_that_cannot_be_used_change_nothing() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let token = client.login("alice", PASSWORD).await.unwrap().access_token;
    let mut broken = auth.secrets.clone();
    broken.verification_keys[0].public_key = [0; 32];
    assert!(auth.service.reload(&broken).is_err());
    assert_eq!(auth.signing_kid().await, auth.secrets.active_key.kid());
    assert!(client.validate(&token).await.is_ok());
    assert_eq!(auth.service.revocations(Timestamp::from_millis(0)).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_is_refused_while_keys_are_rotated() {
    let auth = Auth::start().await;
    auth.registered("alice").await;
    let verifier = Arc::new(
        AccessTokenVerifier::new(auth.service.verification_keys().await.unwrap(), Arc::new(auth.clock.clone()))
            .unwrap(),
    );
    // An answer of auth is taken over before the next one is asked for: an old one does not replace a newer one.
    let asking = Arc::new(tokio::sync::Mutex::new(()));
    let stop = tokio_util::sync::CancellationToken::new();
    let players: Vec<_> = (0..4)
        .map(|_| {
            let (service, verifier, stop) = (Arc::clone(&auth.service), Arc::clone(&verifier), stop.clone());
            let asking = Arc::clone(&asking);
            tokio::spawn(async move {
                let mut kids = std::collections::BTreeSet::new();
                let mut grant = service.login("alice", PASSWORD).await.unwrap();
                while !stop.is_cancelled() {
                    grant = service.refresh(&grant.refresh_token).await.unwrap();
                    // As a gateway does: what it does not know it asks for, once.
                    let claims = match verifier.verify(&grant.access_token) {
                        Err(runtime::access_token::TokenError::UnknownKey(_)) => {
                            let _turn = asking.lock().await;
                            verifier.replace_keys(service.verification_keys().await.unwrap()).unwrap();
                            verifier.verify(&grant.access_token)
                        }
                        verified => verified,
                    };
                    kids.insert(claims.expect("no token of a rotation is refused").kid.to_string());
                    tokio::task::yield_now().await;
                }
                kids
            })
        })
        .collect();
    let mut active = vec![auth.secrets.active_key.kid().to_owned()];
    for _ in 0..3 {
        active.push(rotate_token_key(auth.secrets_dir()).unwrap().active);
        auth.hear_hangup();
        auth.clock.advance_millis(OVERLAP_MS);
        assert_eq!(auth.signing_kid().await, *active.last().unwrap());
    }
    stop.cancel();
    let mut seen = std::collections::BTreeSet::new();
    for player in players {
        seen.extend(player.await.expect("a player"));
    }
    assert!(seen.len() >= 2, "the players saw more than one key: {seen:?}");
}
