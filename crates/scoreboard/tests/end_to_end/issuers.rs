//! Boards that the operator makes and game servers move: the command line beside a running product, issuer keys, and
//! actions signed by auth.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::clock::Clock as _;
use common::ids::{ActionId, ActionType, BoardId, UserId};
use common::signature::{SignedAction, SigningKey};
use runtime::clock::SystemClock;
use serde_json::{Value, json};
use testkit::waiting::eventually;
use tonic::Request;
use wire::v1::SignActionRequest;
use wire::v1::auth_service_client::AuthServiceClient;

use crate::client::{Answer, Client, Player};
use crate::deployment::Deployment;

/// What running servers may take to follow a change of the rules, with what a busy machine adds.
pub(crate) const RULES_FOLLOWED: Duration = Duration::from_secs(10);
/// What is promised for a revoked key.
pub(crate) const REVOKED_WITHIN: Duration = Duration::from_secs(5);

/// A signature's key, and the name that goes with it.
pub(crate) struct Signer {
    pub(crate) key: SigningKey,
    pub(crate) key_id: Option<String>,
}

pub(crate) fn key(text: &Value) -> SigningKey {
    let bytes = URL_SAFE_NO_PAD.decode(text.as_str().expect("a key")).expect("base64url");
    SigningKey::from_bytes(bytes.try_into().expect("32 bytes"))
}

impl Signer {
    /// The session of a new login.
    async fn session(api: &Client, name: &str) -> Self {
        let credentials = json!({"username": name, "password": "correct horse battery"});
        let grant = api.post("/api/v1/auth/login", &credentials, &[]).await.expect(200).body;
        Self { key: key(&grant["signingKey"]), key_id: None }
    }

    pub(crate) fn sign(&self, user: &str, action_type: &str, action: &str, points: i64) -> Value {
        let timestamp = SystemClock.now().to_string();
        let signed = SignedAction {
            board: &BoardId::parse("arena").unwrap(),
            user: UserId::parse(user).unwrap(),
            action_id: &ActionId::parse(action).unwrap(),
            action_type: &ActionType::parse(action_type).unwrap(),
            points: Some(points),
            timestamp: &timestamp,
        };
        let signature = signed.sign(&self.key);
        let mut body = json!({"board": "arena", "actionType": action_type, "actionId": action, "points": points,
            "timestamp": timestamp, "signature": signature});
        if let Some(key_id) = &self.key_id {
            body["keyId"] = json!(key_id);
        }
        body
    }
}

