//! The error table, row by row over real HTTP: status, code, headers, and that nothing moved.

use std::collections::BTreeSet;
use std::time::Duration;

use common::clock::Clock as _;
use common::error_code::ErrorCode;
use runtime::clock::SystemClock;
use serde_json::{Value, json};
use testkit::proxy::Proxy;
use testkit::waiting::eventually;

use crate::client::{Answer, Client, PASSWORD, Player};
use crate::deployment::Deployment;
use crate::ledger::{and, outcomes};
use crate::raw_http::{last_answer, last_answer_after_end};
use crate::servers::server;
use crate::token_mint::TokenMint;

#[tokio::test(flavor = "multi_thread")]
async fn the_error_table_embedded() {
    error_table(Deployment::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_table_distributed() {
    error_table(Deployment::distributed().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_are_refused_with_an_honest_wait() {
    let deployment = Deployment::embedded_with(&[("SCOREBOARD__LIMITS__USER_UPDATES_PER_MINUTE", "10")]).await;
    let player = deployment.api.join("hasty").await;
    for n in 0..10 {
        let answer = deployment.api.score(&player, &format!("a-{n}"), 1).await.expect(200);
        assert!(answer.header("ratelimit-policy").contains("\"user-updates\";q=10;w=60"), "{:?}", answer.headers);
        assert!(answer.header("ratelimit").contains(&format!("\"user-updates\";r={}", 9 - n)), "{:?}", answer.headers);
    }
    let refused = deployment.api.score(&player, "a-10", 1).await.expect(429);
    assert_eq!((refused.code(), &refused.body["error"]["details"]["limit"]), ("rate_limited", &json!("user-updates")));
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=6).contains(&wait), "one passes every six seconds, not after {wait}");
    assert_eq!(deployment.version().await, 10);
    // Repeats of what was answered cost nothing, and somebody else has a rate of their own.
    let other = deployment.api.join("calm").await;
    deployment.api.score(&other, "a-0", 1).await.expect(200);
    deployment.stop().await;
}

/// A request, the status and the code that it is refused with.
struct Row {
    what: &'static str,
    answer: Answer,
    status: u16,
    code: &'static str,
    field: Option<&'static str>,
}

async fn error_table(deployment: Deployment) {
    let api = deployment.api.clone();
    let (ada, bob) = (api.join("ada").await, api.join("bob").await);
    let slow = tokio::spawn(of_slow_requests(api.clone()));
    api.score(&ada, "used", 5).await.expect(200);
    let keyed = [("authorization", ada.bearer()), ("idempotency-key", "taken".to_owned())];
    let keyed: Vec<(&str, &str)> = keyed.iter().map(|(name, value)| (*name, value.as_str())).collect();
    api.post(UPDATE, &ada.signed("keyed", 1), &keyed).await.expect(200);
    let (before, ledger) = (deployment.version().await, outcomes(&deployment).await);

    let mut rows = of_shape(&api, &ada).await;
    rows.extend(of_proof(&api, &ada, &bob, &keyed).await);
    rows.extend(of_tokens(&deployment, &ada).await);
    rows.extend(of_accounts(&api).await);
    rows.extend(of_paths(&api).await);
    rows.extend(of_requests(&api).await);
    rows.extend(of_spoilt_bodies(&api, &ada).await);
    rows.extend(slow.await.expect("no panic"));
    let mut walked: BTreeSet<&str> = rows.iter().map(|row| row.code).collect();
    for row in rows {
        let Row { what, answer, status, code, field } = row;
        assert_eq!((answer.status, answer.code()), (status, code), "{what}: {}", answer.body);
        let error = &answer.body["error"];
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{what}: {error}");
        assert_eq!(error["requestId"], json!(answer.header("x-request-id")), "{what}");
        assert_eq!(status == 401, answer.header("www-authenticate").starts_with("Bearer"), "{what}");
        if let Some(field) = field {
            assert_eq!(error["details"]["field"], field, "{what}");
        }
        match code {
            "duplicate_action" => assert_eq!(error["details"]["receipt"]["newScore"], 5, "{what}: {error}"),
            "method_not_allowed" => assert!(!answer.header("allow").is_empty(), "{what}"),
            "origin_not_allowed" => {
                assert_eq!(error["details"]["setting"], "SCOREBOARD__HTTP__ALLOWED_ORIGINS", "{what}");
            }
            _ => {}
        }
    }
    assert_eq!(deployment.version().await, before, "nothing of it moved the board");
    let line = api.get(&format!("/api/v1/scoreboard/users/{}", ada.id)).await.expect(200).body;
    assert_eq!(line["score"], 6, "nothing of it moved a score");
    assert_eq!(outcomes(&deployment).await, ledger, "nothing of it left a row");
    // Requests that are none are answered and counted, by the hundred if need be, and fill no log.
    let log = deployment.process().log();
    let loud = log.lines().find(|line| line.contains("ERROR") || line.contains("stream error"));
    assert_eq!(loud, None, "nothing that a client sends is a fault of ours");
    daily_cap(&api).await;
    let ledger = and(and(ledger, "applied", 101), "daily_cap_reached", 1);
    assert_eq!(outcomes(&deployment).await, ledger, "the refused one is on record as refused");
    // Rates and a broker that takes no work have tests of their own; a fault of ours nobody can ask for.
    walked.extend(["daily_cap_reached", "rate_limited", "unavailable", "request_in_progress", "internal"]);
    let all: BTreeSet<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(walked, all, "every row of the table is walked");
    deployment.stop().await;
}

const UPDATE: &str = "/api/v1/score/update";

fn row(what: &'static str, answer: Answer, status: u16, code: &'static str, field: Option<&'static str>) -> Row {
    Row { what, answer, status, code, field }
}

async fn of_shape(api: &Client, ada: &Player) -> Vec<Row> {
    let bearer = ada.bearer();
    let as_ada: &[(&str, &str)] = &[("authorization", &bearer)];
    let json_type = ("content-type", "application/json");
    let mut rows = Vec::new();
    let changed = |name: &str, value: Value| {
        let mut body = ada.signed("shape", 5);
        body[name] = value;
        body
    };
    for (what, body, field) in [
        ("no action", changed("actionId", Value::Null), "actionId"),
        ("a malformed action", changed("actionId", json!("a b")), "actionId"),
        ("a long action", changed("actionId", json!("a".repeat(129))), "actionId"),
        ("points that are no integer", changed("points", json!(1.5)), "points"),
        ("a malformed timestamp", changed("timestamp", json!("yesterday")), "timestamp"),
        ("no timestamp", changed("timestamp", Value::Null), "timestamp"),
        ("no signature", changed("signature", Value::Null), "signature"),
        ("a malformed board", changed("board", json!("No Board")), "board"),
        ("a malformed key", changed("idempotencyKey", json!("with space")), "idempotencyKey"),
    ] {
        rows.push(row(what, api.post(UPDATE, &body, as_ada).await, 400, "invalid_request", Some(field)));
    }
    for (what, body) in [("no JSON", "{"), ("no object", "[]"), ("nothing", "")] {
        let answer = api.raw("POST", UPDATE, &[as_ada[0], json_type], body).await;
        rows.push(row(what, answer, 400, "invalid_request", None));
    }
    let typeless = api.raw("POST", UPDATE, &[as_ada[0], ("content-type", "text/plain")], "{}").await;
    rows.push(row("another media type", typeless, 415, "unsupported_media_type", None));
    let large = format!("{{\"actionId\":\"{}\"}}", "x".repeat(17_000));
    let large = api.raw("POST", UPDATE, &[as_ada[0], json_type], &large).await;
    rows.push(row("a large body", large, 413, "payload_too_large", None));
    rows
}

async fn of_proof(api: &Client, ada: &Player, bob: &Player, keyed: &[(&str, &str)]) -> Vec<Row> {
    let bearer = ada.bearer();
    let as_ada: &[(&str, &str)] = &[("authorization", &bearer)];
    let mut rows = Vec::new();
    for (what, headers) in [
        ("no token", vec![]),
        ("another scheme", vec![("authorization", "Basic YTpi")]),
        ("no JWT", vec![("authorization", "Bearer junk")]),
        ("a JWT of nobody", vec![("authorization", "Bearer eyJhbGciOiJub25lIn0.e30.")]),
    ] {
        rows.push(row(what, api.post(UPDATE, &ada.signed("t", 1), &headers).await, 401, "unauthenticated", None));
    }
    let mut foreign = ada.signed("foreign", 1);
    foreign["userId"] = json!(bob.id);
    rows.push(row("somebody else's score", api.post(UPDATE, &foreign, as_ada).await, 403, "forbidden", None));
    let upper = ada.signed("upper", 1)["signature"].as_str().unwrap().to_uppercase();
    for (what, signature) in [("zeros", "0".repeat(64)), ("upper case", upper), ("short", "ab".to_owned())] {
        let mut body = ada.signed("upper", 1);
        body["signature"] = json!(signature);
        rows.push(row(what, api.post(UPDATE, &body, as_ada).await, 400, "invalid_signature", None));
    }
    let mut unknown_key = ada.signed("issuer", 1);
    unknown_key["keyId"] = json!("nobody");
    rows.push(row("an unknown keyId", api.post(UPDATE, &unknown_key, as_ada).await, 400, "invalid_signature", None));
    rows.push(row("a used action", api.score(ada, "used", 5).await, 409, "duplicate_action", None));
    rows.push(row("too many points", api.score(ada, "many", 1001).await, 400, "points_out_of_range", Some("points")));
    rows.push(row("no points", api.score(ada, "none", 0).await, 400, "points_out_of_range", Some("points")));
    let reused = api.post(UPDATE, &ada.signed("keyed", 2), keyed).await;
    rows.push(row("a key with other content", reused, 422, "idempotency_key_reused", None));
    let task = |points: i64| json!({"actionId": "fixed", "points": points, "actionType": "task"});
    let fixed = api.post(UPDATE, &task(11), as_ada).await;
    rows.push(row("fixed points", fixed, 400, "points_out_of_range", Some("points")));
    let typed = api.post(UPDATE, &json!({"actionId": "x", "actionType": "nothing"}), as_ada).await;
    rows.push(row("an unknown type", typed, 400, "unknown_action_type", None));
    let boarded = api.post(UPDATE, &json!({"actionId": "x", "board": "nowhere"}), as_ada).await;
    rows.push(row("an unknown board", boarded, 404, "unknown_board", None));
    rows
}

/// Tokens, and an action type that only game servers move.
async fn of_tokens(deployment: &Deployment, ada: &Player) -> Vec<Row> {
    let api = &deployment.api;
    for arguments in [
        &["board", "create", "arena"][..],
        &["board", "action-type", "set", "arena", "win", "--proof", "issuer", "--points", "5", "--daily-cap", "50"],
    ] {
        let (code, told) = deployment.operate(arguments);
        assert_eq!(code, Some(0), "{told}");
    }
    eventually(Duration::from_secs(10), "the board to be followed", async || {
        let board = api.get("/api/v1/boards/arena").await;
        if board.body["actionTypes"][0]["actionType"] == "win" { Ok(()) } else { Err(board.body.to_string()) }
    })
    .await;
    let post = async |token: &str, body: &Value| {
        api.post(UPDATE, body, &[("authorization", &format!("Bearer {token}"))]).await
    };
    let mut win = ada.signed("win", 5);
    (win["board"], win["actionType"]) = (json!("arena"), json!("win"));
    let mut rows = vec![row("only game servers", post(&ada.token, &win).await, 400, "issuer_proof_required", None)];
    for offset_s in [-301, 301] {
        let late = ada.signed_at(SystemClock.now().plus_millis(offset_s * 1000), "late", 1);
        rows.push(row("another time", post(&ada.token, &late).await, 400, "stale_timestamp", Some("timestamp")));
    }
    let expired = TokenMint::of(deployment, ada).expired();
    rows.push(row("an expired token", post(&expired, &ada.signed("e", 1)).await, 401, "token_expired", None));
    let gone = api.login("ada").await;
    api.post("/api/v1/auth/logout", &json!({}), &[("authorization", &gone.bearer())]).await.expect(204);
    rows.push(row("an ended session", post(&gone.token, &gone.signed("g", 1)).await, 401, "token_revoked", None));
    rows
}

/// What an HTTP library would not send.
async fn of_requests(api: &Client) -> Vec<Row> {
    let head = |first: &str, field: &str| vec![format!("{first}\r\nHost: x\r\n{field}\r\n")];
    let get = "GET /api/v1/scoreboard/top HTTP/1.1";
    let long = format!("GET /{} HTTP/1.1", "a".repeat(70_000));
    let good = format!("{get}\r\nHost: x\r\n\r\n");
    let large = format!("A: {}\r\n", "a".repeat(200_000));
    let socket = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://evil.example\r\n";
    let mut rows = Vec::new();
    for (what, parts, status, code) in [
        ("no HTTP", vec!["\u{16}\u{3}\u{1}\r\n\r\n".to_owned()], 400, "invalid_request"),
        ("no HTTP after HTTP", vec![good.clone(), "junk\r\n\r\n".to_owned()], 400, "invalid_request"),
        ("no host", vec![format!("{get}\r\n\r\n")], 400, "invalid_request"),
        ("a bad length", head(get, "Content-Length: x\r\n"), 400, "invalid_request"),
        ("a long line", head(&long, ""), 414, "uri_too_long"),
        ("a long second line", [vec![good.clone()], head(&long, "")].concat(), 414, "uri_too_long"),
        ("a large head", head(get, &large), 431, "headers_too_large"),
        ("a large second head", [vec![good], head(get, &large)].concat(), 431, "headers_too_large"),
        ("a foreign page", head("GET /ws/scoreboard HTTP/1.1", socket), 403, "origin_not_allowed"),
    ] {
        rows.push(row(what, last_answer(api, &parts).await, status, code, None));
    }
    rows
}

/// Bodies that go wrong, on paths whose handlers ask others before and after they read them.
async fn of_spoilt_bodies(api: &Client, ada: &Player) -> Vec<Row> {
    let mut rows = Vec::new();
    for path in [UPDATE, "/api/v1/auth/login"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Type: application/json\r\n",
            ada.bearer()
        );
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        for (what, parts) in [
            ("bad chunks", vec![chunked.clone(), "zz\r\n".to_owned()]),
            ("bad chunks at once", vec![format!("{chunked}2\r\n{{}}\r\nzz\r\n")]),
        ] {
            rows.push(row(what, last_answer(api, &parts).await, 400, "invalid_request", None));
        }
        for early in [format!("{head}Content-Length: 100\r\n\r\n{{"), format!("{chunked}5\r\n{{")] {
            rows.push(row("an early end", last_answer_after_end(api, &[early]).await, 400, "invalid_request", None));
        }
    }
    rows
}

/// Fifteen seconds each, all at once.
async fn of_slow_requests(api: Client) -> Vec<Row> {
    let good = "GET /api/v1/scoreboard/top HTTP/1.1\r\nHost: x\r\n\r\n".to_owned();
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Connection: close\r\nContent-Length: 100\r\n";
    let began = std::time::Instant::now();
    let (slow, second, body) = (vec![head.to_owned()], vec![good, head.to_owned()], vec![format!("{head}\r\n{{")]);
    let (slow, second, body) =
        tokio::join!(last_answer(&api, &slow), last_answer(&api, &second), last_answer(&api, &body));
    assert!((15..20).contains(&began.elapsed().as_secs()), "fifteen seconds, not {:?}", began.elapsed());
    [("a slow head", slow), ("a slow second head", second), ("a slow body", body)]
        .map(|(what, answer)| row(what, answer, 408, "request_timeout", None))
        .into()
}

async fn of_accounts(api: &Client) -> Vec<Row> {
    let credentials = |name: &str, password: &str| json!({"username": name, "password": password});
    let post = async |path: &str, body: Value| api.post(&format!("/api/v1/auth/{path}"), &body, &[]).await;
    let grant = post("login", credentials("ada", PASSWORD)).await.expect(200).body;
    let first = grant["refreshToken"].clone();
    let second = post("refresh", json!({"refreshToken": first})).await.expect(200).body["refreshToken"].clone();
    post("refresh", json!({"refreshToken": second})).await.expect(200);
    vec![
        row("a taken name", post("register", credentials("ADA", PASSWORD)).await, 409, "username_taken", None),
        row("a bad name", post("register", credentials("a", PASSWORD)).await, 400, "invalid_request", Some("username")),
        row(
            "a short password",
            post("register", credentials("x-y", "short")).await,
            400,
            "invalid_request",
            Some("password"),
        ),
        row(
            "a wrong password",
            post("login", credentials("ada", "wrong password")).await,
            401,
            "invalid_credentials",
            None,
        ),
        row("nobody", post("login", credentials("nobody-here", PASSWORD)).await, 401, "invalid_credentials", None),
        row("no refresh token", post("refresh", json!({})).await, 400, "invalid_request", Some("refreshToken")),
        row("a made-up token", post("refresh", json!({"refreshToken": "x"})).await, 401, "unauthenticated", None),
        row("an old token", post("refresh", json!({"refreshToken": first})).await, 401, "refresh_token_reused", None),
    ]
}

async fn of_paths(api: &Client) -> Vec<Row> {
    let mut rows = vec![
        row("no path", api.get("/nothing/here").await, 404, "not_found", None),
        row("another method", api.get(UPDATE).await, 405, "method_not_allowed", None),
        row("no player", api.get("/api/v1/scoreboard/users/nobody").await, 404, "not_found", None),
        row("no board", api.get("/api/v1/boards/nowhere").await, 404, "unknown_board", None),
        row("no board's top", api.get("/api/v1/scoreboard/top?board=nowhere").await, 404, "unknown_board", None),
        row("no handshake", api.get("/ws/scoreboard").await, 400, "invalid_request", None),
    ];
    for limit in ["0", "101", "x", "", "-1"] {
        let answer = api.get(&format!("/api/v1/scoreboard/top?limit={limit}")).await;
        rows.push(row("a limit out of range", answer, 400, "invalid_request", Some("limit")));
    }
    let around = api.get("/api/v1/scoreboard/users/nobody?around=51").await;
    rows.push(row("too many neighbors", around, 400, "invalid_request", Some("around")));
    rows
}

/// The first request waits for a broker that does not answer; the same again meanwhile is told so.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_takes_no_work_is_told_and_a_repeat_is_told_to_wait() {
    let broker = Proxy::before(&server("SCOREBOARD_TEST_AMQP_URL")).await;
    let deployment = Deployment::distributed_with(&[("SCOREBOARD__AMQP__URL", &broker.url())]).await;
    let api = deployment.api.clone();
    let player = api.join("patient").await;
    api.score(&player, "before", 3).await.expect(200);
    let (before, body) = (deployment.version().await, player.signed("during", 5));
    broker.freeze(true);
    let post = || {
        let (api, body, bearer) = (api.clone(), body.clone(), player.bearer());
        async move { api.post(UPDATE, &body, &[("authorization", &bearer), ("idempotency-key", "once")]).await }
    };
    // Either may come first.
    let (one, other) = tokio::join!(post(), post());
    let (first, second) = if one.status == 503 { (one, other) } else { (other, one) };
    assert_eq!((second.code(), second.header("retry-after")), ("request_in_progress", "1"));
    assert_eq!((first.status, first.code()), (503, "unavailable"), "{}", first.body);
    assert!(!first.header("retry-after").is_empty());
    assert_eq!(first.body["error"]["requestId"], json!(first.header("x-request-id")));
    assert_eq!(deployment.version().await, before, "nothing moved");
    broker.freeze(false);
    let applied = eventually(Duration::from_secs(30), "the same request to be taken", async || {
        let answer = post().await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(applied.body["newScore"], 8, "once, whatever became of the first");
    deployment.stop().await;
}

/// A hundred tasks of ten points are a day's.
async fn daily_cap(api: &Client) {
    let player = api.join("busy").await;
    let bearer = player.bearer();
    for n in 0..100 {
        api.post("/update-score", &json!({"actionId": format!("t-{n}")}), &[("authorization", &bearer)])
            .await
            .expect(200);
    }
    let own = async || api.get(&format!("/api/v1/scoreboard/users/{}", player.id)).await.expect(200).body;
    let before = own().await;
    let refused =
        api.post("/update-score", &json!({"actionId": "t-100"}), &[("authorization", &bearer)]).await.expect(429);
    assert_eq!(own().await, before, "it moved nothing");
    assert_eq!(refused.code(), "daily_cap_reached");
    let wait: u64 = refused.header("retry-after").parse().expect("seconds until midnight UTC");
    assert!((1..=86_400).contains(&wait), "{wait}");
    assert!(refused.body["error"]["details"]["limit"].is_string());
    // Another type has a cap of its own, and the refused action was not used up.
    api.score(&player, "t-100", 1).await.expect(200);
}
