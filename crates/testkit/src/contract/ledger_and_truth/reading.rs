//! The read side: order and ties, neighborhoods, pages, heads, receipts, digests.

use common::ids::{BoardId, UserId};
use common::ports::BoardDigest;
use common::score_update::ScoreUpdate;
use common::standing::Entry;
use common::state::Version;

use super::Fixture;
use crate::fixtures::{action_id, board_id, noon, rules, update, user_id};

/// One action for each pair of user and points, in this order.
async fn play(fixture: &Fixture, board: &BoardId, plays: &[(UserId, i64)]) {
    let before = fixture.version(board).await.0;
    let updates: Vec<ScoreUpdate> = (before..)
        .zip(plays)
        .map(|(n, (user, points))| update(*user, &format!("play-{n}")).board(board).points(*points).build())
        .map(|u| ScoreUpdate { action_type: common::ids::ActionType::parse("wide").unwrap(), ..u })
        .collect();
    fixture.apply(&updates).await;
}

fn lines(entries: &[Entry]) -> Vec<(UserId, i64, u64, u64)> {
    entries.iter().map(|e| (e.user, e.score, e.version.0, e.rank)).collect()
}

/// Score descending; of equal scores the one that was reached at the lower version.
pub async fn top_is_in_the_strict_order(fixture: &Fixture) {
    let (board, [a, b, c, d]) = (fixture.board().await, fixture.players().await);
    play(fixture, &board, &[(a, 7), (b, 9), (c, 7), (d, -1), (a, 2), (b, 0), (d, 8)]).await;
    let top = fixture.top(&board).await;
    // a reached 9 at version 5, b's 9 moved to version 6 by an action of no points.
    assert_eq!(lines(&top.entries), [(a, 9, 5, 1), (b, 9, 6, 2), (c, 7, 3, 3), (d, 7, 7, 4)]);
    assert_eq!(top.state.version, Version(7));
}

/// No more lines than asked for, none for zero; the state is told also for an empty board.
pub async fn top_is_cut_at_the_limit(fixture: &Fixture) {
    let (board, users) = (fixture.board().await, fixture.players::<4>().await);
    let empty = fixture.truth.top(&board, 10).await.unwrap().expect("the board exists");
    assert_eq!((empty.state.version, empty.entries.len()), (Version(0), 0));
    play(fixture, &board, &users.map(|user| (user, 5))).await;
    for limit in [0, 1, 3, 4, 5] {
        let top = fixture.truth.top(&board, limit).await.unwrap().unwrap();
        assert_eq!(top.state.version, Version(4));
        assert!(top.entries.iter().map(|e| e.user).eq(users.iter().take(limit).copied()), "limit {limit}");
    }
}

/// At the best, at the last, with more asked for than there are, and for nobody.
pub async fn neighborhoods_end_at_the_edges(fixture: &Fixture) {
    let (board, users) = (fixture.board().await, fixture.players::<5>().await);
    // Equal scores, so that the edges run through ties.
    play(fixture, &board, &users.map(|user| (user, 5))).await;
    let top = fixture.top(&board).await;
    for (user, around, from, to, own) in
        [(0, 0, 0, 1, 0), (0, 2, 0, 3, 0), (1, 2, 0, 4, 1), (2, 1, 1, 4, 1), (4, 2, 2, 5, 2), (4, 50, 0, 5, 4)]
    {
        let found = fixture.truth.neighborhood(&board, users[user], around).await.unwrap().expect("has a score");
        assert_eq!(found.state, top.state);
        assert_eq!(found.lines, top.entries[from..to], "user {user} ±{around}");
        assert_eq!(found.own, own);
    }
    let [spectator] = fixture.players().await;
    for nobody in [spectator, user_id()] {
        assert_eq!(fixture.truth.neighborhood(&board, nobody, 2).await.unwrap(), None);
    }
}

/// Newest rows in version order, each page with the head, complete only when nothing is missing.
pub async fn rows_above_are_paged_in_version_order(fixture: &Fixture) {
    let (board, [a, b, c, d]) = (fixture.board().await, fixture.players().await);
    let page = async |after: u64, limit: usize| {
        let page = fixture.truth.rows_above(&board, Version(after), limit).await.unwrap().expect("the board exists");
        assert_eq!(page.head.board, board);
        assert!(page.rows.iter().all(|row| row.updated_at == noon() && row.username.starts_with("Player.")));
        let rows: Vec<_> = page.rows.iter().map(|row| (row.user, row.score, row.version.0)).collect();
        (page.head.state.version.0, rows, page.complete)
    };
    assert_eq!(page(0, 10).await, (0, vec![], true));
    play(fixture, &board, &[(a, 1), (b, 2), (c, 3), (a, 4), (d, 5), (b, 6)]).await;
    let rows = [(c, Some(3), 3), (a, Some(5), 4), (d, Some(5), 5), (b, Some(8), 6)];
    assert_eq!(page(0, 10).await, (6, rows.to_vec(), true));
    assert_eq!(page(0, 4).await, (6, rows.to_vec(), true));
    assert_eq!(page(0, 3).await, (6, rows[..3].to_vec(), false));
    assert_eq!(page(5, 3).await, (6, rows[3..].to_vec(), true));
    assert_eq!(page(3, 2).await, (6, rows[1..3].to_vec(), false));
    assert_eq!(page(6, 2).await, (6, vec![], true));
    assert_eq!(page(9, 2).await, (6, vec![], true));
}