/// A command that succeeds, and what it said.
pub(crate) fn told(deployment: &Deployment, arguments: &[&str]) -> Value {
    let (code, text) = deployment.operate(&[&["--json"], arguments].concat());
    assert_eq!(code, Some(0), "{arguments:?}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

fn refused(deployment: &Deployment, exit: i32, arguments: &[&str]) {
    let (code, text) = deployment.operate(arguments);
    assert_eq!(code, Some(exit), "{arguments:?}: {text}");
}

pub(crate) async fn update(api: &Client, player: &Player, body: &Value) -> Answer {
    api.post("/api/v1/score/update", body, &[("authorization", &player.bearer())]).await
}

/// The operator makes the board `arena`: `win` is for game servers, `tap` for everybody.
async fn the_operator_makes_a_board(deployment: &Deployment) {
    refused(deployment, 2, &["board", "create", "Arena"]);
    assert_eq!(told(deployment, &["board", "create", "arena"])["actionTypes"], json!([]));
    refused(deployment, 1, &["board", "create", "arena"]);
    let set = ["board", "action-type", "set", "arena"];
    for (exit, wrong) in [
        (2, &["win", "--proof", "token", "--min", "1", "--max", "2", "--daily-cap", "9"][..]),
        (2, &["win", "--proof", "issuer", "--min", "2", "--max", "1", "--daily-cap", "9"]),
        (2, &["win", "--proof", "issuer", "--points", "1", "--daily-cap", "-1"]),
        (2, &["win", "--proof", "issuer", "--points", "9007199254740992", "--daily-cap", "1"]),
        (2, &["win", "--proof", "issuer", "--daily-cap", "9"]),
        (2, &["win", "--proof", "issuer", "--points", "1", "--min", "1", "--max", "2", "--daily-cap", "9"]),
        (2, &["win", "--proof", "none", "--points", "1", "--daily-cap", "9"]),
        (2, &["a b", "--proof", "issuer", "--points", "1", "--daily-cap", "9"]),
    ] {
        refused(deployment, exit, &[&set[..], wrong].concat());
    }
    let elsewhere = ["board", "action-type", "set", "nowhere", "x", "--proof", "session", "--points", "1"];
    refused(deployment, 1, &[&elsewhere[..], &["--daily-cap", "9"]].concat());
    let win = ["win", "--proof", "issuer", "--min", "-5", "--max", "100", "--default", "5", "--daily-cap", "100000"];
    told(deployment, &[&set[..], &win].concat());
    let shown =
        told(deployment, &[&set[..], &["tap", "--proof", "session", "--points", "3", "--daily-cap", "9"]].concat());
    assert_eq!(told(deployment, &["board", "show", "arena"]), shown);
    assert_eq!(told(deployment, &["board", "list"])["boards"][0], shown, "by id, with arena first");

    let types = json!([
        {"actionType": "tap", "proof": "session", "minPoints": 3, "maxPoints": 3, "defaultPoints": 3, "dailyCap": 9},
        {"actionType": "win", "proof": "issuer", "minPoints": -5, "maxPoints": 100, "defaultPoints": 5,
            "dailyCap": 100_000},
    ]);
    assert_eq!(shown["actionTypes"], types);
    eventually(RULES_FOLLOWED, "the running servers to follow", async || {
        let answer = deployment.api.get("/api/v1/boards/arena").await;
        if answer.status == 200 && answer.body["actionTypes"] == types { Ok(()) } else { Err(answer.body.to_string()) }
    })
    .await;
}

/// Whatever a client sends of its own, `win` does not move.
async fn a_client_cannot_move_it(api: &Client, player: &Player, session: &Signer, key_id: &str) {
    let own = session.sign(&player.id, "win", "own", 50);
    assert_eq!(update(api, player, &own).await.expect(400).code(), "issuer_proof_required");
    for named in [key_id, "iss_unknown", "", "session"] {
        let mut body = own.clone();
        body["keyId"] = json!(named);
        let answer = update(api, player, &body).await;
        assert_eq!(answer.code(), "invalid_signature", "{named}: {}", answer.body);
    }
    for (field, value) in [("userId", json!(player.id)), ("idempotencyKey", json!("k")), ("proof", json!("issuer"))] {
        let mut body = own.clone();
        body[field] = value;
        assert_eq!(update(api, player, &body).await.code(), "issuer_proof_required", "{field}");
    }
    api.get(&format!("/api/v1/scoreboard/users/{}?board=arena", player.id)).await.expect(404);
}

/// What auth signs for the game server `arena`.
async fn signed_by_auth(deployment: &Deployment, service_key: &str, user: &str, action: &str) -> Value {
    let mut auth = AuthServiceClient::connect(deployment.auth_url()).await.expect("auth answers");
    let mut request = Request::new(SignActionRequest {
        user_id: user.to_owned(),
        board: "arena".to_owned(),
        action_id: action.to_owned(),
        action_type: "win".to_owned(),
        points: Some(20),
    });
    request.metadata_mut().insert("authorization", format!("Bearer {service_key}").parse().unwrap());
    let signed = auth.sign_action(request).await.expect("a signature").into_inner();
    json!({"board": "arena", "actionType": "win", "actionId": action, "points": 20,
        "timestamp": signed.timestamp, "signature": signed.signature, "keyId": signed.key_id})
}

async fn game_servers_move_it(deployment: &Deployment, secrets: &str) {
    let api = &deployment.api;
    the_operator_makes_a_board(deployment).await;
    let made = told(deployment, &["key", "issuer", "create", "arena server"]);
    let key_id = made["keyId"].as_str().expect("an id").to_owned();
    let issuer = Signer { key: key(&made["secret"]), key_id: Some(key_id.clone()) };

    let (player, other) = (api.join("Arena.One").await, api.join("Arena.Two").await);
    let session = Signer::session(api, "Arena.One").await;
    a_client_cannot_move_it(api, &player, &session, &key_id).await;

    // A key that was made a moment ago is known to the first update that names it.
    let scored = async |body: Value| update(api, &player, &body).await.expect(200).body["newScore"].as_i64();
    assert_eq!(scored(issuer.sign(&player.id, "win", "won", 50)).await, Some(50));
    assert_eq!(scored(issuer.sign(&player.id, "tap", "tap-1", 3)).await, Some(53), "stronger than the type asks for");
    let out_of_bounds = issuer.sign(&player.id, "win", "too-much", 101);
    assert_eq!(update(api, &player, &out_of_bounds).await.code(), "points_out_of_range");

    let service_key = std::fs::read_to_string(format!("{secrets}/arena/service-key")).expect("the caller's key");
    let body = signed_by_auth(deployment, &service_key, &player.id, "signed").await;
    let stolen = update(api, &other, &body).await;
    assert_eq!(stolen.code(), "invalid_signature", "signed for somebody else: {}", stolen.body);
    assert_eq!(scored(body).await, Some(73));

    told(deployment, &["key", "issuer", "revoke", &key_id]);
    let mut attempts = 0;
    eventually(REVOKED_WITHIN, "the revoked key to be refused", || {
        attempts += 1;
        let body = issuer.sign(&player.id, "win", &format!("late-{attempts}"), 0);
        let player = &player;
        async move {
            let answer = update(api, player, &body).await;
            if answer.code() == "invalid_signature" { Ok(()) } else { Err(answer.body.to_string()) }
        }
    })
    .await;
    refused(deployment, 1, &["key", "issuer", "revoke", &key_id]);
    let listed = told(deployment, &["key", "issuer", "list"]);
    assert!(listed["issuerKeys"][0]["revokedAt"].is_string(), "{listed}");
    assert!(!listed.to_string().contains(made["secret"].as_str().unwrap()), "shown once");
    let body = signed_by_auth(deployment, &service_key, &player.id, "signed-2").await;
    assert_eq!(scored(body).await, Some(93), "another's key is not concerned");

    told(deployment, &["board", "action-type", "remove", "arena", "tap"]);
    refused(deployment, 1, &["board", "action-type", "remove", "arena", "tap"]);
    eventually(RULES_FOLLOWED, "the type to be gone", async || {
        let answer = update(api, &player, &session.sign(&player.id, "tap", "tap-2", 3)).await;
        if answer.code() == "unknown_action_type" { Ok(()) } else { Err(answer.body.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_game_servers_move_a_board_of_theirs_embedded() {
    let mut deployment = Deployment::embedded().await;
    let secrets = deployment.dir().join("data/secrets").display().to_string();
    told(&deployment, &["key", "caller", "create", &secrets, "arena"]);
    refused(&deployment, 2, &["key", "caller", "create", &secrets, "gateway"]);
    // Auth lets a new caller in when it starts.
    deployment.process().stop().await;
    deployment.start_again().await;
    game_servers_move_it(&deployment, &secrets).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_game_servers_move_a_board_of_theirs_on_four_processes() {
    let deployment = Deployment::four_processes().await;
    let secrets = deployment.dir().join("secrets").display().to_string();
    game_servers_move_it(&deployment, &secrets).await;
    let place = deployment.place.as_ref().expect("servers").operator().await;
    let proofs = place.query("SELECT action_id, proof FROM actions WHERE outcome = 'applied' ORDER BY action_id", &[]);
    let proofs: Vec<(String, String)> = proofs.await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    assert!(proofs.iter().all(|(_, proof)| proof == "issuer"), "{proofs:?}");
    for action in ["signed", "tap-1", "won"] {
        assert!(proofs.iter().any(|(known, _)| known == action), "{action}: {proofs:?}");
    }
    drop(place);
    deployment.stop().await;
}
