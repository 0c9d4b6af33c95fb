//! TERM to each service under load.

use std::time::Duration;

use crate::instance::Instance;
use crate::load::Load;

/// Each ends within 10 s with code 0, and everything promised before, meanwhile and after is in the truth.
#[tokio::test(flavor = "multi_thread")]
async fn every_service_is_stopped_under_load_and_no_promise_is_broken() {
    let instance = Instance::start("drained");
    let mut deployment = instance.four_processes().await;
    let load = Load::start(&deployment, 20, 200).await;
    for service in ["score-worker", "gateway", "realtime-fanout", "auth"] {
        load.promised_again(Duration::from_secs(10), "a promise").await;
        let began = std::time::Instant::now();
        deployment.named(service).stop().await;
        eprintln!("{service} stopped in {} ms", began.elapsed().as_millis());
        deployment.start_service_again(service);
        deployment.ready().await;
    }
    let promised = load.stop("every service stopped").await;
    promised.is_in_the_truth(&deployment, Duration::from_secs(15)).await;
    deployment.stop().await;
}
