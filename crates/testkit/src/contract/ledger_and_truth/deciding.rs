//! One update at a time: applied, duplicate, replayed, redelivered.

use std::sync::Arc;

use common::receipt::Outcome;
use common::score_update::ScoreUpdate;
use common::standing::{Entry, ScoreRow};
use common::state::Version;

use super::{Fixture, applied, apply_at, receipt_of};
use crate::fixtures::{noon, players, sent_again, update};

/// Outcome, change, receipt, top and head tell the same.
pub async fn an_update_is_applied_and_seen(fixture: &Fixture) {
    let (board, player) = (fixture.board().await, players(&*fixture.accounts, 1).await.remove(0));
    let update = update(player.user, "a").board(&board).points(5).key("k").build();
    let batch = fixture.apply(std::slice::from_ref(&update)).await;
    assert_eq!(batch.outcomes, [applied(&update, 5, 1)]);
    let username = Arc::clone(&player.username);
    let row = ScoreRow { user: player.user, username, score: Some(5), version: Version(1), updated_at: noon() };
    let [change] = &batch.changes[..] else { panic!("one board moved: {:?}", batch.changes) };
    assert_eq!((&change.board, change.from, change.to), (&board, Version(0), Version(1)));
    assert_eq!(change.rows, [row]);
    let receipt = fixture.truth.receipt(player.user, &board, &update.action_id).await.unwrap();
    assert_eq!(receipt, Some(receipt_of(&update, 5, 1)));
    let top = fixture.top(&board).await;
    assert_eq!(top.state, change.state());
    let entry = Entry {
        user: player.user,
        username: player.username,
        score: 5,
        rank: 1,
        updated_at: noon(),
        version: Version(1),
    };
    assert_eq!(top.entries, [entry]);
}

/// Each action takes the next version and adds its points; negative points take away.
pub async fn scores_add_up(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let mut score = 0;
    for (version, points) in (1..).zip([5, 7, -20, 1, 1000]) {
        let action = format!("a{version}");
        let update = update(user, &action).board(&board).points(points).action_type("wide").build();
        score += points;
        assert_eq!(fixture.one(&update).await, applied(&update, score, version));
    }
}

/// No updates, no outcomes, no changes.
pub async fn an_empty_batch_does_nothing(fixture: &Fixture) {
    let batch = fixture.apply(&[]).await;
    assert!(batch.outcomes.is_empty() && batch.changes.is_empty());
}

/// The second request for an action, whatever its points, gets the first one's receipt.
pub async fn a_used_action_is_a_duplicate_with_its_receipt(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let first = update(user, "a").board(&board).points(5).build();
    fixture.one(&first).await;
    let more = update(user, "a").board(&board).points(50).build();
    let keyed = update(user, "a").board(&board).points(5).key("k").build();
    for again in [sent_again(&first), more, keyed.clone()] {
        let batch = fixture.apply(&[again]).await;
        assert_eq!(batch.outcomes, [Outcome::DuplicateAction { receipt: receipt_of(&first, 5, 1) }]);
        assert!(batch.changes.is_empty(), "nothing moved: {:?}", batch.changes);
    }
    // The duplicate did not bind its key.
    let fresh = ScoreUpdate { action_id: crate::fixtures::action_id("b"), ..sent_again(&keyed) };
    assert_eq!(fixture.one(&fresh).await, applied(&fresh, 10, 2));
    assert_eq!(fixture.digest(&board).await.ledger_actions, 2);
}

/// Another user's action of that name, and the same one's on another board, are other actions.
pub async fn an_action_is_used_per_user_and_board(fixture: &Fixture) {
    let (one, two, [a, b]) = (fixture.board().await, fixture.board().await, fixture.players().await);
    for (board, user, version) in [(&one, a, 1), (&one, b, 2), (&two, a, 1)] {
        let update = update(user, "a").board(board).points(3).build();
        assert_eq!(fixture.one(&update).await, applied(&update, 3, version));
    }
}

/// The first answer, as it was, however much has happened since.
pub async fn a_repeat_with_the_same_key_gets_the_first_answer(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let first = update(user, "a").board(&board).points(5).key("k").build();
    fixture.one(&first).await;
    fixture.one(&update(user, "b").board(&board).points(7).build()).await;
    for _ in 0..2 {
        let batch = fixture.apply(&[sent_again(&first)]).await;
        assert_eq!(batch.outcomes, [Outcome::Applied { receipt: receipt_of(&first, 5, 1), replayed: true }]);
        assert!(batch.changes.is_empty(), "nothing moved: {:?}", batch.changes);
    }
    assert_eq!(fixture.version(&board).await, Version(2));
}

