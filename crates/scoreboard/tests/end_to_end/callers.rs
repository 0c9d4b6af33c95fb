//! Trusted callers of the gateway's gRPC: game servers that move scores, and the operator's programs.

use std::time::Duration;

use serde_json::Value;
use testkit::waiting::{eventually, within};
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use wire::v1::admin_service_client::AdminServiceClient;
use wire::v1::score_service_client::ScoreServiceClient;
use wire::v1::watch_event::Event;
use wire::v1::{
    ActionTypeRule, CreateIssuerKeyRequest, ListIssuerKeysRequest, Proof, ReceiptRequest, ReceiptStatus,
    RevokeIssuerKeyRequest, SetActionTypeRequest, SubmitRequest, TopRequest, WatchRequest,
};

use crate::client::Player;
use crate::deployment::Deployment;
use crate::issuers::{REVOKED_WITHIN, RULES_FOLLOWED, Signer, key, told, update};

/// Shows a service key.
#[derive(Clone)]
struct Key(String);

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value: MetadataValue<_> = format!("Bearer {}", self.0).parse().expect("a header");
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

/// The clients of one caller.
struct Caller {
    scores: ScoreServiceClient<InterceptedService<Channel, Key>>,
    admin: AdminServiceClient<InterceptedService<Channel, Key>>,
}

async fn caller(deployment: &Deployment, key: &str) -> Caller {
    let endpoint = Endpoint::from_shared(deployment.grpc_url.clone()).expect("a URL");
    let channel = endpoint.connect().await.expect("the gateway answers gRPC");
    let key = Key(key.to_owned());
    Caller {
        scores: ScoreServiceClient::with_interceptor(channel.clone(), key.clone()),
        admin: AdminServiceClient::with_interceptor(channel, key),
    }
}

fn service_key(secrets: &str, caller: &str) -> String {
    let key = std::fs::read_to_string(format!("{secrets}/{caller}/service-key"));
    key.expect("the caller's key").trim().to_owned()
}

fn code(status: &Status) -> &str {
    status.metadata().get("scoreboard-code").and_then(|code| code.to_str().ok()).unwrap_or_default()
}

/// An issuer key made by gRPC signs until it is revoked by gRPC.
async fn issuer_keys_live_as_long_as_the_operator_says(
    deployment: &Deployment,
    operator: &mut Caller,
    player: &Player,
) {
    let rule = ActionTypeRule {
        action_type: "win".to_owned(),
        proof: Proof::Issuer.into(),
        min_points: 1,
        max_points: 100,
        default_points: 20,
        daily_cap: 220,
    };
    let set = SetActionTypeRequest { board: "arena".to_owned(), rule: Some(rule.clone()) };
    let board = operator.admin.set_action_type(set).await.expect("the rule is set").into_inner();
    assert_eq!(board.action_types, [rule]);
    eventually(RULES_FOLLOWED, "the running servers to follow", async || {
        let answer = deployment.api.get("/api/v1/boards/arena").await;
        answer.status == 200 && answer.body["actionTypes"][0]["dailyCap"] == 220
    })
    .await;

    let named = CreateIssuerKeyRequest { name: "Arena one".to_owned() };
    let made = operator.admin.create_issuer_key(named).await.expect("a key").into_inner();
    let signer = Signer { key: key(&Value::String(made.secret.clone())), key_id: Some(made.key_id.clone()) };
    let answer = update(&deployment.api, player, &signer.sign(&player.id, "win", "signed", 50)).await.expect(200);
    assert_eq!(answer.body["newScore"], 50);

    let revoke = RevokeIssuerKeyRequest { key_id: made.key_id.clone() };
    operator.admin.revoke_issuer_key(revoke.clone()).await.expect("it was in use");
    let mut attempts = 0;
    eventually(REVOKED_WITHIN, "the revoked key to be refused", || {
        attempts += 1;
        let body = signer.sign(&player.id, "win", &format!("late-{attempts}"), 0);
        async move {
            let answer = update(&deployment.api, player, &body).await;
            if answer.code() == "invalid_signature" { Ok(()) } else { Err(answer.body.to_string()) }
        }
    })
    .await;
    assert_eq!(code(&operator.admin.revoke_issuer_key(revoke).await.unwrap_err()), "not_found");
    let listed = operator.admin.list_issuer_keys(ListIssuerKeysRequest {}).await.expect("a list").into_inner();
    assert!(listed.keys.iter().any(|key| key.key_id == made.key_id && key.revoked_at_ms.is_some()), "{listed:?}");
    // The command line and gRPC speak of the same keys.
    assert_eq!(told(deployment, &["key", "issuer", "list"])["issuerKeys"][0]["keyId"], made.key_id.as_str());
}

