//! A queue that somebody deletes from outside.

use std::time::{Duration, Instant};

use testkit::waiting::eventually;

use crate::instance::Instance;
use crate::load::Load;

/// A queue of ours is bound by its name alone: who deletes it deletes its binding. What is in it is gone by that person's
/// hand, so nothing is in it here; from then on nothing may be promised that no queue takes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "keeps the short form short, which has it in distributed/tests/rabbit/publishing.rs: scripts/test-faults"]
async fn a_deleted_queue_promises_nothing_is_told_and_comes_back() {
    let instance = Instance::start("unbound");
    let deployment = instance.four_processes().await;
    let load = Load::start(&deployment, 10, 50).await;
    load.promised_again(Duration::from_secs(10), "a first promise").await;
    let promised = load.stop("before the deletion").await;
    promised.is_in_the_truth(&deployment, Duration::from_secs(15)).await;

    let place = deployment.place.as_ref().unwrap();
    let deleted = instance.broker(&["delete_queue", &format!("{}score.updates", place.amqp_prefix)]);
    assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));
    let began = Instant::now();
    let player = deployment.api.join("late").await;
    let promised = std::sync::atomic::AtomicI64::new(0);
    eventually(Duration::from_secs(10), "a promise that is kept", async || {
        let answer = deployment.api.score(&player, &format!("late-{}", uuid::Uuid::new_v4()), 1).await;
        promised.fetch_add(i64::from(matches!(answer.status, 200 | 202)), std::sync::atomic::Ordering::SeqCst);
        answer.status == 200
    })
    .await;
    eprintln!("repaired by itself after {} ms", began.elapsed().as_millis());
    let promised = promised.into_inner();
    // Whatever was promised meanwhile is in the truth.
    let operator = place.operator().await;
    let user = uuid::Uuid::parse_str(&player.id).unwrap();
    eventually(Duration::from_secs(10), "every promise to be kept", async || {
        let sum = "SELECT coalesce(sum(score), 0)::bigint FROM scores WHERE user_id = $1";
        let row = operator.query_one(sum, &[&user]).await.unwrap();
        let score: i64 = row.get(0);
        if score == promised { Ok(()) } else { Err(format!("{score} of {promised}")) }
    })
    .await;
    let metrics = deployment.metrics().await;
    let told = metrics.values().any(|text| {
        text.lines().any(|line| {
            line.starts_with("scoreboard_queue_topology_repairs") && !line.ends_with(" 0") && !line.starts_with('#')
        })
    });
    assert!(told, "an alarm metric moves");
    let consuming = instance.consuming(&deployment);
    assert_eq!(consuming.prefetch.len(), 1, "{consuming:?}");
    deployment.stop().await;
}
