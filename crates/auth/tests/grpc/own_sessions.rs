//! A player's sessions as a whole, in process and over gRPC alike.

use std::sync::Arc;

use common::error_code::{Details, ErrorCode};
use common::ids::{SessionId, UserId};
use common::ports::Authority;
use distributed::authority::GrpcAuthority;

use crate::support::{Auth, Client, PASSWORD};

const NEW_PASSWORD: &str = "a better horse battery";

/// Both ways to auth.
fn both(auth: &Auth) -> [Arc<dyn Authority>; 2] {
    let remote = GrpcAuthority::new(&auth.url, &auth.gateway.service_key).unwrap();
    [Arc::clone(&auth.service) as _, Arc::new(remote)]
}

/// A new login: its user, session and tokens.
async fn login(client: &mut Client, password: &str) -> (UserId, SessionId, wire::v1::TokenGrant) {
    let grant = client.login("alice", password).await.unwrap();
    let session = client.validate(&grant.access_token).await.unwrap();
    (UserId::parse(&grant.user_id).unwrap(), SessionId::parse(&session).unwrap(), grant)
}

fn sorted(mut sessions: Vec<SessionId>) -> Vec<SessionId> {
    sessions.sort_by_key(|session| session.0);
    sessions
}

#[tokio::test]
async fn a_changed_password_ends_all_other_sessions_and_every_node_hears_of_it() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let mut password = PASSWORD;
    for (authority, next) in both(&auth).into_iter().zip([NEW_PASSWORD, PASSWORD]) {
        let (user, session, grant) = login(&mut client, password).await;
        let (_, other, others) = login(&mut client, password).await;
        let heard_before = auth.heard().len();
        let ended = authority.change_password(user, session, password, next).await.unwrap();
        assert_eq!(ended.iter().filter(|ended| **ended == other).count(), 1);
        assert!(!ended.contains(&session));
        let heard = auth.heard()[heard_before..].iter().map(|r| r.session).collect();
        assert_eq!(sorted(heard), sorted(ended));

        assert_eq!(client.login("alice", password).await.unwrap_err().code, ErrorCode::InvalidCredentials);
        assert_eq!(client.validate(&others.access_token).await, Err(ErrorCode::TokenRevoked));
        assert_eq!(client.refresh(&others.refresh_token).await.unwrap_err().code, ErrorCode::Unauthenticated);
        assert!(client.validate(&grant.access_token).await.is_ok(), "this session goes on");
        assert!(client.refresh(&grant.refresh_token).await.is_ok());
        client.login("alice", next).await.unwrap();
        password = next;
    }
}

#[tokio::test]
async fn a_refused_change_of_a_password_ends_nothing() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let (user, session, _) = login(&mut client, PASSWORD).await;
    let (_, _, others) = login(&mut client, PASSWORD).await;
    for authority in both(&auth) {
        let wrong = authority.change_password(user, session, "not the password", NEW_PASSWORD).await.unwrap_err();
        assert_eq!(wrong.code, ErrorCode::InvalidCredentials);
        for weak in ["short", "password123", "Alice", &"x".repeat(129)] {
            let refusal = authority.change_password(user, session, PASSWORD, weak).await.unwrap_err();
            let expected = (ErrorCode::InvalidRequest, Details::Field("newPassword"));
            assert_eq!((refusal.code, refusal.details), expected, "{weak}");
        }
        let nobody = UserId(uuid::Uuid::from_u128(9));
        let unknown = authority.change_password(nobody, session, PASSWORD, NEW_PASSWORD).await.unwrap_err();
        assert_eq!(unknown.code, ErrorCode::InvalidCredentials);
    }
    assert!(client.refresh(&others.refresh_token).await.is_ok());
    assert!(client.login("alice", PASSWORD).await.is_ok());
    assert_eq!(auth.heard(), []);
}

#[tokio::test]
async fn all_sessions_end_at_once_even_when_the_bus_takes_nothing() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    for (authority, bus_hangs) in both(&auth).into_iter().zip([false, true]) {
        let heard_before = auth.heard().len();
        let (user, one, grant) = login(&mut client, PASSWORD).await;
        let (_, other, others) = login(&mut client, PASSWORD).await;
        if bus_hangs {
            auth.bus.take_nothing_more();
        }
        let ended = authority.logout_all(user).await.unwrap();
        assert_eq!(sorted(ended), sorted(vec![one, other]));
        assert_eq!(auth.heard().len() - heard_before, if bus_hangs { 0 } else { 2 });
        for grant in [grant, others] {
            assert_eq!(client.validate(&grant.access_token).await, Err(ErrorCode::TokenRevoked));
            assert_eq!(client.refresh(&grant.refresh_token).await.unwrap_err().code, ErrorCode::Unauthenticated);
        }
        assert_eq!(authority.logout_all(user).await.unwrap(), []);
    }
    client.login("alice", PASSWORD).await.expect("the player is not locked out");
}

#[tokio::test]
async fn a_player_sees_the_own_open_sessions() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let (user, old, grant) = login(&mut client, PASSWORD).await;
    auth.clock.advance_millis(1000);
    let (_, new, _) = login(&mut client, PASSWORD).await;
    auth.clock.advance_millis(1000);
    client.refresh(&grant.refresh_token).await.unwrap();
    let [local, remote] = both(&auth);
    let open = local.sessions(user).await.unwrap();
    assert_eq!(open.iter().map(|open| open.session).collect::<Vec<_>>(), [new, old]);
    assert_eq!(open[1].last_used_at.millis_since(open[1].created_at), 2000);
    assert_eq!(open[0].last_used_at, open[0].created_at);
    assert_eq!(remote.sessions(user).await.unwrap(), open);
    client.logout(&new.to_string()).await.unwrap();
    assert_eq!(remote.sessions(user).await.unwrap(), open[1..]);
    assert_eq!(remote.sessions(UserId(uuid::Uuid::from_u128(9))).await.unwrap(), []);
}

#[tokio::test]
async fn a_key_that_is_not_the_gateways_acts_for_no_player() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let (user, session, _) = login(&mut client, PASSWORD).await;
    let fanout = GrpcAuthority::new(&auth.url, &auth.fanout.service_key).unwrap();
    fanout.verification_keys().await.unwrap();
    assert!(fanout.logout_all(user).await.is_err());
    assert!(fanout.sessions(user).await.is_err());
    assert!(fanout.change_password(user, session, PASSWORD, NEW_PASSWORD).await.is_err());
    assert_eq!(auth.service.sessions(user).await.unwrap().len(), 1);
}

#[tokio::test]
async fn where_registration_is_closed_nobody_registers_and_players_go_on() {
    let auth = Auth::start().await;
    auth.registered("alice").await;
    let closed = auth.closed_to_strangers();
    assert_eq!(closed.register("bob", PASSWORD).await.unwrap_err().code, ErrorCode::Forbidden);
    assert_eq!(closed.register("alice", PASSWORD).await.unwrap_err().code, ErrorCode::Forbidden, "names are not told");
    closed.login("alice", PASSWORD).await.unwrap();
}