/// What a game server submits is on the board, on its stream and in the receipt; the rules are those of HTTP.
async fn a_game_server_moves_the_board(deployment: &Deployment, server: &mut Caller, player: &Player) {
    let win = |action: &str, points| SubmitRequest {
        user_id: player.id.clone(),
        board: "arena".to_owned(),
        action_id: action.to_owned(),
        action_type: "win".to_owned(),
        points: Some(points),
        idempotency_key: format!("key-{action}"),
        respond_async: false,
    };
    let watch = WatchRequest { board: "arena".to_owned(), ..WatchRequest::default() };
    let mut events = server.scores.watch(watch).await.expect("a stream").into_inner();
    let first = events.message().await.expect("no error").expect("an event");
    assert!(matches!(first.event, Some(Event::Snapshot(_))), "{first:?}");

    let done = server.scores.submit(win("by-grpc", 70)).await.expect("applied").into_inner();
    assert_eq!((done.status(), done.new_score, done.rank), (ReceiptStatus::Applied, Some(120), Some(1)));
    let mut seen = first.version;
    let shown = within(Duration::from_secs(5), "the change on the stream", async {
        loop {
            let event = events.message().await.expect("no error").expect("the stream goes on");
            assert!(event.version >= seen, "the version never goes back");
            seen = event.version;
            if let (Some(Event::Update(update)), Some(version)) = (event.event, done.version)
                && seen >= version
            {
                return update;
            }
        }
    })
    .await;
    assert_eq!((shown.user_id.as_str(), shown.new_score), (player.id.as_str(), 120));
    eventually(Duration::from_secs(2), "the score in the top", async || {
        let top = deployment.api.get("/api/v1/scoreboard/top?board=arena").await.expect(200).body;
        if top[0]["score"] == 120 { Ok(()) } else { Err(top.to_string()) }
    })
    .await;
    let top = TopRequest { board: "arena".to_owned(), limit: 1 };
    let top = server.scores.top(top).await.expect("a list").into_inner();
    assert_eq!((top.leaderboard[0].username.as_str(), top.leaderboard[0].score), (player.name.as_str(), 120));
    let ask = ReceiptRequest { user_id: player.id.clone(), action_id: "by-grpc".to_owned(), board: "arena".to_owned() };
    let receipt = server.scores.receipt(ask).await.expect("a receipt").into_inner().receipt.expect("one");
    assert_eq!((receipt.status(), receipt.new_score), (ReceiptStatus::Applied, Some(120)));

    let again = server.scores.submit(win("by-grpc", 70)).await.expect("the first answer").into_inner();
    assert!(again.replayed && again.new_score == Some(120) && again.version == done.version, "{again:?}");
    let without_key = |action: &str, points| SubmitRequest { idempotency_key: String::new(), ..win(action, points) };
    for (refused, expected, pair) in [
        (without_key("by-grpc", 70), "duplicate_action", Code::AlreadyExists),
        (without_key("signed", 50), "duplicate_action", Code::AlreadyExists),
        (win("too-much", 101), "points_out_of_range", Code::OutOfRange),
        (SubmitRequest { points: Some(71), ..win("by-grpc", 70) }, "idempotency_key_reused", Code::FailedPrecondition),
    ] {
        let status = server.scores.submit(refused).await.unwrap_err();
        assert_eq!((code(&status), status.code()), (expected, pair), "{status:?}");
    }
    server.scores.submit(win("to-the-cap", 100)).await.expect("up to the cap");
    let status = server.scores.submit(win("over-the-cap", 1)).await.unwrap_err();
    assert_eq!((code(&status), status.code()), ("daily_cap_reached", Code::ResourceExhausted), "{status:?}");
}

