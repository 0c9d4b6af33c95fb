//! TERM to each service under load.

use std::time::Duration;

use testkit::waiting::eventually;

use crate::deployment::Deployment;
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
    the_request_in_hand_is_answered(&mut deployment).await;
    deployment.stop().await;
}

/// A gateway that hears TERM while a request waits for its decision answers it before it ends.
async fn the_request_in_hand_is_answered(deployment: &mut Deployment) {
    let player = deployment.api.join("in-hand").await;
    let place = deployment.place.as_ref().unwrap();
    let (holder, watcher) = (place.operator().await, place.operator().await);
    holder.batch_execute("BEGIN; SELECT * FROM boards FOR UPDATE").await.unwrap();
    let (api, asking) = (deployment.api.clone(), player.clone());
    let request = tokio::spawn(async move { api.score(&asking, "in-hand", 1).await });
    let waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually(Duration::from_secs(5), "the worker to wait for the board", async || {
        !watcher.query(waits, &[]).await.unwrap().is_empty()
    })
    .await;
    deployment.named("gateway").stop().await;
    let answer = request.await.expect("an answer, and no connection that was cut");
    assert_eq!(answer.status, 202, "{}", answer.body);
    holder.batch_execute("ROLLBACK").await.unwrap();
    deployment.start_service_again("gateway");
    deployment.ready().await;
    eventually(Duration::from_secs(10), "what was promised to be applied", async || {
        let receipt = deployment.api.get_as(&player, "/api/v1/score/updates/in-hand").await.expect(200).body;
        if receipt["status"] == "applied" { Ok(()) } else { Err(receipt.to_string()) }
    })
    .await;
}
