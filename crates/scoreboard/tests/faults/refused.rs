//! Whoever is refused before the queue costs the database nothing: all of it is told while PostgreSQL stands still.

use std::time::{Duration, Instant};

use common::clock::Clock as _;
use runtime::clock::SystemClock;
use serde_json::{Value, json};

use crate::client::{Answer, Client, Player};
use crate::instance::Instance;

const UPDATE: &str = "/api/v1/score/update";

/// Far below what a wait for the database would take.
const AT_ONCE: Duration = Duration::from_secs(1);

async fn posted(api: &Client, player: &Player, body: &Value) -> Answer {
    api.post(UPDATE, body, &[("authorization", &player.bearer())]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_before_the_queue_need_no_database() {
    let instance = Instance::start("refused");
    let deployment = instance.four_processes().await;
    let api = &deployment.api;
    let (ada, bob) = (api.join("ada").await, api.join("bob").await);
    api.score(&ada, "before", 1).await.expect(200);
    instance.signal("postgres", "STOP");

    let mut forged = ada.signed("forged", 1);
    forged["points"] = json!(2);
    let mut foreign = ada.signed("foreign", 1);
    foreign["userId"] = json!(bob.id);
    let mut unknown = ada.signed("unknown", 1);
    unknown["actionType"] = json!("unheard-of");
    let mut nowhere = ada.signed("nowhere", 1);
    nowhere["board"] = json!("no-such-board");
    let mut misshapen = ada.signed("misshapen", 1);
    misshapen["actionId"] = json!("no spaces");
    let many = ada.signed("many", 1001);
    let late = ada.signed_at(SystemClock.now().plus_millis(-301_000), "late", 1);
    let refused = [
        (posted(api, &ada, &forged), 400, "invalid_signature"),
        (posted(api, &ada, &foreign), 403, "forbidden"),
        (posted(api, &ada, &unknown), 400, "unknown_action_type"),
        (posted(api, &ada, &nowhere), 404, "unknown_board"),
        (posted(api, &ada, &misshapen), 400, "invalid_request"),
        (posted(api, &ada, &late), 400, "stale_timestamp"),
        (posted(api, &ada, &many), 400, "points_out_of_range"),
    ];
    for (answer, status, code) in refused {
        let asked = Instant::now();
        assert_eq!(answer.await.expect(status).code(), code);
        assert!(asked.elapsed() < AT_ONCE, "{code} took {:?}", asked.elapsed());
    }
    let asked = Instant::now();
    let nobody = api.post(UPDATE, &ada.signed("nobody", 1), &[]).await.expect(401);
    assert_eq!((nobody.code(), asked.elapsed() < AT_ONCE), ("unauthenticated", true));
    // The same board takes work: it waits, and is decided when the database is back.
    let waits = api.score(&ada, "waits", 1).await.expect(202);
    assert_eq!(waits.body["status"], "pending");
    instance.signal("postgres", "CONT");
}
