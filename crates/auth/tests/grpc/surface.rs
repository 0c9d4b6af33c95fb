//! Who is let in at the gRPC port, and how it behaves at its edges.

use crate::support::{Auth, Client, PASSWORD};
use auth::AuthGrpc;
use common::error_code::ErrorCode;
use futures_util::{StreamExt as _, stream};
use runtime::secrets::ServiceKey;
use testkit::waiting::{SOON, eventually, within};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use wire::v1::auth_service_server::AuthServiceServer;
use wire::v1::{
    IssuerKeysRequest, JwksRequest, LoginRequest, LogoutRequest, RefreshRequest, RegisterRequest, RevocationsRequest,
    SignActionRequest,
};

async fn codes(client: &Client) -> Vec<(&'static str, Code)> {
    fn code<T>(result: Result<T, tonic::Status>) -> Code {
        result.map_or_else(|status| status.code(), |_| Code::Ok)
    }
    let mut calls = client.calls.clone();
    let (username, password) = ("alice".to_owned(), PASSWORD.to_owned());
    let register = RegisterRequest { username: username.clone(), password: password.clone() };
    let session_id = uuid::Uuid::nil().to_string();
    vec![
        ("register", code(calls.register(client.request(register)).await)),
        ("login", code(calls.login(client.request(LoginRequest { username, password })).await)),
        ("refresh", code(calls.refresh(client.request(RefreshRequest { refresh_token: "x".to_owned() })).await)),
        ("logout", code(calls.logout(client.request(LogoutRequest { session_id })).await)),
        ("jwks", code(calls.jwks(client.request(JwksRequest {})).await)),
        ("issuer_keys", code(calls.issuer_keys(client.request(IssuerKeysRequest {})).await)),
        ("sign_action", code(calls.sign_action(client.request(SignActionRequest::default())).await)),
        ("revocations", code(calls.revocations(client.request(RevocationsRequest { since_ms: 0 })).await)),
    ]
}

#[tokio::test]
async fn without_a_known_service_key_every_call_is_refused() {
    let auth = Auth::start().await;
    let mut client = auth.client().await;
    let right = client.key.clone().unwrap();
    for key in [None, ServiceKey::parse(&"x".repeat(43)), ServiceKey::parse(&format!("{}A", right.as_str()))] {
        client.key = key;
        for (call, code) in codes(&client).await {
            assert_eq!(code, Code::Unauthenticated, "{call} with {:?}", client.key);
        }
        let validated = client.validate("x").await;
        assert_eq!(validated, Err(ErrorCode::Internal), "no code of the contract: a player is not told to log in");
    }
    assert!(auth.accounts.find("alice").await.unwrap().is_none(), "nothing was done");
}

#[tokio::test]
async fn a_fanout_node_reads_and_does_nothing_for_players() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let login = client.login("alice", PASSWORD).await.unwrap();
    client.key = Some(auth.fanout.service_key.clone());
    let allowed = ["jwks", "revocations"];
    for (call, code) in codes(&client).await {
        assert_eq!(code, if allowed.contains(&call) { Code::Ok } else { Code::PermissionDenied }, "{call}");
    }
    assert!(client.validate(&login.access_token).await.is_ok());
}

#[tokio::test]
async fn health_and_reflection_need_no_key() {
    let auth = Auth::start().await;
    let name = <AuthServiceServer<AuthGrpc> as tonic::server::NamedService>::NAME;
    let mut health = HealthClient::new(auth.channel().await);
    for service in ["", name] {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        assert_eq!(answer.get_ref().status(), ServingStatus::Serving, "{service}");
    }

    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(auth.channel().await);
    let answers = reflection.server_reflection_info(stream::iter([ask])).await.unwrap().into_inner();
    let answer = answers.boxed().next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(services) = answer else { panic!("{answer:?}") };
    assert!(services.service.iter().any(|service| service.name == name), "{services:?}");
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let auth = Auth::start().await;
    let mut client = auth.client().await;
    let message = LoginRequest { username: "alice".to_owned(), password: "x".repeat(17 * 1024) };
    let refused = client.calls.login(client.request(message)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert_eq!(auth.service.passwords().finished(), 0);
}

#[tokio::test]
async fn a_malformed_session_is_the_callers_fault() {
    let auth = Auth::start().await;
    let mut client = auth.client().await;
    let message = LogoutRequest { session_id: "x".to_owned() };
    assert_eq!(client.calls.logout(client.request(message)).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_stop_finishes_what_was_accepted_and_frees_the_port() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    // Hashing takes long enough for the stop to come between.
    let login = tokio::spawn(async move { client.login("alice", PASSWORD).await });
    let service = std::sync::Arc::clone(&auth.service);
    eventually(SOON, "the login to be accepted", || async { service.passwords().waiting_or_running() > 0 }).await;
    let url = auth.url.clone();
    auth.stop().await.unwrap();
    assert!(within(SOON, "the login", login).await.unwrap().is_ok());
    assert!(tonic::transport::Endpoint::from_shared(url).unwrap().connect().await.is_err());
}
