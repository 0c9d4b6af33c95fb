//! Ports that fail, hang or refuse.

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::error_code::ErrorCode;
use common::ports::Truth as _;
use common::receipt::{Outcome, ReceiptStatus};
use testkit::waiting::{SOON, eventually};
use tokio::time::Instant;

use crate::harness::Harness;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sick_index_never_stops_the_queue_and_is_repaired() {
    for hangs in [true, false] {
        let mut harness = Harness::new(10).await;
        harness.settings.max_updates = 5;
        harness.settings.repair_bound = Duration::from_millis(300);
        harness.without_looks();
        let worker = harness.start();
        harness.ready().await;
        let sickness = &harness.ranks.sickness;
        if hangs { &sickness.hangs } else { &sickness.fails }.store(true, Ordering::SeqCst);
        let started = Instant::now();
        let updates = harness.send(100);
        harness.all_acknowledged().await;
        // Twenty batches: only the first waits its bound out.
        assert!(started.elapsed() < Duration::from_secs(3), "hangs: {hangs}, {:?}", started.elapsed());
        harness.applied_once(&updates).await;
        harness.announced(updates.len()).await;
        assert!(harness.answers(&updates[99])[0].rank.is_none(), "no projection could say");
        sickness.heal();
        harness.index_is_right().await;
        // The next answers have their ranks again.
        eventually(SOON, "an answer with its rank", || async {
            let next = harness.send(1);
            harness.all_acknowledged().await;
            harness.answers(&next[0])[0].rank.is_some()
        })
        .await;
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sick_bus_never_stops_the_queue_and_hears_of_everything_later() {
    for hangs in [true, false] {
        let mut harness = Harness::new(10).await;
        harness.settings.max_updates = 5;
        harness.settings.repair_bound = Duration::from_millis(300);
        harness.without_looks();
        let worker = harness.start();
        harness.ready().await;
        let sickness = &harness.bus.sickness;
        if hangs { &sickness.hangs } else { &sickness.fails }.store(true, Ordering::SeqCst);
        let started = Instant::now();
        let updates = harness.send(100);
        harness.all_acknowledged().await;
        assert!(started.elapsed() < Duration::from_secs(3), "hangs: {hangs}, {:?}", started.elapsed());
        harness.applied_once(&updates).await;
        assert!(updates.iter().all(|update| harness.answers(update)[0].rank.is_some()), "ranks need no bus");
        assert!(!harness.bus.tells(&harness.board, 0, 1));
        sickness.heal();
        harness.announced(updates.len()).await;
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_re_announcement_that_is_too_large_tells_everybody_to_look() {
    let mut harness = Harness::new(10).await;
    harness.settings.page_rows = 4;
    let worker = harness.start();
    harness.ready().await;
    harness.bus.sickness.fails.store(true, Ordering::SeqCst);
    let updates = harness.send(30);
    harness.all_acknowledged().await;
    harness.bus.sickness.heal();
    harness.announced(updates.len()).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_updates_are_put_aside_alone() {
    let harness = Harness::new(10).await;
    let mut updates: Vec<_> = (0..100).map(|n| harness.update(n % 10, 3)).collect();
    let bad: Vec<_> = [0, 41, 42, 99].map(|n| updates[n].clone()).into();
    for update in &bad {
        harness.ledger.refused.lock().insert(update.action_id.to_string());
    }
    for message in updates.chunks(7) {
        harness.source.send(message.to_vec());
    }
    harness.source.dead_failures.store(2, Ordering::SeqCst);
    let worker = harness.start();
    harness.all_acknowledged().await;
    let dead: Vec<_> = harness.source.dead.lock().iter().map(|(update, _)| update.clone()).collect();
    assert_eq!(dead, bad);
    assert!(harness.source.dead.lock()[0].1.contains("bad data"), "the reason is told");
    for update in &bad {
        let Outcome::Rejected { receipt, .. } = &harness.answers(update)[0].outcome else { panic!("not rejected") };
        assert_eq!(receipt.status, ReceiptStatus::Rejected(ErrorCode::Internal));
        // Also for whoever was answered 202 and asks later.
        let receipt = harness.embedded.store.receipt(update.user, &update.board, &update.action_id).await.unwrap();
        assert_eq!(receipt.expect("a receipt").status, ReceiptStatus::Rejected(ErrorCode::Internal));
    }
    updates.retain(|update| !bad.contains(update));
    harness.applied_once(&updates).await;
    harness.index_is_right().await;
    harness.announced(updates.len()).await;
    assert!(harness.ledger.committed.lock().len() < 40, "split in halves: {:?}", harness.ledger.committed.lock());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_ledger_is_waited_for_and_nothing_is_put_aside() {
    let harness = Harness::new(10).await;
    let worker = harness.start();
    harness.ready().await;
    harness.ledger.sickness.fails.store(true, Ordering::SeqCst);
    let updates = harness.send(50);
    eventually(SOON, "several tries", || async { harness.ledger.sickness.calls.load(Ordering::SeqCst) >= 4 }).await;
    assert_eq!(harness.source.left(), 50);
    harness.ledger.sickness.heal();
    harness.all_acknowledged().await;
    harness.applied_once(&updates).await;
    assert!(harness.source.dead.lock().is_empty());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_says_nothing_is_asked_again() {
    let mut harness = Harness::new(10).await;
    harness.settings.commit_bound = Duration::from_millis(100);
    let worker = harness.start();
    harness.ready().await;
    let sickness = &harness.ledger.sickness;
    sickness.hangs.store(true, Ordering::SeqCst);
    let updates = harness.send(50);
    eventually(SOON, "several tries", || async { sickness.calls.load(Ordering::SeqCst) >= 4 }).await;
    assert_eq!(harness.source.left(), 50);
    sickness.heal();
    harness.all_acknowledged().await;
    harness.applied_once(&updates).await;
    assert!(harness.source.dead.lock().is_empty());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_while_the_ledger_is_away_gives_the_batch_back() {
    let harness = Harness::new(10).await;
    let worker = harness.start();
    harness.ready().await;
    harness.ledger.sickness.fails.store(true, Ordering::SeqCst);
    let updates = harness.send(5);
    eventually(SOON, "a try", || async { harness.ledger.sickness.calls.load(Ordering::SeqCst) >= 2 }).await;
    worker.stop().await;
    assert_eq!(harness.source.left(), 5);
    harness.ledger.sickness.heal();
    harness.source.redeliver();
    let second = harness.start();
    harness.all_acknowledged().await;
    harness.applied_once(&updates).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_was_lost_is_found_and_announced() {
    let harness = Harness::new(10).await;
    let worker = harness.start();
    harness.ready().await;
    harness.ledger.lies.store(true, Ordering::SeqCst);
    let update = harness.update(3, 5);
    harness.source.send(vec![update.clone()]);
    harness.all_acknowledged().await;
    harness.applied_once(std::slice::from_ref(&update)).await;
    assert_eq!(harness.answers(&update)[0].rank, Some(1));
    harness.announced(1).await;
    harness.index_is_right().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_races_are_run_again() {
    let harness = Harness::new(10).await;
    let worker = harness.start();
    harness.ready().await;
    harness.ledger.conflicts.store(6, Ordering::SeqCst);
    let updates = harness.send(20);
    harness.all_acknowledged().await;
    harness.applied_once(&updates).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_loses_every_race_goes_round_alone_and_is_applied_when_it_can() {
    let harness = Harness::new(10).await;
    let updates: Vec<_> = (0..40).map(|n| harness.update(n % 10, 3)).collect();
    let contested = updates[17].clone();
    harness.ledger.contested.lock().insert(contested.action_id.to_string());
    for message in updates.chunks(8) {
        harness.source.send(message.to_vec());
    }
    let worker = harness.start();
    harness.all_acknowledged().await;
    assert_eq!(*harness.source.postponed.lock(), std::slice::from_ref(&contested));
    assert!(harness.answers(&contested).is_empty(), "nothing was decided of it");
    let others: Vec<_> = updates.iter().filter(|update| **update != contested).cloned().collect();
    harness.applied_once(&others).await;
    harness.ledger.contested.lock().clear();
    harness.source.bring_postponed();
    harness.all_acknowledged().await;
    harness.applied_once(&updates).await;
    assert!(harness.source.dead.lock().is_empty());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_has_come_round_too_often_is_put_aside() {
    let harness = Harness::new(3).await;
    harness.source.rounds_left.store(0, Ordering::SeqCst);
    let update = harness.update(1, 5);
    harness.ledger.contested.lock().insert(update.action_id.to_string());
    harness.source.send(vec![harness.update(0, 9), update.clone()]);
    let worker = harness.start();
    harness.all_acknowledged().await;
    assert_eq!(harness.source.dead.lock().len(), 1);
    let Outcome::Rejected { .. } = &harness.answers(&update)[0].outcome else { panic!("not rejected") };
    worker.stop().await;
}
