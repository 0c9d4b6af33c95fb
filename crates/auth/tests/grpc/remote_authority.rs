//! The port `Authority` through its gRPC client, as gateway and fan-out use it.

use std::net::{Ipv4Addr, TcpListener};

use crate::support::{Auth, PASSWORD};
use common::error_code::{Details, ErrorCode, Refusal};
use common::ids::SessionId;
use common::ports::{Authority, Dependency as _};
use distributed::authority::GrpcAuthority;
use runtime::secrets::ServiceKey;
use testkit::waiting::{SOON, within};

fn remote(auth: &Auth) -> GrpcAuthority {
    GrpcAuthority::new(&auth.url, &auth.gateway.service_key).unwrap()
}

fn code<T>(result: Result<T, Refusal>) -> ErrorCode {
    result.map(|_| ()).unwrap_err().code
}

#[tokio::test]
async fn everything_works_as_in_process() {
    let auth = Auth::start().await;
    let remote = remote(&auth);
    let (user, name) = remote.register("Alice", PASSWORD).await.unwrap();
    assert_eq!(name, "Alice");
    let login = remote.login("alice", PASSWORD).await.unwrap();
    assert_eq!((login.user, login.username.as_str()), (user, "Alice"));
    let claims = auth.service.validate(&login.access_token).await.unwrap();
    assert_eq!(remote.refresh(&login.refresh_token).await.unwrap().signing_key, login.signing_key);
    assert_eq!(remote.verification_keys().await.unwrap(), auth.service.verification_keys().await.unwrap());
    remote.logout(claims.session).await.unwrap();
    assert_eq!(remote.revocations(common::clock::Timestamp::from_millis(0)).await.unwrap(), auth.heard());
    assert_eq!(remote.check().await, Ok(()));
}

#[tokio::test]
async fn refusals_arrive_as_they_were_given() {
    let auth = Auth::start().await;
    let (remote, local) = (remote(&auth), &auth.service);
    let refused = remote.register("al", PASSWORD).await.unwrap_err();
    assert_eq!(refused, local.register("al", PASSWORD).await.unwrap_err());
    assert_eq!(refused.details, Details::Field("username"));
    assert_eq!(code(remote.login("nobody", PASSWORD).await), ErrorCode::InvalidCredentials);
    assert_eq!(code(remote.refresh("x").await), ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn without_auth_calls_are_unavailable_and_the_check_says_why() {
    // A port that nobody listens on: bound and given back.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let key = ServiceKey::parse(&"k".repeat(43)).unwrap();
    let remote = GrpcAuthority::new(&format!("http://127.0.0.1:{port}"), &key).unwrap();
    let refused = within(SOON, "the refusal", remote.login("alice", PASSWORD)).await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after_s), (ErrorCode::Unavailable, Some(1)));
    let told = remote.check().await.unwrap_err();
    assert!(told.contains("cannot be reached") && told.contains("refused"), "{told}");
}

#[tokio::test]
async fn an_auth_that_does_not_answer_is_unavailable_within_its_time() {
    // Accepts connections and says nothing.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let key = ServiceKey::parse(&"k".repeat(43)).unwrap();
    let remote = GrpcAuthority::new(&format!("http://{}", silent.local_addr().unwrap()), &key).unwrap();
    let (login, check) =
        within(SOON, "the refusals", async { tokio::join!(remote.login("alice", PASSWORD), remote.check()) }).await;
    assert_eq!(code(login), ErrorCode::Unavailable);
    assert!(check.unwrap_err().contains("900 ms"));
}

#[tokio::test]
async fn a_restarted_auth_is_found_again() {
    let auth = Auth::start().await;
    let (remote, port) = (remote(&auth), auth.url.rsplit(':').next().unwrap().parse::<u16>().unwrap());
    let key = auth.gateway.service_key.clone();
    remote.verification_keys().await.unwrap();
    auth.stop().await.unwrap();
    assert_eq!(code(remote.verification_keys().await), ErrorCode::Unavailable);
    let again = Auth::start_on(port).await;
    let answer = testkit::waiting::eventually(SOON, "auth to answer again", || async {
        // Another auth, another key: that it answers is enough.
        remote.check().await.err().filter(|told| told.contains("refuses this service's key"))
    });
    assert!(answer.await.contains("scoreboard key init"));
    assert_ne!(again.gateway.service_key.as_str(), key.as_str());
}

#[tokio::test]
async fn a_wrong_service_key_is_our_fault_and_not_the_players() {
    let auth = Auth::start().await;
    let remote = GrpcAuthority::new(&auth.url, &ServiceKey::parse(&"k".repeat(43)).unwrap()).unwrap();
    assert_eq!(code(remote.login("alice", PASSWORD).await), ErrorCode::Internal);
    assert!(remote.check().await.unwrap_err().contains("scoreboard key init"));

    let fanout = GrpcAuthority::new(&auth.url, &auth.fanout.service_key).unwrap();
    assert_eq!(fanout.check().await, Ok(()));
    assert_eq!(code(fanout.logout(SessionId(uuid::Uuid::nil())).await), ErrorCode::Internal);
}

#[tokio::test]
async fn addresses_that_are_none_are_refused_at_once() {
    let key = ServiceKey::parse(&"k".repeat(43)).unwrap();
    for url in ["", "auth", "auth:50051", "https://auth:50051", "http://", "not a url"] {
        let told = GrpcAuthority::new(url, &key).err().map(|error| error.to_string());
        assert!(told.is_some_and(|told| told.contains("SCOREBOARD__AUTH__URL")), "{url}");
    }
}

#[tokio::test]
async fn a_grant_does_not_show_its_tokens_in_debug_output() {
    let auth = Auth::start().await;
    auth.service.register("alice", PASSWORD).await.unwrap();
    let grant = remote(&auth).login("alice", PASSWORD).await.unwrap();
    let shown = format!("{grant:?}");
    assert!(shown.contains("alice"));
    for secret in [&grant.access_token, &grant.refresh_token, &hex::encode(grant.signing_key.as_bytes())] {
        assert!(!shown.contains(secret.as_str()));
    }
}
