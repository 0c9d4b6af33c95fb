//! Who is let in, and how the port behaves at its edges.

use common::error_code::ErrorCode;
use futures_util::{StreamExt as _, stream};
use runtime::secrets::{GatewaySecrets, Permission, create_caller};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use wire::refusal_from_status;
use wire::v1::{
    CreateIssuerKeyRequest, GetBoardRequest, ListBoardsRequest, ListIssuerKeysRequest, RemoveActionTypeRequest,
    RevokeIssuerKeyRequest, SetActionTypeRequest, SetStreamTokenRequest, SubmitRequest, TopRequest, WatchRequest,
};

use crate::support::{Node, submit, update};

const SERVICES: [&str; 2] = ["scoreboard.v1.ScoreService", "scoreboard.v1.AdminService"];

/// The codes of every call of both services with a key: scores, then administration.
async fn codes(node: &Node, key: &str) -> (Vec<Code>, Vec<Code>) {
    fn code<T>(result: Result<T, tonic::Status>) -> Code {
        result.map_or_else(|status| status.code(), |_| Code::Ok)
    }
    let (mut scores, mut admin) = (node.scores_with(key).await, node.admin_with(key).await);
    let told = vec![
        code(scores.submit(SubmitRequest::default()).await),
        code(scores.submit_batch(wire::v1::SubmitBatchRequest::default()).await),
        code(scores.top(TopRequest::default()).await),
        code(scores.entry(wire::v1::EntryRequest::default()).await),
        code(scores.receipt(wire::v1::ReceiptRequest::default()).await),
        code(scores.watch(WatchRequest::default()).await),
    ];
    let managed = vec![
        code(admin.create_issuer_key(CreateIssuerKeyRequest::default()).await),
        code(admin.list_issuer_keys(ListIssuerKeysRequest {}).await),
        code(admin.revoke_issuer_key(RevokeIssuerKeyRequest::default()).await),
        code(admin.list_boards(ListBoardsRequest {}).await),
        code(admin.get_board(GetBoardRequest::default()).await),
        code(admin.set_action_type(SetActionTypeRequest::default()).await),
        code(admin.remove_action_type(RemoveActionTypeRequest::default()).await),
        code(admin.set_stream_token(SetStreamTokenRequest::default()).await),
    ];
    (told, managed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_what_it_may_and_nothing_else() {
    let node = Node::start().await;
    let all = |codes: &[Code], expected: Code| codes.iter().all(|code| *code == expected);
    let none = |codes: &[Code]| {
        codes.iter().all(|code| ![Code::PermissionDenied, Code::Unauthenticated, Code::Internal].contains(code))
    };
    let (scores, admin) = codes(&node, &node.key_of("referee")).await;
    assert!(none(&scores) && all(&admin, Code::PermissionDenied), "{scores:?} {admin:?}");
    let (scores, admin) = codes(&node, &node.key_of("operator")).await;
    assert!(all(&scores, Code::PermissionDenied) && none(&admin), "{scores:?} {admin:?}");
    // One that may have actions signed, a service of ours, nearly the right one, its hash, nothing.
    let near = format!("{}A", node.key_of("referee"));
    let hash = std::fs::read_to_string(node.dir().join("gateway/caller-referee.score")).unwrap();
    for key in [node.key_of("arena"), node.key_of("realtime-fanout"), node.key_of("gateway"), near, hash, String::new()]
    {
        let (scores, admin) = codes(&node, &key).await;
        assert!(all(&scores, Code::Unauthenticated) && all(&admin, Code::Unauthenticated), "{scores:?} {admin:?}");
    }
    let refused = node.scores_with("x").await.top(TopRequest::default()).await.unwrap_err();
    assert_eq!(refusal_from_status(&refused).code, ErrorCode::Unauthenticated);
    let refused = node.admin_with(&node.key_of("referee")).await.list_boards(ListBoardsRequest {}).await.unwrap_err();
    assert_eq!(refusal_from_status(&refused).code, ErrorCode::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_come_and_go_when_the_secrets_are_read_again() {
    let node = Node::start().await;
    create_caller(node.dir(), "late", &[Permission::Score]).unwrap();
    let mut late = node.scores_with(&node.key_of("late")).await;
    assert_eq!(late.top(TopRequest::default()).await.unwrap_err().code(), Code::Unauthenticated);
    node.gateway.reload(GatewaySecrets::load(node.dir()).unwrap());
    late.top(TopRequest::default()).await.unwrap();
    std::fs::remove_file(node.dir().join("gateway/caller-late.score")).unwrap();
    node.gateway.reload(GatewaySecrets::load(node.dir()).unwrap());
    assert_eq!(late.top(TopRequest::default()).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_need_no_key() {
    let node = Node::start().await;
    let mut health = HealthClient::new(node.channel().await);
    for service in SERVICES.iter().chain(&[""]) {
        let answer = health.check(HealthCheckRequest { service: (*service).to_owned() }).await.unwrap();
        assert_eq!(answer.get_ref().status(), ServingStatus::Serving, "{service}");
    }
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(node.channel().await);
    let answers = reflection.server_reflection_info(stream::iter([ask])).await.unwrap().into_inner();
    let answer = answers.boxed().next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(listed) = answer else { panic!("{answer:?}") };
    for service in SERVICES {
        assert!(listed.service.iter().any(|known| known.name == service), "{listed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_kept_when_it_is_well_formed() {
    let node = Node::start().await;
    let mut scores = node.scores().await;
    let mut ask = async |id: &'static str| {
        let mut request = Request::new(TopRequest::default());
        request.metadata_mut().insert("x-request-id", id.parse().unwrap());
        let answer = scores.top(request).await.unwrap();
        answer.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(ask("match-7.a_B").await, "match-7.a_B");
    assert_eq!(ask("a b").await.len(), 32, "ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_large_is_refused() {
    let node = Node::start().await;
    let ada = node.players(1).await.remove(0);
    let refused = submit(&mut node.scores().await, update(&ada, &"x".repeat(200_000), 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_goes_on_is_told_to_stop_and_callers_are_not_concerned() {
    let node = Node::start_with(&[("limits.address_anonymous_per_hour", "3")]).await;
    let mut stranger = node.scores_with("x").await;
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(refusal_from_status(&stranger.top(TopRequest::default()).await.unwrap_err()).code);
    }
    let (refused, limited) = (ErrorCode::Unauthenticated, ErrorCode::RateLimited);
    assert_eq!(told, [refused, refused, refused, limited]);
    node.scores().await.top(TopRequest::default()).await.unwrap();
}
