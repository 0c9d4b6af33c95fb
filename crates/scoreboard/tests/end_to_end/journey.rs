//! One update travels the whole way, and what must not travel does not.

use std::time::Duration;

use serde_json::json;
use testkit::waiting::eventually;

use crate::client::{Client, Player};
use crate::deployment::Deployment;
use crate::watcher::Watcher;

/// A change is on every screen within this of its answer.
const VISIBLE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn embedded() {
    whole_way(Deployment::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn distributed_in_one_process() {
    whole_way(Deployment::distributed().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn distributed_in_four_processes() {
    whole_way(Deployment::four_processes().await).await;
}

async fn whole_way(deployment: Deployment) {
    let api = deployment.api.clone();
    let (ada, bob) = (api.join("Ada").await, api.join("bob").await);
    let screens = [Watcher::open(&deployment.stream_url).await, Watcher::open(&deployment.stream_url).await];

    an_update_reaches_every_screen(&api, &ada, &bob, &screens).await;
    refused_updates_reach_nothing(&deployment, &ada, &bob).await;
    the_bare_task_of_the_second_document(&api, &ada).await;
    the_other_paths_reach_the_same_handlers(&api, &ada).await;
    reads_agree(&api, &ada, &bob).await;
    a_repeat_with_its_key_is_answered_again(&api, &bob).await;
    pending_is_said_only_where_the_queue_is_durable(&deployment, &bob).await;
    a_session_ends_at_once(&api).await;

    for screen in &screens {
        screen.must_never_have_gone_back();
    }
    let (exit, told) =
        if deployment.place.is_some() { deployment.operate(&["verify"]) } else { (Some(0), String::new()) };
    assert_eq!(exit, Some(0), "{told}");
    deployment.stop().await;
}

async fn an_update_reaches_every_screen(api: &Client, ada: &Player, bob: &Player, screens: &[Watcher]) {
    let first = api.score(ada, "match-1", 100).await.expect(200);
    assert_eq!(
        first.body,
        json!({"actionId": "match-1", "board": "global", "newScore": 100, "rank": 1, "version": 1, "status": "applied"})
    );
    let second = api.score(bob, "match-1", 100).await.expect(200);
    assert_eq!(
        (&second.body["rank"], &second.body["version"]),
        (&json!(2), &json!(2)),
        "who reached it first is before"
    );
    for screen in screens {
        let frame = screen
            .first(VISIBLE, "the second update", |frame| {
                frame["event"] == "score:update" && frame["data"]["version"] == 2
            })
            .await;
        let data = &frame["data"];
        assert_eq!((&data["userId"], &data["newScore"]), (&json!(bob.id), &json!(100)));
        assert_eq!(screen.shown().1, [(ada.id.clone(), 100, 1), (bob.id.clone(), 100, 2)]);
        let moved = data["updates"].as_array().expect("a list").iter().find(|one| one["userId"] == json!(bob.id));
        let moved = moved.expect("bob moved");
        assert_eq!(
            (&moved["rank"], &moved["previousRank"], &moved["username"]),
            (&json!(2), &json!(null), &json!("bob"))
        );
    }
}

async fn refused_updates_reach_nothing(deployment: &Deployment, ada: &Player, bob: &Player) {
    let api = &deployment.api;
    let before = deployment.version().await;
    let bearer = ada.bearer();
    let as_ada: &[(&str, &str)] = &[("authorization", &bearer)];
    let path = "/api/v1/score/update";

    let again = api.score(ada, "match-1", 100).await.expect(409);
    assert_eq!(again.code(), "duplicate_action");
    let receipt = &again.body["error"]["details"]["receipt"];
    assert_eq!(
        (&receipt["status"], &receipt["newScore"], &receipt["version"]),
        (&json!("applied"), &json!(100), &json!(1))
    );

    let mut forged = ada.signed("forged", 7);
    forged["points"] = json!(8);
    assert_eq!(api.post(path, &forged, as_ada).await.expect(400).code(), "invalid_signature");
    let mut foreign = ada.signed("foreign", 7);
    foreign["userId"] = json!(bob.id);
    assert_eq!(api.post(path, &foreign, as_ada).await.expect(403).code(), "forbidden");
    let nobody = api.post(path, &ada.signed("nobody", 7), &[]).await.expect(401);
    assert_eq!(nobody.code(), "unauthenticated");
    assert!(nobody.header("www-authenticate").starts_with("Bearer"));
    assert_eq!(api.post(path, &bob.signed("swapped", 7), as_ada).await.expect(400).code(), "invalid_signature");

    for action in ["forged", "foreign", "nobody", "swapped"] {
        api.get_as(ada, &format!("/api/v1/score/updates/{action}")).await.expect(404);
    }
    assert_eq!(deployment.version().await, before);
    if let Some(place) = &deployment.place {
        let ledger = place.operator().await.query_one("SELECT count(*) FROM actions", &[]).await.expect("a count");
        assert_eq!(ledger.get::<_, i64>(0), 2, "only what was applied is in the ledger");
    }
}

async fn the_bare_task_of_the_second_document(api: &Client, ada: &Player) {
    let body = json!({"userId": ada.id, "actionId": "tutorial"});
    let answer = api.post("/update-score", &body, &[("authorization", &ada.bearer())]).await.expect(200);
    assert_eq!(answer.body["newScore"], 110, "ten points");
}

async fn the_other_paths_reach_the_same_handlers(api: &Client, ada: &Player) {
    let bearer = ada.bearer();
    let as_ada: &[(&str, &str)] = &[("authorization", &bearer)];
    for (path, action, score) in [("/api/scores/update", "p1", 111), ("/api/scoreboard/update", "p2", 112)] {
        let answer = api.post(path, &ada.signed(action, 1), as_ada).await.expect(200);
        assert_eq!(answer.body["newScore"], score);
    }
    let top = api.get("/api/scores/leaderboard").await.expect(200).body;
    assert_eq!(top.as_array().map(Vec::len), Some(2));
    assert_eq!(api.get(&format!("/api/scores/user/{}", ada.id)).await.expect(200).body["score"], 112);
}

async fn reads_agree(api: &Client, ada: &Player, bob: &Player) {
    let top = eventually(VISIBLE, "the newest score in the top", async || {
        let top = api.get("/api/v1/scoreboard/top?limit=10").await.expect(200);
        if top.body[0]["score"] == 112 { Ok(top) } else { Err(top.body) }
    })
    .await;
    assert_eq!(top.header("cache-control"), "no-cache");
    let unchanged =
        api.get_with("/api/v1/scoreboard/top?limit=10", ("if-none-match", top.header("etag"))).await.expect(304);
    assert_eq!(unchanged.header("etag"), top.header("etag"));
    let head = api.raw("HEAD", "/api/v1/scoreboard/top?limit=10", &[], "").await.expect(200);
    assert_eq!((head.header("etag"), &head.body), (top.header("etag"), &json!(null)), "HEAD is GET without the body");
    assert_eq!(api.get("/api/v1/scoreboard/top?limit=1").await.expect(200).body, json!([top.body[0]]));

    let own = api.get(&format!("/api/v1/scoreboard/users/{}?around=1", bob.id)).await.expect(200).body;
    assert_eq!((&own["rank"], &own["username"], &own["score"]), (&json!(2), &json!("bob"), &json!(100)));
    assert_eq!(own["neighbors"], top.body, "from one above to one below");
    assert!(api.get(&format!("/api/v1/scoreboard/users/{}", ada.id)).await.expect(200).body.get("neighbors").is_none());
    let newcomer = api.join("newcomer").await;
    api.get(&format!("/api/v1/scoreboard/users/{}", newcomer.id)).await.expect(404);

    let boards = api.get("/api/v1/boards").await.expect(200).body;
    let types: Vec<_> =
        boards[0]["actionTypes"].as_array().expect("a list").iter().map(|one| &one["actionType"]).collect();
    assert_eq!(types, ["default", "task"]);
    assert_eq!(api.get("/api/v1/scoreboard/top?board=nowhere").await.expect(404).code(), "unknown_board");
    assert!(api.get("/openapi.json").await.expect(200).body["paths"]["/api/v1/score/update"].is_object());
    assert_eq!(api.get("/.well-known/jwks.json").await.expect(200).body["keys"][0]["crv"], "Ed25519");
}

async fn a_repeat_with_its_key_is_answered_again(api: &Client, bob: &Player) {
    let bearer = bob.bearer();
    let headers: &[(&str, &str)] = &[("authorization", &bearer), ("idempotency-key", "once")];
    let path = "/api/v1/score/update";
    let first = api.post(path, &bob.signed("keyed", 5), headers).await.expect(200);
    assert_eq!(first.header("idempotent-replayed"), "");
    // Signed again, with a fresh timestamp: still the same request.
    let again = api.post(path, &bob.signed("keyed", 5), headers).await.expect(200);
    assert_eq!((again.header("idempotent-replayed"), &again.body), ("true", &first.body));
    assert_eq!(api.post(path, &bob.signed("keyed", 6), headers).await.expect(422).code(), "idempotency_key_reused");
}

async fn pending_is_said_only_where_the_queue_is_durable(deployment: &Deployment, bob: &Player) {
    let api = &deployment.api;
    let headers: &[(&str, &str)] = &[("authorization", &bob.bearer()), ("prefer", "respond-async")];
    let answer = api.post("/api/v1/score/update", &bob.signed("later", 3), headers).await;
    if deployment.place.is_none() {
        assert_eq!(answer.expect(200).body["status"], "applied");
        return;
    }
    let answer = answer.expect(202);
    assert_eq!(answer.body["status"], "pending");
    let location = answer.header("location").to_owned();
    assert_eq!(location, "/api/v1/score/updates/later?board=global");
    let receipt = eventually(Duration::from_secs(5), "the receipt to be applied", async || {
        let receipt = api.get_as(bob, &location).await.expect(200).body;
        if receipt["status"] == "applied" { Ok(receipt) } else { Err(receipt) }
    })
    .await;
    assert_eq!((&receipt["points"], &receipt["newScore"], &receipt["rank"]), (&json!(3), &json!(108), &json!(2)));
    every_202_is_decided(api, bob).await;
}

/// Every 202 ends with a decision that its receipt tells, also where the key turns out to stand for something else.
async fn every_202_is_decided(api: &Client, bob: &Player) {
    let bearer = bob.bearer();
    let path = "/api/v1/score/update";
    let headers: &[(&str, &str)] =
        &[("authorization", &bearer), ("prefer", "respond-async"), ("idempotency-key", "async-once")];
    api.post(path, &bob.signed("async-a", 1), headers).await.expect(202);
    let decided = async |action: &str| {
        eventually(Duration::from_secs(5), "the receipt to be final", async || {
            let receipt = api.get_as(bob, &format!("/api/v1/score/updates/{action}")).await.expect(200).body;
            if receipt["status"] == "pending" { Err(receipt) } else { Ok(receipt) }
        })
        .await
    };
    let first = decided("async-a").await;
    assert_eq!(first["status"], "applied");
    // A repeat of the 202 gets the final answer.
    let again = api.post(path, &bob.signed("async-a", 1), &headers[..1]).await;
    assert_eq!(again.code(), "duplicate_action", "without its key there is no replay");
    let keyed = [headers[0], headers[2]];
    let again = api.post(path, &bob.signed("async-a", 1), &keyed).await.expect(200);
    assert_eq!((again.header("idempotent-replayed"), &again.body["version"]), ("true", &first["version"]));
    // The same key with other content, taken before anybody could know.
    let other = api.post(path, &bob.signed("async-b", 1), headers).await;
    if other.status == 202 {
        let refused = decided("async-b").await;
        assert_eq!((&refused["status"], &refused["code"]), (&json!("rejected"), &json!("idempotency_key_reused")));
    } else {
        assert_eq!(other.code(), "idempotency_key_reused");
    }
}

async fn a_session_ends_at_once(api: &Client) {
    let player = api.join("leaving").await;
    api.post("/api/v1/auth/logout", &json!({}), &[("authorization", &player.bearer())]).await.expect(204);
    eventually(VISIBLE, "the ended session to be refused", async || {
        let answer = api.get_as(&player, "/api/v1/score/updates/none").await;
        if answer.status == 401 && answer.code() == "token_revoked" { Ok(()) } else { Err(answer.body) }
    })
    .await;
}
