//! A Redis that is silent, gone or refuses: every call ends in time and says what is the matter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::ids::IdempotencyKey;
use common::ports::{AdmissionRequest, Dependency, Guard, KeyClaim, KeyState, PendingMarks, RankIndex, StoreError};
use common::score_update::ContentHash;
use distributed::redis::{RedisDependency, RedisGuard, RedisLink, RedisPendingMarks, RedisRanks, RedisSettings};
use testkit::clock::ManualClock;
use testkit::fixtures::{board_id, submission_id, update, user_id};
use testkit::history::{CaughtUp, History};
use testkit::proxy::Proxy;
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
async fn a_half_open_connection_is_replaced() {
    let server = PrivateServer::start().await;
    let (proxy, history) = (Proxy::before(&server.url()).await, History::of_scores(board_id(), &[1, 2]));
    let link = RedisLink::new(RedisSettings::new(proxy.url())).expect("the URL is well-formed");
    answers_again(&link, &history).await;
    proxy.lose(true);
    every_call_ends_in_time(&link, &history).await;
    proxy.lose(false);
    answers_again(&link, &history).await;
    // Also where nobody noticed while it lasted.
    proxy.lose(true);
    proxy.lose(false);
    let ranks = RedisRanks::new(link);
    unavailable(BOUND, ranks.state(&history.board)).await;
    ranks.state(&history.board).await.expect("one silence is enough");
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

fn claim(key: &str, content: u8) -> AdmissionRequest {
    let key = IdempotencyKey::parse(key).unwrap();
    let claim =
        KeyClaim { user: user_id(), key, content_hash: ContentHash([content; 32]), submission: submission_id() };
    AdmissionRequest { claim: Some(claim), ..AdmissionRequest::default() }
}

fn again(request: &AdmissionRequest, content: u8) -> AdmissionRequest {
    let claim = request.claim.clone().unwrap();
    let claim = KeyClaim { content_hash: ContentHash([content; 32]), submission: submission_id(), ..claim };
    AdmissionRequest { claim: Some(claim), ..AdmissionRequest::default() }
}

#[tokio::test]
async fn without_redis_a_repeat_has_its_answer_and_a_refusal_uses_nothing_up() {
    let mut server = PrivateServer::start().await;
    let guard = RedisGuard::new(server.impatient_link(), Arc::new(ManualClock::default()));
    let (claimed_before, refused, answered) = (claim("before", 1), claim("refused", 1), claim("answered", 1));
    assert_eq!(guard.admit(&claimed_before).await.key, KeyState::Free);
    server.kill();

    assert_eq!(guard.admit(&refused).await.key, KeyState::Free);
    guard.release(refused.claim.as_ref().unwrap()).await;
    assert_eq!(guard.admit(&again(&refused, 2)).await.key, KeyState::Free, "the corrected request");

    assert_eq!(guard.admit(&answered).await.key, KeyState::Free);
    guard.keep_answer(answered.claim.as_ref().unwrap(), b"first").await;
    // Reserved in Redis, answered when it was gone already.
    guard.keep_answer(claimed_before.claim.as_ref().unwrap(), b"first").await;
    for request in [answered, claimed_before] {
        match guard.admit(&again(&request, 1)).await.key {
            KeyState::Answered(answer) => assert_eq!(answer.body, b"first"),
            other => panic!("the repeat found {other:?}"),
        }
    }
}
