//! The worker stands still: updates are promised without waiting for it, readiness tells by the age of what waits, then no
//! more is taken; when it works again everything that was promised is done.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::waiting::eventually;

use crate::client::{Answer, Player};
use crate::deployment::Deployment;

/// More in a row without a decision, and the gateway waits less.
const SILENT: usize = 40;

const MAX_QUEUED: usize = 60;
const PREFETCH: usize = 10;

/// Small enough to be met, large enough that a busy machine does not meet it by itself.
const SETTINGS: &[(&str, &str)] = &[
    ("SCOREBOARD__SUBMIT__MAX_QUEUED", "60"),
    ("SCOREBOARD__SUBMIT__MAX_QUEUE_AGE_S", "4"),
    ("SCOREBOARD__WORKER__PREFETCH", "10"),
];

async fn post(deployment: &Deployment, player: &Player, n: usize) -> (Duration, Answer) {
    let began = Instant::now();
    let answer = deployment.api.score(player, &format!("waits-{n}"), 3).await;
    (began.elapsed(), answer)
}

/// The checks of the gateway's readiness, with the status.
async fn readiness(deployment: &Deployment, query: &str) -> (u16, BTreeMap<String, String>) {
    let (status, body) = deployment.told_by("gateway", &format!("/readyz{query}")).await.expect("it listens");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    (status, serde_json::from_value(body["checks"].clone()).expect("texts by name"))
}

/// A gauge of one process, as it tells it.
async fn gauge(deployment: &Deployment, service: &str, name: &str) -> Option<f64> {
    let figures = deployment.metrics_of(service).await?;
    let line = figures.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

const OLDEST: &str = "scoreboard_queue_oldest_age_seconds{";

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stands_still_makes_202_sooner_then_not_ready_then_503_and_every_promise_is_kept() {
    let deployment = Deployment::four_processes_with(SETTINGS).await;
    let player = deployment.api.join("patient").await;
    deployment.api.score(&player, "before", 3).await.expect(200);
    assert_eq!(readiness(&deployment, "").await.0, 200);
    assert_eq!(gauge(&deployment, "gateway", OLDEST).await, Some(0.0), "an empty queue has no age");

    deployment.named("score-worker").signal("STOP");
    // The first ones wait for a decision as long as they may; whoever comes after so many hears sooner.
    let first = join_all((0..SILENT).map(|n| post(&deployment, &player, n))).await;
    let mut promised = 1;
    for (took, answer) in first {
        assert_eq!(answer.status, 202, "{}", answer.body);
        assert!(took >= Duration::from_millis(900), "it was waited for: {took:?}");
        promised += 1;
    }
    let mut sooner = Vec::new();
    for n in SILENT..SILENT + 20 {
        let (took, answer) = post(&deployment, &player, n).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        sooner.push(took);
        promised += 1;
    }
    sooner.sort();
    // One of sixteen asks in full whether it goes again.
    assert!(sooner[14] < Duration::from_millis(500), "{sooner:?}");

    // What waits gets older than it may: said by its own name, and by nothing else.
    let (_, checks) = eventually(Duration::from_secs(15), "readiness to tell the age", async || {
        let told = readiness(&deployment, "").await;
        if told.0 == 503 && told.1["queue_age"] != "ok" { Ok(told) } else { Err(format!("{told:?}")) }
    })
    .await;
    assert!(checks["queue_age"].contains("has waited"), "{checks:?}");
    for fine in ["rabbitmq", "postgresql", "redis", "auth"] {
        assert_eq!(checks[fine], "ok", "{checks:?}");
    }
    assert!(gauge(&deployment, "gateway", OLDEST).await > Some(4.0));
    // A probe that leaves out what others cause keeps the gateway in service.
    let probed = readiness(&deployment, "?exclude=queue_depth&exclude=queue_age").await;
    assert_eq!(probed.0, 200, "{probed:?}");

    // Too much waits: refused, with a time to come back, before anything grows.
    let mut n = SILENT + 20;
    let refused = loop {
        let (took, answer) = post(&deployment, &player, n).await;
        n += 1;
        match answer.status {
            202 => promised += 1,
            503 => {
                assert!(took < Duration::from_secs(2), "a refusal is quick: {took:?}");
                break answer;
            }
            other => panic!("{other} {}", answer.body),
        }
        assert!(promised < 4 * (MAX_QUEUED + PREFETCH), "it takes without end");
    };
    assert_eq!(refused.code(), "unavailable", "{}", refused.body);
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    let (status, checks) = readiness(&deployment, "").await;
    assert_eq!(status, 503);
    assert!(checks["queue_depth"].contains("messages wait"), "{checks:?}");
    let (status, _) = readiness(&deployment, "?exclude=queue_depth&exclude=queue_age").await;
    assert_eq!(status, 200);
    // The board goes on being read.
    deployment.api.get("/api/v1/scoreboard/top").await.expect(200);

    deployment.named("score-worker").signal("CONT");
    deployment.ready().await;
    let continued = Instant::now();
    let after = loop {
        n += 1;
        let (_, answer) = post(&deployment, &player, n).await;
        promised += usize::from(matches!(answer.status, 200 | 202));
        if answer.status == 200 {
            break answer;
        }
        assert!(continued.elapsed() < Duration::from_secs(15), "not decided again: {} {}", answer.status, answer.body);
    };
    // First in, first decided: with this one all are.
    assert_eq!(after.body["newScore"], json!(3 * promised), "every promise is kept, each once");
    eventually(Duration::from_secs(10), "the age to be zero again", async || {
        let age = gauge(&deployment, "gateway", OLDEST).await;
        if age == Some(0.0) { Ok(()) } else { Err(format!("{age:?}")) }
    })
    .await;
    // The worker saw from its side how old the head of the queue was.
    let seen = deployment.metrics_of("score-worker").await.expect("it listens");
    assert!(seen.contains("scoreboard_queue_oldest_age_seconds{"), "{seen}");
    assert!(seen.contains("scoreboard_queue_age_seconds_bucket{"), "{seen}");
    deployment.stop().await;
}
