//! A worker that dies between any two steps loses nothing and does nothing twice.

use std::sync::atomic::Ordering;

use common::ports::Truth as _;
use testkit::waiting::{SOON, eventually, within};

use crate::harness::Harness;

const STEPS: [&str; 10] = [
    "before the commit",
    "after the commit",
    "before the projection",
    "after the projection",
    "before the event",
    "after the event",
    "before the answer",
    "after the answer",
    "before the acknowledgement",
    "after the acknowledgement",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_step_the_next_worker_ends_the_work() {
    for step in STEPS {
        let mut harness = Harness::new(5).await;
        // The bound must not push the worker past the step at which it is to die.
        harness.settings.after_commit_bound = SOON * 2;
        let first = harness.start();
        harness.ready().await;
        let mut updates = harness.send(7);
        harness.all_acknowledged().await;

        harness.gate.close_at(step);
        updates.extend(harness.send(6));
        within(SOON, step, harness.gate.hit()).await;
        first.kill().await;
        harness.gate.open();
        harness.source.redeliver();

        let second = harness.start();
        harness.all_acknowledged().await;
        harness.applied_once(&updates).await;
        harness.index_is_right().await;
        harness.announced(updates.len()).await;
        second.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redelivered_work_is_answered_with_its_rank() {
    let harness = Harness::new(3).await;
    let first = harness.start();
    harness.ready().await;
    harness.gate.close_at("after the commit");
    let update = harness.update(1, 50);
    harness.source.send(vec![harness.update(0, 99), update.clone()]);
    within(SOON, "the commit", harness.gate.hit()).await;
    first.kill().await;
    harness.gate.open();
    harness.source.redeliver();
    let second = harness.start();
    harness.all_acknowledged().await;
    let answers = harness.answers(&update);
    assert_eq!(answers[0].rank, Some(2), "the index was behind the redelivered row and had to catch up first");
    harness.announced(2).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soft_stop_finishes_the_batch_in_hand_and_takes_no_more() {
    let mut harness = Harness::new(3).await;
    harness.settings.max_updates = 1;
    // Between a commit and its answer there is time for a stop.
    harness.ranks.jitter_ms.store(20, Ordering::SeqCst);
    let worker = harness.start();
    harness.ready().await;
    let updates = harness.send(200);
    eventually(SOON, "some work to be done", async || !harness.answers(&updates[2]).is_empty()).await;
    worker.stop().await;
    let answered = updates.iter().filter(|update| !harness.answers(update).is_empty()).count();
    assert_eq!(harness.source.left(), 200 - answered, "all that was taken is finished");
    let committed = harness.embedded.store.digest(&harness.board).await.unwrap().unwrap().ledger_actions;
    assert_eq!(committed, answered as u64, "all that was committed is answered");
    harness.source.redeliver();
    let second = harness.start();
    harness.all_acknowledged().await;
    harness.applied_once(&updates).await;
    second.stop().await;
}
