//! Security events, read from the log of a real process: who tried what from where, and never a secret.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::waiting::eventually;

use crate::client::{Client, PASSWORD, Player};
use crate::deployment::Deployment;

const UPDATE: &str = "/api/v1/score/update";

/// The lines that tell of an event.
async fn events(deployment: &Deployment, event: &str) -> Vec<Value> {
    eventually(Duration::from_secs(5), &format!("the event {event}"), async || {
        let lines: Vec<Value> = deployment
            .processes
            .iter()
            .flat_map(|(_, process)| process.log().lines().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|line| serde_json::from_str(&line).ok())
            .filter(|line: &Value| line["security_event"] == event)
            .collect();
        if lines.is_empty() { None } else { Some(lines) }
    })
    .await
}

/// One line of an event has all of these.
async fn told(deployment: &Deployment, event: &str, expected: Value) {
    let lines = events(deployment, event).await;
    let fits = |line: &Value| expected.as_object().expect("fields").iter().all(|(name, value)| line[name] == *value);
    assert!(lines.iter().any(fits), "{event} with {expected} is not among {lines:#?}");
}

async fn refuse_all_kinds(api: &Client, ada: &Player) -> Vec<String> {
    let as_ada = ada.bearer();
    let as_ada: &[(&str, &str)] = &[("authorization", &as_ada), ("x-request-id", "update-1")];
    let mut forged = ada.signed("forged", 1);
    forged["signature"] = json!("0".repeat(64));
    api.post(UPDATE, &forged, as_ada).await.expect(400);
    let wrong = json!({"username": "ada", "password": "hunter2-hunter2"});
    api.post("/api/v1/auth/login", &wrong, &[("x-request-id", "login-1")]).await.expect(401);
    let second = api.login("ada").await;
    let refresh = |token: &str| json!({"refreshToken": token});
    let next = api.post("/api/v1/auth/refresh", &refresh(&second.refresh_token), &[]).await.expect(200).body;
    let third = next["refreshToken"].as_str().expect("a token").to_owned();
    let last = api.post("/api/v1/auth/refresh", &refresh(&third), &[]).await.expect(200).body;
    api.post("/api/v1/auth/refresh", &refresh(&second.refresh_token), &[("x-request-id", "reuse-1")]).await.expect(401);
    api.get_as(ada, "/api/v1/score/updates/not-mine").await.expect(404);
    let origin = [("origin", "https://evil.example"), ("x-request-id", "socket-1")];
    let handshake = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let socket = api.raw("GET", "/ws/scoreboard?board=global", &[&origin[..], &handshake].concat(), "").await;
    let refused = socket.expect(403);
    assert_eq!(refused.code(), "origin_not_allowed");
    assert_eq!(refused.body["error"]["details"]["setting"], "SCOREBOARD__HTTP__ALLOWED_ORIGINS");
    let third_login = api.login("ada").await;
    api.post("/api/v1/auth/logout", &json!({}), &[("authorization", &third_login.bearer())]).await.expect(204);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    vec![
        "hunter2".to_owned(),
        PASSWORD.to_owned(),
        ada.token.clone(),
        second.refresh_token,
        third,
        text(&last["accessToken"]),
        text(&last["signingKey"]),
        third_login.token,
    ]
}

async fn security_events_are_told(deployment: Deployment) {
    let api = deployment.api.clone();
    let ada = api.join("ada").await;
    let secrets = refuse_all_kinds(&api, &ada).await;
    let here = "127.0.0.1";
    let (update, login) = ("/api/v1/score/update", "/api/v1/auth/login");
    told(
        &deployment,
        "invalid_signature",
        json!({"user_id": ada.id, "client_address": here, "path": update, "method": "POST", "board": "global",
            "action_id": "forged", "error.code": "invalid_signature", "request_id": "update-1", "level": "WARN"}),
    )
    .await;
    told(
        &deployment,
        "invalid_credentials",
        json!({"client_address": here, "path": login, "error.code": "invalid_credentials", "request_id": "login-1"}),
    )
    .await;
    told(&deployment, "login_refused", json!({"user_id": ada.id})).await;
    let reuse = json!({"client_address": here, "path": "/api/v1/auth/refresh", "request_id": "reuse-1"});
    told(&deployment, "refresh_token_reused", reuse).await;
    let receipt = json!({"user_id": ada.id, "action_id": "not-mine", "board": "global", "client_address": here});
    told(&deployment, "receipt_of_no_own_action", receipt).await;
    let socket = json!({"client_address": here, "path": "/ws/scoreboard", "board": "global", "request_id": "socket-1"});
    told(&deployment, "origin_not_allowed", socket).await;
    told(&deployment, "logout", json!({"user_id": ada.id, "client_address": here})).await;
    for (name, process) in &deployment.processes {
        let log = process.log();
        for secret in &secrets {
            assert!(!log.contains(secret.as_str()), "{name} tells a secret: {secret}");
        }
    }
    deployment.stop().await;
}

const JSON_LOG: (&str, &str) = ("SCOREBOARD__LOG__FORMAT", "json");

#[tokio::test(flavor = "multi_thread")]
async fn security_events_are_told_embedded() {
    security_events_are_told(Deployment::embedded_with(&[JSON_LOG]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn security_events_are_told_distributed() {
    security_events_are_told(Deployment::distributed_with(&[JSON_LOG]).await).await;
}
