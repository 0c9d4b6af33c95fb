//! Actions signed for game servers, and the issuer keys that gateways verify them with.

use common::clock::{Clock as _, Timestamp};
use common::error_code::ErrorCode;
use common::ids::{ActionId, ActionType, BoardId, UserId};
use common::ports::{Authority as _, IssuerKey, NewIssuerKey};
use common::signature::{SignedAction, SigningKey};
use distributed::authority::GrpcAuthority;
use runtime::secrets::ServiceKey;
use tonic::Code;
use uuid::Uuid;
use wire::v1::{IssuerKeysRequest, SignActionRequest, SignActionResponse};

use crate::support::{Auth, Client};

const USER: UserId = UserId(Uuid::from_u128(7));

fn request() -> SignActionRequest {
    SignActionRequest {
        user_id: USER.to_string(),
        board: "arena".to_owned(),
        action_id: "match-42".to_owned(),
        action_type: "win".to_owned(),
        points: Some(100),
    }
}

async fn with_key(auth: &Auth, key: &ServiceKey) -> Client {
    let mut client = auth.client().await;
    client.key = Some(key.clone());
    client
}

async fn game_server(auth: &Auth) -> Client {
    with_key(auth, &auth.secrets.callers["arena"]).await
}

async fn sign(client: &Client, request: SignActionRequest) -> Result<SignActionResponse, tonic::Status> {
    let mut calls = client.calls.clone();
    Ok(calls.sign_action(client.request(request)).await?.into_inner())
}

/// What a gateway knows.
async fn keys(auth: &Auth) -> Vec<IssuerKey> {
    GrpcAuthority::new(&auth.url, &auth.gateway.service_key).unwrap().issuer_keys().await.unwrap()
}

fn verifies(keys: &[IssuerKey], signed: &SignActionResponse, request: &SignActionRequest) -> bool {
    let key = keys.iter().find(|key| key.key_id == signed.key_id).expect("the gateway knows the key");
    let action = SignedAction {
        board: &BoardId::parse(&request.board).unwrap(),
        user: UserId::parse(&request.user_id).unwrap(),
        action_id: &ActionId::parse(&request.action_id).unwrap(),
        action_type: &ActionType::parse(&request.action_type).unwrap(),
        points: request.points,
        timestamp: &signed.timestamp,
    };
    action.verify(&key.secret, &signed.signature)
}

#[tokio::test]
async fn what_is_signed_for_a_game_server_verifies_with_what_gateways_are_told() {
    let auth = Auth::start().await;
    let signed = sign(&game_server(&auth).await, request()).await.unwrap();
    assert_eq!(Timestamp::parse_rfc3339(&signed.timestamp).unwrap(), auth.clock.now());
    let keys = keys(&auth).await;
    assert!(verifies(&keys, &signed, &request()));
    for other in [
        SignActionRequest { points: None, ..request() },
        SignActionRequest { points: Some(101), ..request() },
        SignActionRequest { user_id: Uuid::from_u128(8).to_string(), ..request() },
        SignActionRequest { board: "global".to_owned(), ..request() },
    ] {
        assert!(!verifies(&keys, &signed, &other), "{other:?}");
    }
}

#[tokio::test]
async fn board_and_type_have_the_defaults_of_an_update() {
    let auth = Auth::start().await;
    let short = SignActionRequest { board: String::new(), action_type: String::new(), points: None, ..request() };
    let signed = sign(&game_server(&auth).await, short.clone()).await.unwrap();
    let filled = SignActionRequest { board: "global".to_owned(), action_type: "default".to_owned(), ..short };
    assert!(verifies(&keys(&auth).await, &signed, &filled));
}

#[tokio::test]
async fn nothing_malformed_is_signed() {
    let auth = Auth::start().await;
    let client = game_server(&auth).await;
    for damaged in [
        SignActionRequest { user_id: "x".to_owned(), ..request() },
        SignActionRequest { board: "a\nb".to_owned(), ..request() },
        SignActionRequest { action_id: String::new(), ..request() },
        SignActionRequest { action_id: "a\nb".to_owned(), ..request() },
        SignActionRequest { action_type: "a b".to_owned(), ..request() },
    ] {
        let refused = sign(&client, damaged.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{damaged:?}");
        assert_eq!(wire::refusal_from_status(&refused).code, ErrorCode::InvalidRequest);
    }
}

#[tokio::test]
async fn neither_gateway_nor_fanout_gets_anything_signed() {
    let auth = Auth::start().await;
    for key in [&auth.gateway.service_key, &auth.fanout.service_key] {
        let refused = sign(&with_key(&auth, key).await, request()).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
}

#[tokio::test]
async fn secrets_of_issuers_are_for_the_gateway_only() {
    let auth = Auth::start().await;
    for key in [&auth.secrets.callers["arena"], &auth.fanout.service_key] {
        let client = with_key(&auth, key).await;
        let refused = client.calls.clone().issuer_keys(client.request(IssuerKeysRequest {})).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
}

#[tokio::test]
async fn stored_keys_are_told_until_they_are_revoked_and_cannot_pass_for_a_callers() {
    let auth = Auth::start().await;
    let callers = keys(&auth).await;
    assert_eq!(callers.len(), 1, "{callers:?}");
    let new = |key_id: &str| NewIssuerKey {
        key: IssuerKey { key_id: key_id.to_owned(), secret: SigningKey::from_bytes([5; 32]) },
        name: "arena".to_owned(),
        created_at: auth.clock.now(),
    };
    auth.issuer_keys.create_issuer_key(new("iss_1")).await.unwrap();
    auth.issuer_keys.create_issuer_key(new(&callers[0].key_id)).await.unwrap();
    let told = keys(&auth).await;
    assert_eq!(told.len(), 2);
    assert!(told.contains(&new("iss_1").key) && told.contains(&callers[0]));
    assert!(auth.issuer_keys.revoke_issuer_key("iss_1", auth.clock.now()).await.unwrap());
    assert_eq!(keys(&auth).await, callers);
}
