//! An index that is rebuilt beside the live one and put in its place.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::ids::BoardId;
use common::ports::{IndexState, Projected, RankIndex};
use common::state::Version;
use distributed::redis::{RebuiltRanks, RedisRanks, Swap};
use testkit::contract::rank_index::assert_shows;
use testkit::fixtures::{board_id, row, seeded_user};
use testkit::history::{CaughtUp, History};
use uuid::Uuid;

use crate::server::{ask, operator, shared_link, shared_url};

/// Spoils the live index in a way that it does not contradict itself: somebody who never played leads.
async fn spoil(ranks: &RedisRanks, history: &History) {
    let (filler, head) = (Uuid::new_v4(), history.head());
    ranks.begin_fill(&history.board, &history.epoch, head, filler).await.unwrap();
    let ghost = row(seeded_user(99), 1_000_000, head.0);
    ranks.fill(&history.board, filler, &[history.rows_above(Version::ZERO, 100), vec![ghost]].concat()).await.unwrap();
    ranks.finish_fill(&history.board, filler, &history.state()).await.unwrap();
}

#[tokio::test]
async fn a_rebuilt_index_takes_the_place_of_the_live_one_and_leaves_nothing_beside() {
    let (ranks, rebuilt) = (RedisRanks::new(shared_link()), RebuiltRanks::new(shared_link()));
    let history = History::of_scores(board_id(), &[10, 20, 30]);
    let board = &history.board;
    spoil(&ranks, &history).await;
    let spoiled = ranks.top(board, 10).await.unwrap();
    assert_eq!(spoiled.as_ref().map(|(_, top)| top[0].user), Some(seeded_user(99)));

    rebuilt.clear(board).await.unwrap();
    assert_eq!(rebuilt.swap(board, 0).await.unwrap(), Swap::NothingBuilt);
    assert_eq!(history.catch_up(rebuilt.index(), 2).await, CaughtUp::Done);
    assert_eq!(ranks.top(board, 10).await.unwrap(), spoiled, "the live index is as it was until the swap");
    assert_eq!(rebuilt.swap(board, 0).await.unwrap(), Swap::Done);
    assert_shows(&ranks, &history, Version(3)).await;
    let left: Vec<String> =
        ask(&mut operator(&shared_url()).await, &format!("KEYS leaderboard:{{{board}}}:rebuild:*")).await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_swap_takes_the_live_index_back_no_further_than_it_may() {
    let (ranks, rebuilt) = (RedisRanks::new(shared_link()), RebuiltRanks::new(shared_link()));
    let mut history = History::of_scores(board_id(), &[10, 20]);
    let board = history.board.clone();
    rebuilt.clear(&board).await.unwrap();
    assert_eq!(history.catch_up(rebuilt.index(), 10).await, CaughtUp::Done);
    history.push(seeded_user(0), Some(25));
    assert_eq!(history.catch_up(&ranks, 10).await, CaughtUp::Done);
    assert_eq!(rebuilt.swap(&board, 0).await.unwrap(), Swap::Behind(history.state()));
    assert_shows(&ranks, &history, Version(3)).await;
    assert_eq!(rebuilt.swap(&board, 1).await.unwrap(), Swap::Done);
    assert_shows(&ranks, &history, Version(2)).await;
    // Who projects next is told where the index stands, and catches it up.
    let next = history.push(seeded_user(1), Some(30));
    let told = ranks.apply(&history.change(next.0 - 1, next.0)).await.unwrap();
    assert_eq!(told, Projected::Behind(IndexState::At(history.state_at(Version(2)))));
    assert!(matches!(ranks.apply(&history.change(2, next.0)).await.unwrap(), Projected::Standing(_)));
    assert_shows(&ranks, &history, next).await;
}

const CHANGES: u64 = 400;

/// The first `versions` changes of one history.
fn played(board: &BoardId, versions: u64) -> History {
    let mut history = History::new(board.clone());
    for n in 0..versions {
        let score = i64::try_from(n * 7_919 % 1_000).unwrap();
        history.push(seeded_user(usize::try_from(n % 17).unwrap()), Some(score));
    }
    history
}

/// Rebuilds and swaps in a loop while changes are applied: no change finds the index behind, and every look sees the
/// board whole, as it was at the version that it says, and never older than the look before.
#[tokio::test(flavor = "multi_thread")]
async fn swaps_are_seen_neither_by_who_applies_nor_by_who_looks() {
    let ranks = RedisRanks::new(shared_link());
    let (board, committed, ended) = (board_id(), AtomicU64::new(20), AtomicBool::new(false));
    let whole = played(&board, CHANGES);
    assert_eq!(played(&board, 20).catch_up(&ranks, 100).await, CaughtUp::Done);
    let apply = async {
        for version in 21..=CHANGES {
            committed.store(version, Ordering::SeqCst);
            let told = ranks.apply(&whole.change(version - 1, version)).await.unwrap();
            assert!(matches!(told, Projected::Standing(_)), "{version}: {told:?}");
        }
        ended.store(true, Ordering::SeqCst);
    };
    let rebuild = async {
        let rebuilt = RebuiltRanks::new(shared_link());
        let (mut done, mut behind) = (0, 0);
        while !ended.load(Ordering::SeqCst) {
            rebuilt.clear(&board).await.unwrap();
            let history = played(&board, committed.load(Ordering::SeqCst));
            assert_eq!(history.catch_up(rebuilt.index(), 5).await, CaughtUp::Done);
            loop {
                // What happened since, in one step.
                let (from, to) = match rebuilt.index().state(&board).await.unwrap() {
                    IndexState::At(state) => (state.version.0, committed.load(Ordering::SeqCst)),
                    other => panic!("{other:?}"),
                };
                if from < to {
                    rebuilt.index().apply(&whole.change(from, to)).await.unwrap();
                }
                match rebuilt.swap(&board, 0).await.unwrap() {
                    Swap::Done => break done += 1,
                    Swap::Behind(_) => behind += 1,
                    Swap::NothingBuilt => panic!("it was built"),
                }
            }
        }
        (done, behind)
    };
    let look = async {
        let (mut last, mut looks) = (Version::ZERO, 0);
        while !ended.load(Ordering::SeqCst) {
            let (at, top) = ranks.top(&board, 100).await.unwrap().expect("there is a board at every moment");
            assert!(last <= at.version, "{at} after {}", last.0);
            last = at.version;
            let seen: Vec<_> = top.iter().map(|p| (p.user, p.score, p.version)).collect();
            assert_eq!(seen, whole.model_at(last).ranked(), "at {at}");
            looks += 1;
        }
        looks
    };
    let ((), (done, behind), looks) = tokio::join!(apply, rebuild, look);
    assert!(done >= 3 && looks >= 10, "{done} swaps, {looks} looks");
    eprintln!("{done} swaps and {behind} that came too late while {CHANGES} changes were applied, {looks} looks");
    assert_shows(&ranks, &whole, Version(CHANGES)).await;
}