/// The same key with another action, other points, another type or on another board is refused.
pub async fn a_key_stands_for_its_content(fixture: &Fixture) {
    let (board, other, [user]) = (fixture.board().await, fixture.board().await, fixture.players().await);
    fixture.one(&update(user, "a").board(&board).points(10).key("k").build()).await;
    for different in [
        update(user, "b").board(&board).points(10).key("k").build(),
        update(user, "a").board(&board).points(11).key("k").build(),
        update(user, "a").board(&board).points(10).key("k").action_type("task").build(),
        update(user, "a").board(&other).points(10).key("k").build(),
    ] {
        assert_eq!(fixture.one(&different).await, Outcome::KeyReused, "{different:?}");
    }
    assert_eq!((fixture.version(&board).await, fixture.version(&other).await), (Version(1), Version(0)));
}

/// Two users may use the same key.
pub async fn a_key_belongs_to_its_user(fixture: &Fixture) {
    let (board, [a, b]) = (fixture.board().await, fixture.players().await);
    for (user, version) in [(a, 1), (b, 2)] {
        let update = update(user, "a").board(&board).points(5).key("k").build();
        assert_eq!(fixture.one(&update).await, applied(&update, 5, version));
    }
}

/// A used action under a key that stands for something else is a reused key, not a duplicate.
pub async fn the_key_is_looked_at_before_the_action(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    fixture.one(&update(user, "a").board(&board).key("k").build()).await;
    fixture.one(&update(user, "b").board(&board).build()).await;
    let update = update(user, "b").board(&board).key("k").build();
    assert_eq!(fixture.one(&update).await, Outcome::KeyReused);
}

/// The same submission once more, with or without a key, alone or in another batch, is applied once and is told the
/// same as the first time.
pub async fn redelivered_work_finds_its_row(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let plain = update(user, "a").board(&board).points(5).build();
    let keyed = update(user, "b").board(&board).points(6).key("k").build();
    let first = fixture.apply(&[plain.clone(), keyed.clone()]).await.outcomes;
    assert_eq!(first, [applied(&plain, 5, 1), applied(&keyed, 11, 2)]);
    let late = update(user, "c").board(&board).points(1).build();
    let outcomes = fixture.apply(&[keyed.clone(), late.clone(), plain.clone(), keyed.clone()]).await.outcomes;
    assert_eq!(outcomes, [first[1].clone(), applied(&late, 12, 3), first[0].clone(), first[1].clone()]);
    assert_eq!(fixture.one(&plain).await, first[0]);
    assert_eq!(fixture.digest(&board).await.ledger_points, 12);
}

/// Eight requests for one action at once: one is applied, seven get its receipt.
pub async fn a_racing_action_is_applied_once(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let update = update(user, "a").board(&board).points(5).build();
    let outcomes = race(fixture, &update).await;
    let first = outcomes.iter().filter(|o| matches!(o, Outcome::Applied { replayed: false, .. })).count();
    let receipt = receipt_of(&update, 5, 1);
    let duplicates = outcomes.iter().filter(|o| **o == Outcome::DuplicateAction { receipt: receipt.clone() }).count();
    assert_eq!((first, duplicates), (1, 7), "{outcomes:?}");
    assert_eq!(fixture.version(&board).await, Version(1));
}

/// Eight requests with one key at once: all get the answer of the one that was applied.
pub async fn a_racing_key_is_applied_once(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let update = update(user, "a").board(&board).points(5).key("k").build();
    let outcomes = race(fixture, &update).await;
    let receipt = receipt_of(&update, 5, 1);
    let count = |replayed| {
        let expected = Outcome::Applied { receipt: receipt.clone(), replayed };
        outcomes.iter().filter(|o| **o == expected).count()
    };
    assert_eq!((count(false), count(true)), (1, 7), "{outcomes:?}");
    assert_eq!(fixture.digest(&board).await.ledger_points, 5);
}

async fn race(fixture: &Fixture, update: &ScoreUpdate) -> Vec<Outcome> {
    let racers = (0..8).map(|_| {
        let (ledger, update) = (Arc::clone(&fixture.ledger), sent_again(update));
        tokio::spawn(async move { apply_at(&*ledger, &[update], noon()).await.outcomes.remove(0) })
    });
    let mut outcomes = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        outcomes.push(racer.await.expect("a racer"));
    }
    outcomes
}
