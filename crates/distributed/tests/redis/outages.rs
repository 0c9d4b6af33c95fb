//! A Redis that is silent, gone or refuses: every call ends in time and says what is the matter.

use std::time::{Duration, Instant};

use common::ports::{Dependency, PendingMarks, RankIndex, StoreError};
use distributed::redis::{RedisDependency, RedisLink, RedisPendingMarks, RedisRanks};
use testkit::fixtures::{board_id, update, user_id};
use testkit::history::{CaughtUp, History};
use testkit::waiting::{SOON, eventually};
use uuid::Uuid;

use crate::server::{PrivateServer, ask};

/// What services allow for one exchange, and something for a busy machine.
const BOUND: Duration = Duration::from_millis(250 + 750);
/// The same for a page of a fill.
const FILL_BOUND: Duration = Duration::from_millis(2_000 + 750);

async fn unavailable<T: std::fmt::Debug>(bound: Duration, call: impl Future<Output = Result<T, StoreError>>) {
    let start = Instant::now();
    let error = call.await.expect_err("no answer can have come");
    assert!(matches!(error, StoreError::Unavailable { store: "redis", .. }), "{error:?}");
    assert!(start.elapsed() < bound, "{:?}", start.elapsed());
}

async fn every_call_ends_in_time(link: &RedisLink, history: &History) {
    let (ranks, board, filler) = (RedisRanks::new(link.clone()), &history.board, Uuid::new_v4());
    unavailable(BOUND, ranks.state(board)).await;
    unavailable(BOUND, ranks.apply(&history.change(1, 2))).await;
    unavailable(BOUND, ranks.begin_fill(board, &history.epoch, history.head(), filler)).await;
    unavailable(FILL_BOUND, ranks.fill(board, filler, &[])).await;
    unavailable(BOUND, ranks.finish_fill(board, filler, &history.state())).await;
    unavailable(BOUND, ranks.top(board, 10)).await;
    unavailable(BOUND, ranks.neighborhood(board, user_id(), 1)).await;
    unavailable(BOUND, ranks.count(board)).await;
    let (marks, update, start) = (RedisPendingMarks::new(link.clone()), update(user_id(), "a").build(), Instant::now());
    marks.mark(&update).await;
    assert_eq!(marks.find(update.user, &update.board, &update.action_id).await, None);
    assert!(start.elapsed() < 2 * BOUND, "{:?}", start.elapsed());
}

async fn answers_again(link: &RedisLink, history: &History) {
    let ranks = RedisRanks::new(link.clone());
    eventually(SOON, "redis to be found again", || ranks.state(&history.board)).await;
    assert_eq!(history.catch_up(&ranks, 10).await, CaughtUp::Done);
}

#[tokio::test]
async fn a_silent_server_keeps_nobody_waiting() {
    let server = PrivateServer::start().await;
    let (link, history) = (server.impatient_link(), History::of_scores(board_id(), &[1, 2]));
    answers_again(&link, &history).await;
    server.freeze();
    every_call_ends_in_time(&link, &history).await;
    server.thaw();
    answers_again(&link, &history).await;
}

#[tokio::test]
async fn a_server_that_is_gone_keeps_nobody_waiting() {
    let mut server = PrivateServer::start().await;
    let (link, history) = (server.impatient_link(), History::of_scores(board_id(), &[1, 2]));
    answers_again(&link, &history).await;
    server.kill();
    every_call_ends_in_time(&link, &history).await;
    server.start_again().await;
    answers_again(&link, &history).await;
}

#[tokio::test]
async fn a_connection_that_died_unnoticed_costs_no_error() {
    let server = PrivateServer::start().await;
    let (ranks, mut redis) = (RedisRanks::new(server.link()), server.operator().await);
    let board = board_id();
    for _ in 0..5 {
        ranks.state(&board).await.expect("the connection is replaced");
        // All but the operator's own.
        ask::<u64>(&mut redis, "CLIENT KILL TYPE normal SKIPME yes").await;
    }
}

#[tokio::test]
async fn readiness_knows_a_server_that_takes_no_writes() {
    let mut server = PrivateServer::start().await;
    let (dependency, mut redis) = (RedisDependency::new(server.impatient_link()), server.operator().await);
    assert_eq!((dependency.name(), dependency.setting()), ("redis", "SCOREBOARD__REDIS__URL"));
    assert_eq!(dependency.check().await, Ok(()));
    ask::<()>(&mut redis, "REPLICAOF 127.0.0.1 1").await;
    let words = dependency.check().await.expect_err("a replica takes no writes");
    assert!(words.contains("READONLY") || words.to_lowercase().contains("read only"), "{words}");
    ask::<()>(&mut redis, "REPLICAOF NO ONE").await;
    assert_eq!(dependency.check().await, Ok(()));
    ask::<()>(&mut redis, "CONFIG SET maxmemory 1").await;
    let words = dependency.check().await.expect_err("a full server takes no writes");
    assert!(words.contains("OOM") || words.contains("memory"), "{words}");
    ask::<()>(&mut redis, "CONFIG SET maxmemory 0").await;
    assert_eq!(dependency.check().await, Ok(()));
    let start = Instant::now();
    server.freeze();
    dependency.check().await.expect_err("a silent server");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    server.kill();
    let words = dependency.check().await.expect_err("a server that is gone");
    assert!(words.contains("cannot be reached"), "{words}");
}
