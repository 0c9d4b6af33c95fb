//! Accounts and sessions from the first password to the last token, over a real socket.

use std::collections::HashSet;

use crate::support::{Auth, PASSWORD};
use common::error_code::{Details, ErrorCode};
use common::ids::SessionId;
use common::signature::SigningKey;
use futures_util::future::join_all;
use testkit::waiting::{SOON, within};

const GRACE_MS: i64 = auth::ROTATION_GRACE_MS;

#[tokio::test]
async fn a_player_registers_logs_in_refreshes_and_logs_out() {
    let auth = Auth::start().await;
    let mut client = auth.client().await;
    let user = client.register("Alice", PASSWORD).await.unwrap();

    let login = client.login("aLICE", PASSWORD).await.unwrap();
    assert_eq!((login.user_id.as_str(), login.username.as_str()), (user.as_str(), "Alice"), "shown as registered");
    assert_eq!((login.expires_in_seconds, login.refresh_expires_in_seconds), (3600, 86_400));
    let session = client.validate(&login.access_token).await.unwrap();
    let expected = SigningKey::for_session(&auth.gateway.signing_masters.current, SessionId::parse(&session).unwrap());
    assert_eq!(login.signing_key, expected.as_bytes(), "what the gateway derives from its own copy of the master");

    auth.clock.advance_millis(60_000);
    let refreshed = client.refresh(&login.refresh_token).await.unwrap();
    assert_ne!(refreshed.refresh_token, login.refresh_token);
    assert_ne!(refreshed.access_token, login.access_token);
    assert_eq!((&refreshed.signing_key, &refreshed.user_id), (&login.signing_key, &user), "the same session");
    assert_eq!(client.validate(&refreshed.access_token).await.unwrap(), session);

    client.logout(&session).await.unwrap();
    assert_eq!(client.validate(&refreshed.access_token).await, Err(ErrorCode::TokenRevoked));
    assert_eq!(client.validate(&login.access_token).await, Err(ErrorCode::TokenRevoked));
    assert_eq!(client.refresh(&refreshed.refresh_token).await.unwrap_err().code, ErrorCode::Unauthenticated);
    let heard: Vec<_> = auth.heard().iter().map(|r| r.session.to_string()).collect();
    assert_eq!(heard, std::slice::from_ref(&session));

    client.logout(&session).await.unwrap();
    let again = client.login("Alice", PASSWORD).await.unwrap();
    assert_ne!(client.validate(&again.access_token).await.unwrap(), session, "a new login is a new session");
}

#[tokio::test]
async fn the_published_keys_verify_the_tokens() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let login = client.login("alice", PASSWORD).await.unwrap();
    let keys = client.calls.jwks(client.request(wire::v1::JwksRequest {})).await.unwrap().into_inner().keys;
    let keys: Vec<_> = keys.into_iter().map(|key| key.try_into().unwrap()).collect();
    assert_eq!(keys, auth.gateway.verification_keys);
    let verifier =
        runtime::access_token::AccessTokenVerifier::new(keys, std::sync::Arc::new(auth.clock.clone())).unwrap();
    let claims = verifier.verify(&login.access_token).unwrap();
    assert_eq!((claims.user.to_string(), &*claims.username), (login.user_id, "alice"));
}

#[tokio::test]
async fn an_access_token_lives_an_hour_and_a_refresh_token_a_day() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let login = client.login("alice", PASSWORD).await.unwrap();
    auth.clock.advance_millis(3_600_000 - 1);
    assert!(client.validate(&login.access_token).await.is_ok());
    auth.clock.advance_millis(1);
    assert_eq!(client.validate(&login.access_token).await, Err(ErrorCode::TokenExpired));

    auth.clock.advance_millis(23 * 3_600_000 - 1);
    let refreshed = client.refresh(&login.refresh_token).await.unwrap();
    auth.clock.advance_millis(86_400_000);
    assert_eq!(client.refresh(&refreshed.refresh_token).await.unwrap_err().code, ErrorCode::Unauthenticated);
    assert!(auth.heard().is_empty(), "an expired session is not an alarm");
}

#[tokio::test]
async fn registration_names_the_field_that_is_wrong() {
    let auth = Auth::start().await;
    let mut client = auth.registered("Alice").await;
    for (username, password, field) in [
        ("al", PASSWORD, "username"),
        ("a b", PASSWORD, "username"),
        ("", PASSWORD, "username"),
        ("bob", "short", "password"),
        ("bob", "password123", "password"),
        ("bob", &"x".repeat(129), "password"),
    ] {
        let refusal = client.register(username, password).await.unwrap_err();
        assert_eq!((refusal.code, refusal.details), (ErrorCode::InvalidRequest, Details::Field(field)), "{username}");
    }
    let taken = client.register("aLiCe", PASSWORD).await.unwrap_err();
    assert_eq!(taken.code, ErrorCode::UsernameTaken);
    client.register("bob", &"ü".repeat(10)).await.unwrap();
    client.login("bob", &"ü".repeat(10)).await.unwrap();
}

