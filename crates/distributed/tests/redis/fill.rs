//! Fills that are interrupted: by silence, by a flush, by a server that starts anew.

use common::ports::{FillStart, FillStep, IndexState, RankIndex};
use common::state::Version;
use distributed::redis::RedisRanks;
use testkit::contract::rank_index::assert_shows;
use testkit::fixtures::{board_id, row, seeded_user};
use testkit::history::{CaughtUp, History};
use testkit::waiting::{SOON, eventually};
use uuid::Uuid;

use crate::server::{PrivateServer, ask, operator, shared_link, shared_url};

#[tokio::test]
async fn every_step_gives_the_filler_ten_seconds_more() {
    let (ranks, mut redis) = (RedisRanks::new(shared_link()), operator(&shared_url()).await);
    let history = History::of_scores(board_id(), &[1, 2, 3]);
    let (filler, key) = (Uuid::new_v4(), format!("leaderboard:{{{}}}:fill", history.board));
    ranks.begin_fill(&history.board, &history.epoch, Version(3), filler).await.unwrap();
    for page in [1, 2] {
        let left: i64 = ask(&mut redis, &format!("PTTL {key}")).await;
        assert!((5_001..=10_000).contains(&left), "{left} ms before page {page}");
        ask::<()>(&mut redis, &format!("PEXPIRE {key} 5000")).await;
        let rows = history.rows_above(Version::ZERO, page);
        assert_eq!(ranks.fill(&history.board, filler, &rows).await.unwrap(), FillStep::Done);
    }
    let left: i64 = ask(&mut redis, &format!("PTTL {key}")).await;
    assert!((5_001..=10_000).contains(&left), "{left} ms");
}

#[tokio::test]
async fn a_silent_filler_is_followed_by_another_who_trusts_nothing_of_its_work() {
    let (ranks, mut redis) = (RedisRanks::new(shared_link()), operator(&shared_url()).await);
    let mut history = History::of_scores(board_id(), &[10, 20, 30, 40]);
    assert_eq!(history.catch_up(&ranks, 10).await, CaughtUp::Done);
    history.push(seeded_user(0), Some(50));
    let (board, silent, next) = (&history.board, Uuid::new_v4(), Uuid::new_v4());
    ranks.begin_fill(board, &history.epoch, Version(5), silent).await.unwrap();
    ranks.fill(board, silent, &history.rows_above(Version(4), 1)).await.unwrap();
    assert_eq!(ranks.begin_fill(board, &history.epoch, Version(5), next).await.unwrap(), FillStart::Busy);
    // Ten seconds go by.
    ask::<()>(&mut redis, &format!("PEXPIRE leaderboard:{{{board}}}:fill 1")).await;
    eventually(SOON, "the silent filler's time to run out", || async {
        (ranks.state(board).await.unwrap() == IndexState::Empty).then_some(())
    })
    .await;
    assert_eq!(ranks.top(board, 10).await.unwrap(), None);
    let begun = ranks.begin_fill(board, &history.epoch, Version(5), next).await.unwrap();
    assert_eq!(begun, FillStart::From(Version::ZERO));
    // The first one wakes up.
    assert_eq!(ranks.fill(board, silent, &history.rows_above(Version(4), 1)).await.unwrap(), FillStep::Lost);
    assert_eq!(ranks.finish_fill(board, silent, &history.state()).await.unwrap(), FillStep::Lost);
    ranks.fill(board, next, &history.rows_above(Version::ZERO, 10)).await.unwrap();
    assert_eq!(ranks.finish_fill(board, next, &history.state()).await.unwrap(), FillStep::Done);
    assert_shows(&ranks, &history, Version(5)).await;
}

