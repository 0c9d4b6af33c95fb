//! Projectors that race while Redis forgets everything now and then: what is shown is always a state that was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::ports::{IndexState, Projected, RankIndex};
use distributed::redis::RedisRanks;
use proptest::prelude::*;
use testkit::contract::rank_index::{assert_shows, follow_the_model};
use testkit::fixtures::{board_id, seeded_user};
use testkit::history::{CaughtUp, History};
use testkit::sequences::{for_any, projection_steps};
use testkit::waiting::{SOON, eventually};

use crate::server::{PrivateServer, ask};

#[tokio::test(flavor = "multi_thread")]
async fn any_sequence_with_flushes_equals_the_model() {
    let server = PrivateServer::start().await;
    let (ranks, redis) = (RedisRanks::new(server.link()), server.operator().await);
    for_any(64, projection_steps(40), |steps| {
        let (ranks, redis) = (&ranks, redis.clone());
        async move {
            let flush = async || ask::<()>(&mut redis.clone(), "FLUSHALL").await;
            follow_the_model(ranks, &steps, flush).await;
        }
    });
}

/// A race: what happened on the board, and in which order each projector hears of its ranges.
#[derive(Clone, Debug)]
struct Race {
    commits: Vec<Vec<(usize, Option<i64>)>>,
    heard: [Vec<usize>; 2],
    /// After how many deliveries Redis is flushed.
    flushes: Vec<usize>,
}

fn races() -> impl Strategy<Value = Race> {
    let score = prop_oneof![8 => (-3..6_i64).prop_map(Some), 1 => Just(None)];
    let commits = prop::collection::vec(prop::collection::vec((0..8_usize, score), 1..5), 1..25);
    commits.prop_flat_map(|commits| {
        // Each range about twice, each projector in an order of its own.
        let heard = prop::collection::vec(0..commits.len(), 0..2 * commits.len());
        let heard = (heard.clone(), heard).prop_map(|(a, b)| [a, b]);
        let flushes = prop::collection::vec(0..40_usize, 0..3);
        (Just(commits), heard, flushes).prop_map(|(commits, heard, flushes)| Race { commits, heard, flushes })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_projectors_that_race_through_flushes_equal_the_model() {
    let server = PrivateServer::start().await;
    let ranks = Arc::new(RedisRanks::new(server.link()));
    let redis = server.operator().await;
    for_any(48, races(), |race| run(Arc::clone(&ranks), redis.clone(), race));
}

async fn run(ranks: Arc<RedisRanks>, redis: deadpool_redis::redis::aio::MultiplexedConnection, race: Race) {
    let mut history = History::new(board_id());
    let mut ranges = Vec::new();
    for commit in &race.commits {
        let from = history.head().0;
        commit.iter().for_each(|(user, score)| _ = history.push(seeded_user(*user), *score));
        ranges.push((from, history.head().0));
    }
    let history = Arc::new(history);
    let ended = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(watch(Arc::clone(&ranks), Arc::clone(&history), Arc::clone(&ended)));
    let projectors = race.heard.map(|heard| {
        let (ranks, history, ranges) = (Arc::clone(&ranks), Arc::clone(&history), ranges.clone());
        let (mut redis, flushes) = (redis.clone(), race.flushes.clone());
        tokio::spawn(async move {
            for (n, range) in heard.into_iter().enumerate() {
                if flushes.contains(&n) {
                    ask::<()>(&mut redis, "FLUSHALL").await;
                }
                let (from, to) = ranges[range];
                if matches!(ranks.apply(&history.change(from, to)).await.unwrap(), Projected::Behind(_)) {
                    // Busy and lost are for the one who fills, or for the next change, to mend.
                    history.catch_up(&*ranks, 3).await;
                }
            }
        })
    });
    for projector in projectors {
        projector.await.expect("a projector");
    }
    ended.store(true, Ordering::SeqCst);
    reader.await.expect("the reader");
    assert_eq!(history.catch_up(&*ranks, 3).await, CaughtUp::Done);
    assert_shows(&*ranks, &history, history.head()).await;
}

/// Whatever is read at any moment is exactly the state that it names, in order and number.
async fn watch(ranks: Arc<RedisRanks>, history: Arc<History>, ended: Arc<AtomicBool>) {
    while !ended.load(Ordering::SeqCst) {
        if let Some((state, top)) = ranks.top(&history.board, 100).await.unwrap() {
            let lines: Vec<_> = top.iter().map(|p| (p.user, p.score, p.version)).collect();
            assert_eq!(lines, history.model_at(state.version).ranked(), "as of {state}");
        }
        if let Some((state, players)) = ranks.count(&history.board).await.unwrap() {
            assert_eq!(players, history.model_at(state.version).ranked().len() as u64, "as of {state}");
        }
    }
}

#[tokio::test]
async fn a_hundred_thousand_players_are_back_within_five_seconds_of_a_flush() {
    let server = PrivateServer::start().await;
    let (ranks, mut redis) = (RedisRanks::new(server.link()), server.operator().await);
    let scores: Vec<i64> = (0..100_000).map(|n| n * 7_919 % 50_000).collect();
    let history = History::of_scores(board_id(), &scores);
    let pages: Vec<_> = {
        let rows = history.rows_above(common::state::Version::ZERO, scores.len());
        rows.chunks(5_000).map(<[_]>::to_vec).collect()
    };
    ask::<()>(&mut redis, "FLUSHALL").await;
    let start = std::time::Instant::now();
    let filler = uuid::Uuid::new_v4();
    ranks.begin_fill(&history.board, &history.epoch, history.head(), filler).await.unwrap();
    for page in &pages {
        ranks.fill(&history.board, filler, page).await.unwrap();
    }
    ranks.finish_fill(&history.board, filler, &history.state()).await.unwrap();
    let took = start.elapsed();
    assert_eq!(ranks.state(&history.board).await.unwrap(), IndexState::At(history.state()));
    let (_, players) = ranks.count(&history.board).await.unwrap().unwrap();
    assert_eq!(players, 100_000);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_server_that_forgot_its_scripts_gets_them_again() {
    let server = PrivateServer::start().await;
    let (ranks, mut redis) = (RedisRanks::new(server.link()), server.operator().await);
    let mut history = History::of_scores(board_id(), &[1, 2]);
    assert_eq!(history.catch_up(&ranks, 10).await, CaughtUp::Done);
    ask::<()>(&mut redis, "SCRIPT FLUSH").await;
    history.push(seeded_user(0), Some(3));
    assert!(matches!(ranks.apply(&history.change(2, 3)).await.unwrap(), Projected::Standing(_)));
    ask::<()>(&mut redis, "SCRIPT FLUSH").await;
    assert_shows(&ranks, &history, history.head()).await;
}

#[tokio::test]
async fn a_server_that_starts_anew_is_filled_again() {
    let mut server = PrivateServer::start().await;
    let ranks = RedisRanks::new(server.link());
    let history = History::of_scores(board_id(), &[1, 2]);
    assert_eq!(history.catch_up(&ranks, 10).await, CaughtUp::Done);
    server.kill();
    server.start_again().await;
    eventually(SOON, "the link to find the new server", || async {
        ranks.state(&history.board).await.map(|state| assert_eq!(state, IndexState::Empty))
    })
    .await;
    assert_eq!(history.catch_up(&ranks, 10).await, CaughtUp::Done);
    assert_shows(&ranks, &history, history.head()).await;
}
