//! Rows that a later removal leaves: ranks skip them, projections hear of them.

use common::ids::BoardId;
use common::ports::{Ledger, Truth};
use common::state::Version;
use rand::RngExt;
use testkit::fixtures::{WIDE, noon, players, rules, update};
use testkit::model::BoardModel;

use crate::database::store;

const PLAYERS: usize = 40;

#[tokio::test]
async fn order_ranks_and_neighbors_equal_the_model_with_equal_scores_and_tombstones() {
    let (database, store) = store().await;
    let board = BoardId::parse("removals").unwrap();
    database.add_board(&board, &rules()).await;
    let players = players(&store, PLAYERS).await;
    let mut batch = Vec::new();
    for (n, player) in players.iter().enumerate() {
        let points = rand::rng().random_range(-3..=3);
        batch.push(update(player.user, &format!("a-{n}")).board(&board).action_type(WIDE).points(points).build());
    }
    store.apply_batch(&batch, noon()).await.unwrap();
    // What hiding players will do: the next versions, and no score.
    let operator = database.operator().await;
    for player in players.iter().step_by(7) {
        operator
            .batch_execute(&format!(
                "BEGIN;
                 UPDATE boards SET version = version + 1 WHERE board = '{board}';
                 UPDATE scores SET score = NULL, version = (SELECT version FROM boards WHERE board = '{board}')
                     WHERE board = '{board}' AND user_id = '{}';
                 COMMIT",
                player.user
            ))
            .await
            .unwrap();
    }

    let page = store.rows_above(&board, Version::ZERO, 1000).await.unwrap().unwrap();
    assert!(page.complete && page.rows.len() == PLAYERS);
    assert_eq!(page.rows.iter().filter(|row| row.score.is_none()).count(), PLAYERS.div_ceil(7));
    let model = BoardModel::of(&page.rows).ranked();
    let top = store.top(&board, 1000).await.unwrap().unwrap();
    assert_eq!(top.state, page.head.state);
    let found: Vec<_> = top.entries.iter().map(|e| (e.user, e.score, e.version)).collect();
    assert_eq!(found, model);
    assert!(top.entries.iter().map(|e| e.rank).eq(1..=model.len() as u64));

    for player in &players {
        let at = model.iter().position(|line| line.0 == player.user);
        for around in [0, 1, 4, 50] {
            let found = store.neighborhood(&board, player.user, around).await.unwrap();
            let Some(at) = at else {
                assert!(found.is_none(), "a tombstone has a rank");
                continue;
            };
            let found = found.unwrap();
            let first = at.saturating_sub(around);
            let expected = &top.entries[first..(at + around + 1).min(model.len())];
            assert_eq!((&found.lines[..], found.own, &found.state), (expected, at - first, &top.state));
        }
    }
    let digest = store.digest(&board).await.unwrap().unwrap();
    assert_eq!(digest.players, model.len() as u64);
    assert_eq!(digest.score_sum, model.iter().map(|line| i128::from(line.1)).sum::<i128>());
}

#[tokio::test]
async fn an_action_after_a_removal_starts_from_nothing() {
    let (database, store) = store().await;
    let user = players(&store, 1).await[0].user;
    store.apply_batch(&[update(user, "a").points(500).build()], noon()).await.unwrap();
    let operator = database.operator().await;
    let remove = "UPDATE scores SET score = NULL, version = 2; UPDATE boards SET version = 2";
    operator.batch_execute(&format!("BEGIN; {remove}; COMMIT")).await.unwrap();
    assert!(store.top(&BoardId::global(), 10).await.unwrap().unwrap().entries.is_empty());
    let applied = store.apply_batch(&[update(user, "b").points(7).build()], noon()).await.unwrap();
    let receipt = applied.outcomes[0].receipt().unwrap();
    assert_eq!((receipt.new_score, receipt.version), (Some(7), Some(Version(3))));
}