async fn callers_are_served(deployment: &Deployment, secrets: &str) {
    told(deployment, &["board", "create", "arena"]);
    let player = deployment.api.join("Called.One").await;
    let (scoring, managing) = (service_key(secrets, "may-score"), service_key(secrets, "may-admin"));
    let (mut server, mut operator) = (caller(deployment, &scoring).await, caller(deployment, &managing).await);
    issuer_keys_live_as_long_as_the_operator_says(deployment, &mut operator, &player).await;
    a_game_server_moves_the_board(deployment, &mut server, &player).await;

    let refused = server.admin.list_issuer_keys(ListIssuerKeysRequest {}).await.unwrap_err();
    assert_eq!((code(&refused), refused.code()), ("forbidden", Code::PermissionDenied));
    for key in ["", "nobody's", &service_key(secrets, "arena")] {
        let mut stranger = caller(deployment, key).await;
        let refused = stranger.scores.top(TopRequest::default()).await.unwrap_err();
        assert_eq!((code(&refused), refused.code()), ("unauthenticated", Code::Unauthenticated), "{key}");
    }
    let log: String = deployment.processes.iter().map(|(_, process)| process.log()).collect();
    assert!(log.contains("service_key_refused"), "a security event");
    for key in [&scoring, &managing, &service_key(secrets, "arena")] {
        assert!(!log.contains(key.as_str()), "no key is in a log");
    }
}

/// Whoever does not wait is answered as soon as the update is durable, and hears by receipt how it ended.
async fn an_update_that_nobody_waits_for_is_pending_first(deployment: &Deployment, secrets: &str) {
    let player = deployment.api.join("Called.Later").await;
    let mut server = caller(deployment, &service_key(secrets, "may-score")).await;
    let later = SubmitRequest {
        user_id: player.id.clone(),
        action_id: "later".to_owned(),
        points: Some(5),
        respond_async: true,
        ..SubmitRequest::default()
    };
    let pending = server.scores.submit(later).await.expect("durable").into_inner();
    assert_eq!((pending.status(), pending.new_score, pending.version), (ReceiptStatus::Pending, None, None));
    let ask = ReceiptRequest { user_id: player.id, action_id: "later".to_owned(), ..ReceiptRequest::default() };
    let receipt = eventually(Duration::from_secs(10), "the decision", || {
        let (mut scores, ask) = (server.scores.clone(), ask.clone());
        async move {
            let told = scores.receipt(ask).await.map_err(|status| status.to_string())?.into_inner();
            let receipt = told.receipt.expect("a receipt");
            if receipt.status() == ReceiptStatus::Applied { Ok(receipt) } else { Err(format!("{receipt:?}")) }
        }
    })
    .await;
    assert_eq!(receipt.new_score, Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_callers_are_served_embedded() {
    let deployment = Deployment::embedded().await;
    let secrets = deployment.dir().join("data/secrets").display().to_string();
    for permission in ["score", "admin"] {
        let name = format!("may-{permission}");
        told(&deployment, &["key", "caller", "create", &secrets, &name, "--may", permission]);
    }
    told(&deployment, &["key", "caller", "create", &secrets, "arena"]);
    // A gateway lets new callers in without being started again.
    deployment.hang_up();
    let scoring = service_key(&secrets, "may-score");
    eventually(Duration::from_secs(5), "the new caller to be let in", async || {
        caller(&deployment, &scoring).await.scores.top(TopRequest::default()).await.map(drop)
    })
    .await;
    callers_are_served(&deployment, &secrets).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_callers_are_served_by_four_processes() {
    let deployment = Deployment::four_processes().await;
    let secrets = deployment.dir().join("secrets").display().to_string();
    callers_are_served(&deployment, &secrets).await;
    let place = deployment.place.as_ref().expect("servers").operator().await;
    let rows = place.query("SELECT action_id, proof FROM actions WHERE outcome = 'applied' ORDER BY action_id", &[]);
    let rows: Vec<(String, String)> = rows.await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    let issuer = |action: &str| (action.to_owned(), "issuer".to_owned());
    assert_eq!(rows, [issuer("by-grpc"), issuer("signed"), issuer("to-the-cap")]);
    drop(place);
    an_update_that_nobody_waits_for_is_pending_first(&deployment, &secrets).await;
    deployment.stop().await;
}
