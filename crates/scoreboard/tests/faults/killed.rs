//! `kill -9` of services and of the broker, under load.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::instance::Instance;
use crate::load::Load;
use crate::outage::{EQUAL_WITHIN, RECOVERY, is_as_before};

async fn a_service_is_killed_again_and_again(test: &str, service: &str, kills: u32) {
    let instance = Instance::start(test);
    let mut deployment = instance.four_processes().await;
    let load = Load::start(&deployment, 50, 500).await;
    let mut every_two_seconds = tokio::time::interval(Duration::from_secs(2));
    every_two_seconds.tick().await;
    for _ in 0..kills {
        every_two_seconds.tick().await;
        deployment.named(service).kill().await;
        deployment.start_service_again(service);
    }
    deployment.ready().await;
    load.promised_again(RECOVERY, "a promise after the last kill").await;
    let promised = load.stop(&format!("{service} killed {kills} times")).await;
    promised.was_answered_in_time();
    promised.is_in_the_truth(&deployment, EQUAL_WITHIN).await;
    deployment.stop().await;
}

async fn the_broker_is_killed_again_and_again(test: &str, kills: u32) {
    let instance = Instance::start(test);
    let deployment = instance.four_processes().await;
    let before = instance.consuming(&deployment);
    assert_eq!(before.prefetch.len(), 1);
    let load = Load::start(&deployment, 50, 300).await;
    load.promised_again(RECOVERY, "a first promise").await;
    let recipe = instance.recipe("rabbitmq");
    for kill in 1..=kills {
        instance.end("rabbitmq", "KILL").await;
        sleep(Duration::from_secs(1)).await;
        instance.revive(&recipe);
        instance.listens("amqp_port").await;
        let up = Instant::now();
        load.promised_again(RECOVERY, "a promise after the broker is back").await;
        eprintln!("    kill {kill}: promises again {} ms after the broker listens", up.elapsed().as_millis());
    }
    let promised = load.stop(&format!("broker killed {kills} times")).await;
    assert!(promised.refused > 0, "nobody met the missing broker");
    is_as_before(&instance, &deployment, &before, &promised).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_killed_three_times() {
    a_service_is_killed_again_and_again("worker-killed-short", "score-worker", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_killed_once() {
    the_broker_is_killed_again_and_again("broker-killed-short", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn worker_killed_for_a_minute() {
    a_service_is_killed_again_and_again("worker-killed", "score-worker", 30).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn gateway_killed_for_a_minute() {
    a_service_is_killed_again_and_again("gateway-killed", "gateway", 30).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn broker_killed_five_times() {
    the_broker_is_killed_again_and_again("broker-killed", 5).await;
}