#[tokio::test]
async fn a_flush_between_any_two_calls_of_a_fill_does_no_harm() {
    let server = PrivateServer::start().await;
    let (ranks, mut redis) = (RedisRanks::new(server.link()), server.operator().await);
    // Begin, three pages, finish: flushed before each of the last four and after the end.
    for flushed_before in 1..=5 {
        let history = History::of_scores(board_id(), &[10, 20, 30]);
        let (board, filler) = (&history.board, Uuid::new_v4());
        ranks.begin_fill(board, &history.epoch, Version(3), filler).await.unwrap();
        let mut lost = false;
        for call in 1..=5 {
            if call == flushed_before {
                ask::<()>(&mut redis, "FLUSHALL").await;
                lost = true;
            }
            let step = match call {
                page @ 1..=3 => {
                    let rows = history.rows_above(Version(page - 1), 1);
                    ranks.fill(board, filler, &rows).await.unwrap()
                }
                4 => ranks.finish_fill(board, filler, &history.state()).await.unwrap(),
                _ => continue,
            };
            assert_eq!(step, if lost { FillStep::Lost } else { FillStep::Done }, "call {call} of {flushed_before}");
        }
        assert_eq!(ranks.state(board).await.unwrap(), IndexState::Empty, "a page without a fill leaves nothing");
        assert_eq!(ranks.top(board, 10).await.unwrap(), None);
        assert_eq!(history.catch_up(&ranks, 2).await, CaughtUp::Done);
        assert_shows(&ranks, &history, Version(3)).await;
    }
}

#[tokio::test]
async fn a_fill_that_begins_after_a_flush_is_not_disturbed_by_the_one_before() {
    let server = PrivateServer::start().await;
    let (ranks, mut redis) = (RedisRanks::new(server.link()), server.operator().await);
    let history = History::of_scores(board_id(), &[10, 20, 30]);
    let (board, old, new) = (&history.board, Uuid::new_v4(), Uuid::new_v4());
    ranks.begin_fill(board, &history.epoch, Version(3), old).await.unwrap();
    ranks.fill(board, old, &history.rows_above(Version::ZERO, 2)).await.unwrap();
    ask::<()>(&mut redis, "FLUSHALL").await;
    let begun = ranks.begin_fill(board, &history.epoch, Version(3), new).await.unwrap();
    assert_eq!(begun, FillStart::From(Version::ZERO));
    assert_eq!(ranks.fill(board, old, &history.rows_above(Version(2), 1)).await.unwrap(), FillStep::Lost);
    // Otherwise the end would show a board without the first two.
    assert_eq!(ranks.finish_fill(board, old, &history.state()).await.unwrap(), FillStep::Lost);
    ranks.fill(board, new, &history.rows_above(Version::ZERO, 10)).await.unwrap();
    assert_eq!(ranks.finish_fill(board, new, &history.state()).await.unwrap(), FillStep::Done);
    assert_shows(&ranks, &history, Version(3)).await;
}

#[tokio::test]
async fn a_user_who_comes_twice_in_a_page_has_one_place() {
    let ranks = RedisRanks::new(shared_link());
    let empty = History::new(board_id());
    let (board, filler, user) = (&empty.board, Uuid::new_v4(), seeded_user(0));
    ranks.begin_fill(board, &empty.epoch, Version(4), filler).await.unwrap();
    let page = [row(user, 5, 1), row(user, 7, 3), row(user, 6, 2), row(seeded_user(1), 1, 4)];
    assert_eq!(ranks.fill(board, filler, &page).await.unwrap(), FillStep::Done);
    assert_eq!(ranks.finish_fill(board, filler, &empty.state_at(Version(4))).await.unwrap(), FillStep::Done);
    let (_, top) = ranks.top(board, 10).await.unwrap().unwrap();
    let lines: Vec<_> = top.iter().map(|p| (p.user, p.score, p.version.0)).collect();
    assert_eq!(lines, [(user, 7, 3), (seeded_user(1), 1, 4)]);
}

#[tokio::test]
async fn ranks_that_contradict_themselves_are_thrown_away() {
    let (ranks, mut redis) = (RedisRanks::new(shared_link()), operator(&shared_url()).await);
    for lost in ["members", "scores"] {
        let mut history = History::of_scores(board_id(), &[10, 20]);
        let (board, user) = (history.board.clone(), seeded_user(1));
        assert_eq!(history.catch_up(&ranks, 10).await, CaughtUp::Done);
        // As a Redis that may evict anything would.
        ask::<()>(&mut redis, &format!("DEL leaderboard:{{{board}}}:{lost}")).await;
        match lost {
            "members" => assert_eq!(ranks.top(&board, 10).await.unwrap(), None),
            _ => assert_eq!(ranks.neighborhood(&board, user, 1).await.unwrap(), None),
        }
        assert_eq!(ranks.state(&board).await.unwrap(), IndexState::Empty);
        history.push(user, Some(5));
        assert_eq!(history.catch_up(&ranks, 10).await, CaughtUp::Done);
        assert_shows(&ranks, &history, Version(3)).await;
    }
}
