//! Indexes that are empty, behind, ahead, flushed or filled by somebody else.

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::clock::Clock as _;
use common::ports::{FillStart, IndexState, Ledger as _, RankIndex as _};
use common::state::{StatePoint, Version};
use testkit::clock::ManualClock;
use testkit::fixtures::epoch;
use uuid::Uuid;

use crate::harness::Harness;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_that_project_out_of_order_equal_the_truth() {
    let mut harness = Harness::new(20).await;
    harness.settings.max_updates = 3;
    let workers = [harness.start(), harness.start()];
    harness.ready().await;
    harness.ranks.jitter_ms.store(8, Ordering::SeqCst);
    let mut updates = Vec::new();
    for _ in 0..10 {
        updates.extend(harness.send(30));
        tokio::task::yield_now().await;
    }
    harness.all_acknowledged().await;
    harness.applied_once(&updates).await;
    harness.index_is_right().await;
    harness.announced(updates.len()).await;
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_flushed_under_load_is_right_again() {
    let mut harness = Harness::new(20).await;
    harness.settings.max_updates = 4;
    harness.settings.page_rows = 6;
    let workers = [harness.start(), harness.start()];
    harness.ready().await;
    harness.ranks.jitter_ms.store(4, Ordering::SeqCst);
    let mut updates = Vec::new();
    for _ in 0..5 {
        updates.extend(harness.send(60));
        // Somewhere in the middle of the work.
        testkit::waiting::eventually(Duration::from_secs(10), "half of the work", || async {
            harness.source.left() < 30
        })
        .await;
        harness.ranks.flush();
    }
    harness.all_acknowledged().await;
    harness.applied_once(&updates).await;
    // One more change: from here on nothing but events and repairs may be needed.
    updates.extend(harness.send(1));
    harness.all_acknowledged().await;
    harness.index_is_right().await;
    harness.announced(updates.len()).await;
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_index_is_filled_page_by_page_at_the_start() {
    let mut harness = Harness::new(50).await;
    harness.settings.page_rows = 7;
    let updates: Vec<_> = (0..50).map(|n| harness.update(n, 5)).collect();
    harness.embedded.store.apply_batch(&updates, ManualClock::default().now()).await.unwrap();
    let worker = harness.start();
    harness.index_is_right().await;
    assert!(harness.ranks.fills.load(Ordering::SeqCst) >= 8, "50 rows are eight pages of seven");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_lags_is_brought_up_by_one_page() {
    let harness = Harness::new(10).await;
    let worker = harness.start();
    harness.send(10);
    harness.all_acknowledged().await;
    harness.index_is_right().await;
    worker.stop().await;
    let updates: Vec<_> = (0..10).map(|n| harness.update(n, 5)).collect();
    harness.embedded.store.apply_batch(&updates, ManualClock::default().now()).await.unwrap();
    let fills = harness.ranks.fills.load(Ordering::SeqCst);
    let worker = harness.start();
    harness.index_is_right().await;
    assert_eq!(harness.ranks.fills.load(Ordering::SeqCst), fills, "no fill was needed");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_ahead_of_the_truth_or_of_another_epoch_is_rebuilt() {
    for (history, version) in [("e1", 500), ("e0", 2), ("e0", 500)] {
        let harness = Harness::new(5).await;
        let updates: Vec<_> = (0..5).map(|n| harness.update(n, 5)).collect();
        harness.embedded.store.apply_batch(&updates, ManualClock::default().now()).await.unwrap();
        let (index, filler) = (harness.ranks.now(), Uuid::new_v4());
        let state = StatePoint { epoch: epoch(history), version: Version(version) };
        let start = index.begin_fill(&harness.board, &state.epoch, state.version, filler).await.unwrap();
        assert_eq!(start, FillStart::From(Version::ZERO));
        let stray = testkit::fixtures::row(harness.players[0].user, 1_000_000, version);
        index.fill(&harness.board, filler, &[stray]).await.unwrap();
        index.finish_fill(&harness.board, filler, &state).await.unwrap();
        assert_eq!(index.state(&harness.board).await.unwrap(), IndexState::At(state));
        let worker = harness.start();
        harness.index_is_right().await;
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_goes_on_while_somebody_else_fills() {
    let harness = Harness::new(5).await;
    let filler = Uuid::new_v4();
    let index = harness.ranks.now();
    index.begin_fill(&harness.board, &epoch("e1"), Version::ZERO, filler).await.unwrap();
    let worker = harness.start();
    let updates = harness.send(20);
    harness.all_acknowledged().await;
    harness.applied_once(&updates).await;
    let state = StatePoint { epoch: epoch("e1"), version: Version::ZERO };
    index.finish_fill(&harness.board, filler, &state).await.unwrap();
    harness.index_is_right().await;
    worker.stop().await;
}
