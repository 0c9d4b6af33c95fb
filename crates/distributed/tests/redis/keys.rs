//! The keys that DESIGN.md, section 7, promises, and how many exchanges a change costs.

use common::ports::{Projected, RankIndex, StoreError};
use common::state::Version;
use distributed::redis::{RedisPendingMarks, RedisRanks};
use testkit::contract::rank_index::assert_shows;
use testkit::fixtures::{board_id, change, row, seeded_user, update, user_id};
use testkit::history::{CaughtUp, History};

use crate::server::{PrivateServer, ask, operator, shared_link, shared_url};

#[tokio::test]
async fn a_board_has_the_keys_of_the_contract_in_one_hash_slot() {
    let (ranks, mut redis) = (RedisRanks::new(shared_link()), operator(&shared_url()).await);
    let mut history = History::of_scores(board_id(), &[7, 9]);
    assert_eq!(history.catch_up(&ranks, 10).await, CaughtUp::Done);
    history.push(seeded_user(0), Some(9));
    ranks.apply(&history.change(2, 3)).await.unwrap();
    let tag = format!("leaderboard:{{{}}}", history.board);
    let members: Vec<String> = ask(&mut redis, &format!("ZREVRANGE {tag}:scores 0 -1 WITHSCORES")).await;
    // u64::MAX - 2 and - 3: who reached nine first comes first.
    let member = |hex: &str, user| format!("{hex}:{}", seeded_user(user));
    assert_eq!(members, [member("fffffffffffffffd", 1), "9".into(), member("fffffffffffffffc", 0), "9".into()]);
    assert_eq!(ask::<String>(&mut redis, &format!("GET {tag}:version")).await, "e1.3");
    assert_eq!(ask::<u64>(&mut redis, &format!("HLEN {tag}:members")).await, 2);
    assert_eq!(ask::<u64>(&mut redis, &format!("EXISTS {tag}:fill")).await, 0);
    let mut keys: Vec<String> = ask(&mut redis, &format!("KEYS *{}*", history.board)).await;
    keys.sort();
    assert_eq!(keys, ["members", "scores", "version"].map(|name| format!("{tag}:{name}")));
}

#[tokio::test]
async fn members_order_like_versions_over_the_whole_range() {
    let ranks = RedisRanks::new(shared_link());
    let empty = History::new(board_id());
    assert_eq!(empty.catch_up(&ranks, 10).await, CaughtUp::Done);
    // Around every power of two that a careless conversion would stumble over.
    let versions: Vec<u64> = (1..53).flat_map(|bit| [(1 << bit) - 1, 1 << bit]).chain([(1 << 53) - 1]).collect();
    let rows: Vec<_> = versions.iter().enumerate().map(|(n, version)| row(seeded_user(n), 5, *version)).collect();
    let last = rows.last().unwrap().version.0;
    let Projected::Standing(found) = ranks.apply(&change(&empty.board, 0, last, rows)).await.unwrap() else {
        panic!("it stands at zero")
    };
    // 1, 1 and 2 are the start of the list: all versions but the second one are different.
    let in_order: Vec<_> = found.iter().map(|rank| rank.unwrap()).collect();
    assert!(in_order.is_sorted(), "{in_order:?}");
    let (state, top) = ranks.top(&empty.board, 1_000).await.unwrap().unwrap();
    assert_eq!(state.version, Version(last));
    assert!(top.iter().map(|p| p.version.0).eq(versions));
}

#[tokio::test]
async fn what_a_double_cannot_hold_is_refused() {
    let ranks = RedisRanks::new(shared_link());
    let empty = History::new(board_id());
    assert_eq!(empty.catch_up(&ranks, 10).await, CaughtUp::Done);
    for (score, version) in [(1 << 53, 1), (-(1 << 53), 1), (i64::MIN, 1), (5, 1 << 53), (5, u64::MAX)] {
        let error = ranks.apply(&change(&empty.board, 0, version, vec![row(user_id(), score, 1)])).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{score} at {version}: {error:?}");
    }
    assert_shows(&ranks, &empty, Version::ZERO).await;
}

#[tokio::test]
async fn a_change_of_500_rows_is_one_call() {
    let server = PrivateServer::start().await;
    let (ranks, mut redis) = (RedisRanks::new(server.link()), server.operator().await);
    let mut history = History::new(board_id());
    assert_eq!(history.catch_up(&ranks, 10).await, CaughtUp::Done);
    (0..1_000).for_each(|n| _ = history.push(seeded_user(n), Some(n as i64 % 9)));
    // The first time the server does not know the script yet.
    ranks.apply(&history.change(0, 500)).await.unwrap();
    ask::<()>(&mut redis, "CONFIG RESETSTAT").await;
    let Projected::Standing(found) = ranks.apply(&history.change(500, 1_000)).await.unwrap() else { panic!("live") };
    assert_eq!(found.len(), 500);
    let stats: String = ask(&mut redis, "INFO commandstats").await;
    let calls = |command: &str| {
        let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:")));
        line.map(|line| line.split(['=', ',']).nth(1).unwrap().to_owned())
    };
    assert_eq!(calls("evalsha").as_deref(), Some("1"), "{stats}");
    for more in ["eval", "script|load", "ping", "get|set"] {
        assert_eq!(calls(more), None, "{more}");
    }
    assert_shows(&ranks, &history, Version(1_000)).await;
}

#[tokio::test]
async fn a_pending_mark_lives_an_hour() {
    use common::ports::PendingMarks;
    let (marks, mut redis) = (RedisPendingMarks::new(shared_link()), operator(&shared_url()).await);
    let update = update(user_id(), "match:42").points(7).build();
    marks.mark(&update).await;
    let ttl: i64 = ask(&mut redis, &format!("TTL pending:{{{}}}:global:match:42", update.user)).await;
    assert!((3_590..=3_600).contains(&ttl), "{ttl} s");
    assert_eq!(marks.find(update.user, &update.board, &update.action_id).await, Some(update));
}