/// A whole board by user, tombstones too, each page with the head, complete only when nobody is missing.
pub async fn rows_by_user_are_paged(fixture: &Fixture) {
    let (board, mut players) = (fixture.board().await, fixture.players::<4>().await);
    players.sort_unstable();
    let [a, b, c, d] = players;
    let page = async |after: Option<UserId>, limit: usize| {
        let page = fixture.truth.rows_by_user(&board, after, limit).await.unwrap().expect("the board exists");
        assert_eq!(page.head.board, board);
        assert!(page.rows.iter().all(|row| row.updated_at == noon() && row.username.starts_with("Player.")));
        let rows: Vec<_> = page.rows.iter().map(|row| (row.user, row.score, row.version.0)).collect();
        (page.head.state.version.0, rows, page.complete)
    };
    assert_eq!(page(None, 10).await, (0, vec![], true));
    play(fixture, &board, &[(d, 1), (b, 2), (c, 3), (a, 4), (d, 5), (b, 6)]).await;
    let rows = [(a, Some(4), 4), (b, Some(8), 6), (c, Some(3), 3), (d, Some(6), 5)];
    assert_eq!(page(None, 10).await, (6, rows.to_vec(), true));
    assert_eq!(page(None, 4).await, (6, rows.to_vec(), true));
    assert_eq!(page(None, 3).await, (6, rows[..3].to_vec(), false));
    assert_eq!(page(Some(a), 2).await, (6, rows[1..3].to_vec(), false));
    assert_eq!(page(Some(c), 2).await, (6, rows[3..].to_vec(), true));
    assert_eq!(page(Some(d), 2).await, (6, vec![], true));
}

/// Every board with its rules and head, by id.
pub async fn boards_and_heads_tell_what_there_is(fixture: &Fixture) {
    let (still, moved, [user]) = (fixture.board().await, fixture.board().await, fixture.players().await);
    play(fixture, &moved, &[(user, 1), (user, 1)]).await;
    let boards = fixture.truth.boards().await.unwrap();
    let heads = fixture.truth.heads().await.unwrap();
    assert!(boards.is_sorted_by(|a, b| a.id().as_str() < b.id().as_str()), "by id");
    assert!(heads.is_sorted_by(|a, b| a.board.as_str() < b.board.as_str()), "by id");
    for (id, version) in [(&still, Version(0)), (&moved, Version(2))] {
        let head = heads.iter().find(|head| head.board == *id).expect("its head");
        assert_eq!((&head.state.epoch, head.state.version), (&fixture.epoch(id).await, version));
        let board = boards.iter().find(|board| board.id() == id).expect("the board");
        assert_eq!(board.head, *head);
        let mut expected = rules();
        let mut found = board.rules.clone();
        expected.sort_by(|a, b| a.action_type.cmp(&b.action_type));
        found.sort_by(|a, b| a.action_type.cmp(&b.action_type));
        assert_eq!(found, expected);
    }
}

/// Of a board that does not exist nothing can be read.
pub async fn an_unknown_board_is_none(fixture: &Fixture) {
    let (board, [user], truth) = (board_id(), fixture.players().await, &*fixture.truth);
    assert_eq!(truth.top(&board, 10).await.unwrap(), None);
    assert_eq!(truth.neighborhood(&board, user, 1).await.unwrap(), None);
    assert!(truth.rows_above(&board, Version(0), 10).await.unwrap().is_none());
    assert!(truth.rows_by_user(&board, None, 10).await.unwrap().is_none());
    assert_eq!(truth.digest(&board).await.unwrap(), None);
    assert_eq!(truth.receipt(user, &board, &action_id("a")).await.unwrap(), None);
}

/// Another user's, another board's and a never decided action have none.
pub async fn receipts_belong_to_their_user_and_board(fixture: &Fixture) {
    let (board, other, [a, b]) = (fixture.board().await, fixture.board().await, fixture.players().await);
    let update = update(a, "a").board(&board).points(5).build();
    let outcome = fixture.one(&update).await;
    let receipt = async |user, board: &BoardId, action: &str| {
        fixture.truth.receipt(user, board, &action_id(action)).await.unwrap()
    };
    assert_eq!(receipt(a, &board, "a").await.as_ref(), outcome.receipt());
    assert_eq!(receipt(b, &board, "a").await, None);
    assert_eq!(receipt(a, &other, "a").await, None);
    assert_eq!(receipt(a, &board, "A").await, None, "case counts");
}

/// Players, scores and ledger of this board alone.
pub async fn digests_add_up(fixture: &Fixture) {
    let (board, other, [a, b]) = (fixture.board().await, fixture.board().await, fixture.players().await);
    assert_eq!(fixture.digest(&board).await, BoardDigest::default());
    let limit = common::board::SCORE_LIMIT;
    play(fixture, &board, &[(a, limit), (b, limit - 1), (a, -5)]).await;
    play(fixture, &other, &[(a, 1)]).await;
    let refused = update(a, "x").board(&board).action_type("unheard-of").points(3).build();
    fixture.one(&refused).await;
    let sum = 2 * i128::from(limit) - 6;
    let expected = BoardDigest { players: 2, score_sum: sum, ledger_points: sum, ledger_actions: 3 };
    assert_eq!(fixture.digest(&board).await, expected);
    for board in [&board, &other] {
        assert_eq!(fixture.audit.deviations(board, 10).await.unwrap(), [], "every line is what its actions come to");
    }
}
