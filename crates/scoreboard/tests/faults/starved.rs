//! Servers that are stopped, paused, flushed or out of memory for a while, under load.

use std::time::{Duration, Instant};

use testkit::waiting::eventually;
use tokio::time::sleep;

use crate::deployment::Deployment;
use crate::instance::Instance;
use crate::load::Load;

const RECOVERY: Duration = Duration::from_secs(10);
const EQUAL_WITHIN: Duration = Duration::from_secs(15);

/// Whether promises are given during an outage.
#[derive(Clone, Copy, PartialEq, Eq)]
enum During {
    Promised,
    Refused,
}

/// Something is done under load and undone after a while. Then promises are given again within 10 s, everything promised
/// is in the truth, and the worker consumes as before.
async fn survived(
    test: &str,
    during: During,
    not_ready: Option<&str>,
    lasts: Duration,
    fault: impl AsyncFnOnce(&Instance),
    repair: impl AsyncFnOnce(&Instance),
) {
    let instance = Instance::start(test);
    let deployment = instance.four_processes().await;
    let before = instance.consuming(&deployment);
    let load = Load::start(&deployment, 20, 100).await;
    load.promised_again(RECOVERY, "a first promise").await;
    fault(&instance).await;
    let began = Instant::now();
    // Past the change-over: what was under way when it began has ended.
    sleep(Duration::from_secs(4).min(lasts / 2)).await;
    let promised = load.promised();
    if let Some(service) = not_ready {
        eventually(Duration::from_secs(5), "readiness to say so", async || {
            deployment.told_by(service, "/readyz").await.is_some_and(|(status, _)| status == 503)
        })
        .await;
    }
    sleep(lasts.saturating_sub(began.elapsed())).await;
    let more = load.promised() - promised;
    eprintln!("{test}: {more} promises while it lasted");
    match during {
        During::Promised => assert!(more > 0, "accepted work waits, it is not refused"),
        During::Refused => assert_eq!(more, 0, "nothing may be promised"),
    }
    repair(&instance).await;
    for port in ["postgres_port", "redis_port", "amqp_port"] {
        instance.listens(port).await;
    }
    let repaired = Instant::now();
    load.promised_again(RECOVERY, "a promise after the repair").await;
    eprintln!("    promises {} ms after the repair", repaired.elapsed().as_millis());
    let promised = load.stop(test).await;
    promised.was_refused_in_time();
    promised.is_in_the_truth(&deployment, EQUAL_WITHIN).await;
    nothing_is_dead(&deployment);
    eventually(RECOVERY, "the worker to consume as before", async || {
        let now = instance.consuming(&deployment);
        if now == before { Ok(()) } else { Err(format!("{now:?}, before {before:?}")) }
    })
    .await;
    deployment.ready().await;
    deployment.stop().await;
}

fn nothing_is_dead(deployment: &Deployment) {
    let (exit, told) = deployment.operate(&["dead-letters", "list", "--json"]);
    assert_eq!((exit, told.trim()), (Some(0), r#"{"deadLetters":[]}"#));
}

fn paused(instance: &Instance, server: &str) {
    instance.signal(server, "STOP");
}

async fn database_ended(instance: &Instance) {
    instance.end("postgres", "INT").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "keeps the short form short: scripts/test-faults"]
async fn database_paused_for_seconds() {
    survived(
        "database-paused-short",
        During::Promised,
        Some("score-worker"),
        Duration::from_secs(8),
        async |instance| paused(instance, "postgres"),
        async |instance| instance.signal("postgres", "CONT"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn broker_paused_for_half_a_minute() {
    survived(
        "broker-paused",
        During::Refused,
        Some("gateway"),
        Duration::from_secs(30),
        async |instance| paused(instance, "rabbitmq"),
        async |instance| instance.signal("rabbitmq", "CONT"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn broker_out_of_memory_for_twenty_seconds() {
    let watermark = |instance: &Instance, bytes: &str| {
        let set = instance.broker(&["set_vm_memory_high_watermark", "absolute", bytes]);
        assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    };
    survived(
        "broker-memory",
        During::Refused,
        Some("gateway"),
        Duration::from_secs(20),
        async |instance| watermark(instance, "1MB"),
        async |instance| watermark(instance, "1GB"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn database_paused_for_half_a_minute() {
    survived(
        "database-paused",
        During::Promised,
        Some("score-worker"),
        Duration::from_secs(30),
        async |instance| paused(instance, "postgres"),
        async |instance| instance.signal("postgres", "CONT"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn database_ended_for_half_a_minute() {
    let recipe = parking_lot::Mutex::new(None);
    survived(
        "database-ended",
        During::Promised,
        Some("score-worker"),
        Duration::from_secs(30),
        async |instance| {
            *recipe.lock() = Some(instance.recipe("postgres"));
            database_ended(instance).await;
        },
        async |instance| instance.revive(recipe.lock().as_ref().unwrap()),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn redis_paused_for_twenty_seconds() {
    survived(
        "redis-paused",
        During::Promised,
        None,
        Duration::from_secs(20),
        async |instance| paused(instance, "redis"),
        async |instance| instance.signal("redis", "CONT"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn redis_restarted_empty() {
    let recipe = parking_lot::Mutex::new(None);
    survived(
        "redis-restarted",
        During::Promised,
        None,
        Duration::from_secs(10),
        async |instance| {
            *recipe.lock() = Some(instance.recipe("redis"));
            instance.end("redis", "KILL").await;
        },
        async |instance| instance.revive(recipe.lock().as_ref().unwrap()),
    )
    .await;
}