#[tokio::test]
async fn a_refused_login_tells_nothing_and_costs_one_hash_whoever_was_named() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let mut refusals = Vec::new();
    for (username, password) in
        [("alice", "wrong password"), ("nobody", PASSWORD), ("no such form", PASSWORD), ("", ""), ("alice", "")]
    {
        let before = auth.service.passwords().finished();
        refusals.push(client.login(username, password).await.unwrap_err());
        assert_eq!(auth.service.passwords().finished(), before + 1, "{username}");
    }
    assert_eq!(refusals[0].code, ErrorCode::InvalidCredentials);
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:?}");
}

#[tokio::test]
async fn of_many_that_register_one_name_at_once_one_gets_it() {
    let auth = Auth::start().await;
    let client = auth.client().await;
    let tries = (0..8).map(|n| {
        let mut client = client.clone();
        let name = if n % 2 == 0 { "Alice" } else { "alice" };
        async move { client.register(name, PASSWORD).await.map_err(|refusal| refusal.code) }
    });
    let ended = join_all(tries).await;
    assert_eq!(ended.iter().filter(|end| end.is_ok()).count(), 1);
    assert_eq!(ended.iter().filter(|end| **end == Err(ErrorCode::UsernameTaken)).count(), 7);
}

#[tokio::test]
async fn a_lost_answer_within_the_grace_gets_the_same_successor_and_no_second_chain() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let first = client.login("alice", PASSWORD).await.unwrap().refresh_token;
    let second = client.refresh(&first).await.unwrap().refresh_token;
    auth.clock.advance_millis(GRACE_MS);
    assert_eq!(client.refresh(&first).await.unwrap().refresh_token, second);
    let third = client.refresh(&second).await.unwrap().refresh_token;
    assert_eq!(client.refresh(&second).await.unwrap().refresh_token, third);
    assert!(auth.heard().is_empty());
}

#[tokio::test]
async fn refreshes_at_once_get_one_successor() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let first = client.login("alice", PASSWORD).await.unwrap().refresh_token;
    let tries = (0..16).map(|_| {
        let (mut client, first) = (client.clone(), first.clone());
        async move { client.refresh(&first).await.unwrap().refresh_token }
    });
    let successors: HashSet<String> = join_all(tries).await.into_iter().collect();
    assert_eq!(successors.len(), 1);
    let successor = successors.into_iter().next().unwrap();
    client.refresh(&successor).await.unwrap();
}

#[tokio::test]
async fn a_token_shown_again_after_the_grace_ends_the_session() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let login = client.login("alice", PASSWORD).await.unwrap();
    let session = client.validate(&login.access_token).await.unwrap();
    let second = client.refresh(&login.refresh_token).await.unwrap();
    auth.clock.advance_millis(GRACE_MS + 1);
    assert_eq!(client.refresh(&login.refresh_token).await.unwrap_err().code, ErrorCode::RefreshTokenReused);
    assert_eq!(auth.heard().iter().map(|r| r.session.to_string()).collect::<Vec<_>>(), [session]);
    for token in [&second.refresh_token, &login.refresh_token] {
        assert_eq!(client.refresh(token).await.unwrap_err().code, ErrorCode::Unauthenticated, "the session is over");
    }
    for token in [&second.access_token, &login.access_token] {
        assert_eq!(client.validate(token).await, Err(ErrorCode::TokenRevoked));
    }
    assert!(client.login("alice", PASSWORD).await.is_ok(), "the player is not locked out");
}

#[tokio::test]
async fn a_token_before_the_previous_one_has_no_grace() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let first = client.login("alice", PASSWORD).await.unwrap().refresh_token;
    let second = client.refresh(&first).await.unwrap().refresh_token;
    let third = client.refresh(&second).await.unwrap().refresh_token;
    assert_eq!(client.refresh(&first).await.unwrap_err().code, ErrorCode::RefreshTokenReused);
    assert_eq!(client.refresh(&third).await.unwrap_err().code, ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn refresh_tokens_that_we_did_not_make_end_no_session() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let login = client.login("alice", PASSWORD).await.unwrap();
    let mut guessed = login.refresh_token.clone().into_bytes();
    guessed[60] = if guessed[60] == b'A' { b'B' } else { b'A' };
    for token in [
        String::from_utf8(guessed).unwrap(),
        String::new(),
        "AAAA".to_owned(),
        login.access_token.clone(),
        format!("{}=", login.refresh_token),
        "x".repeat(10_000),
    ] {
        assert_eq!(client.refresh(&token).await.unwrap_err().code, ErrorCode::Unauthenticated, "{token}");
    }
    assert!(client.refresh(&login.refresh_token).await.is_ok());
    assert!(auth.heard().is_empty());
}

#[tokio::test]
async fn a_bus_that_takes_nothing_does_not_hold_up_a_logout() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let login = client.login("alice", PASSWORD).await.unwrap();
    let session = client.validate(&login.access_token).await.unwrap();
    auth.bus.take_nothing_more();
    within(SOON, "the logout", client.logout(&session)).await.unwrap();
    assert_eq!(client.validate(&login.access_token).await, Err(ErrorCode::TokenRevoked), "committed all the same");
    let request = client.request(wire::v1::RevocationsRequest { since_ms: 0 });
    let revocations = client.calls.revocations(request).await.unwrap().into_inner().revocations;
    assert_eq!(revocations.iter().map(|r| r.session_id.clone()).collect::<Vec<_>>(), [session], "nodes can read it");
}
