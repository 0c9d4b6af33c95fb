//! Ways to the servers that are slow, break, or swallow everything without a word: the product reaches each of the three
//! by a proxy, the test looks past it.

use std::time::{Duration, Instant};

use testkit::proxy::Proxy;
use tokio::time::sleep;

use crate::instance::Instance;
use crate::load::Load;
use crate::outage::{During, RECOVERY, is_as_before, survived};

/// Longer than either side's heartbeats take to notice: RabbitMQ and the driver both give up after 20 s of silence.
const LONGER_THAN_HEARTBEATS: Duration = Duration::from_secs(35);

/// Every packet to one server vanishes for a while; afterwards the old connections are half open for ever.
async fn lost(test: &str, section: &'static str, during: During, not_ready: Option<&str>) {
    survived(
        &Instance::behind_proxies(test).await,
        test,
        during,
        not_ready,
        LONGER_THAN_HEARTBEATS,
        async |instance| instance.proxy(section).lose(true),
        async |instance| instance.proxy(section).lose(false),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn every_packet_to_the_broker_is_lost() {
    lost("lost-broker", "AMQP", During::Refused, Some("gateway")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn every_packet_to_the_database_is_lost() {
    lost("lost-database", "DATABASE", During::Promised, Some("score-worker")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn every_packet_to_redis_is_lost() {
    lost("lost-redis", "REDIS", During::Promised, None).await;
}

/// What lies in a partition and arrives when it ends, heartbeats long since missed, harms nobody.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn every_packet_to_the_broker_is_held_up() {
    survived(
        &Instance::behind_proxies("held-up-broker").await,
        "held-up-broker",
        During::Refused,
        Some("gateway"),
        LONGER_THAN_HEARTBEATS,
        async |instance| instance.proxy("AMQP").freeze(true),
        async |instance| instance.proxy("AMQP").freeze(false),
    )
    .await;
}

/// 200 ms more for each round trip to each of the three: slower, and nothing else.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scripts/test-faults"]
async fn every_server_is_200_ms_away() {
    let instance = Instance::behind_proxies("far-away").await;
    let deployment = instance.four_processes().await;
    let before = instance.consuming(&deployment);
    let load = Load::start(&deployment, 20, 100).await;
    load.promised_again(RECOVERY, "a first promise").await;
    instance.proxies().for_each(|proxy| proxy.delay(Duration::from_millis(200)));
    // Every second of it has its promises.
    for _ in 0..15 {
        load.promised_again(Duration::from_secs(3), "a promise from far away").await;
        sleep(Duration::from_secs(1)).await;
    }
    instance.proxies().for_each(|proxy| proxy.delay(Duration::ZERO));
    let promised = load.stop("every server 200 ms away").await;
    assert_eq!(promised.refused, 0, "slow is no reason to refuse");
    is_as_before(&instance, &deployment, &before, &promised).await;
    deployment.stop().await;
}

/// All connections to all three at once, ten times; each time promises are back within the contract's time.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "keeps the short form short, which cuts one connection at a time in distributed/tests/rabbit/outages.rs: scripts/test-faults"]
async fn every_connection_is_cut_again_and_again() {
    let instance = Instance::behind_proxies("cut").await;
    let deployment = instance.four_processes().await;
    let before = instance.consuming(&deployment);
    let load = Load::start(&deployment, 20, 100).await;
    load.promised_again(RECOVERY, "a first promise").await;
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        instance.proxies().for_each(Proxy::cut);
        let cut = Instant::now();
        load.promised_again(RECOVERY, "a promise after the cut").await;
        slowest = slowest.max(cut.elapsed());
        sleep(Duration::from_millis(500)).await;
    }
    eprintln!("    promises again at most {} ms after a cut", slowest.as_millis());
    let promised = load.stop("every connection cut ten times").await;
    is_as_before(&instance, &deployment, &before, &promised).await;
    deployment.stop().await;
}
