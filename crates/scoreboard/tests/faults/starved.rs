//! Servers that are stopped, paused, flushed or out of memory for a while, under load.

use std::time::Duration;

use crate::instance::Instance;
use crate::outage::{During, survived};

fn paused(instance: &Instance, server: &str) {
    instance.signal(server, "STOP");
}

/// Tells the broker something.
fn told(instance: &Instance, command: &[&str]) {
    let output = instance.broker(command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn database_ended(instance: &Instance) {
    instance.end("postgres", "INT").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "keeps the short form short: scripts/test-faults"]
async fn database_paused_for_seconds() {
    survived(
        &Instance::start("database-paused-short"),
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
        &Instance::start("broker-paused"),
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
    survived(
        &Instance::start("broker-memory"),
        "broker-memory",
        During::Refused,
        Some("gateway"),
        Duration::from_secs(20),
        async |instance| told(instance, &["set_vm_memory_high_watermark", "absolute", "1MB"]),
        async |instance| told(instance, &["set_vm_memory_high_watermark", "absolute", "1GB"]),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn broker_out_of_disk_for_twenty_seconds() {
    survived(
        &Instance::start("broker-disk"),
        "broker-disk",
        During::Refused,
        Some("gateway"),
        Duration::from_secs(20),
        async |instance| told(instance, &["set_disk_free_limit", "1000000GB"]),
        async |instance| told(instance, &["set_disk_free_limit", "1MB"]),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn database_paused_for_half_a_minute() {
    survived(
        &Instance::start("database-paused"),
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
        &Instance::start("database-ended"),
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
        &Instance::start("redis-paused"),
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
        &Instance::start("redis-restarted"),
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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn redis_flushed_again_and_again() {
    survived(
        &Instance::start("redis-flushed"),
        "redis-flushed",
        During::Promised,
        None,
        Duration::from_secs(10),
        async |instance| {
            for _ in 0..3 {
                instance.flush_redis().await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        },
        async |_| {},
    )
    .await;
}
