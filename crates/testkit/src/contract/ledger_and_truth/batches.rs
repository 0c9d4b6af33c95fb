//! Many updates at once: ranges of versions, and what batches that race make together.

use std::collections::HashMap;
use std::sync::Arc;

use common::error_code::ErrorCode;
use common::ids::UserId;
use common::receipt::Outcome;
use common::standing::BoardChange;
use common::state::Version;

use super::{Fixture, applied, apply_at, code_of, receipt_of};
use crate::fixtures::{noon, sent_again, update};
use crate::model::BoardModel;

fn scores(change: &BoardChange) -> Vec<(UserId, Option<i64>, u64)> {
    change.rows.iter().map(|row| (row.user, row.score, row.version.0)).collect()
}

/// Each board has its own versions; a board that did not move has no change.
pub async fn one_batch_moves_several_boards(fixture: &Fixture) {
    let (one, two, still) = (fixture.board().await, fixture.board().await, fixture.board().await);
    let [a, b] = fixture.players().await;
    fixture.one(&update(a, "earlier").board(&two).points(1).build()).await;
    let used = update(a, "earlier").board(&two).points(1).build();
    let nothing = update(a, "x").board(&still).action_type("unheard-of").build();
    let batch = [
        update(a, "a").board(&one).points(5).build(),
        update(a, "a").board(&two).points(6).build(),
        used,
        update(b, "a").board(&one).points(7).build(),
        nothing,
        update(b, "a").board(&two).points(8).build(),
    ];
    let done = fixture.apply(&batch).await;
    assert_eq!(done.outcomes[0], applied(&batch[0], 5, 1));
    assert_eq!(done.outcomes[1], applied(&batch[1], 7, 2));
    assert!(matches!(done.outcomes[2], Outcome::DuplicateAction { .. }));
    assert_eq!(done.outcomes[3], applied(&batch[3], 7, 2));
    assert_eq!(code_of(&done.outcomes[4]), ErrorCode::UnknownActionType);
    assert_eq!(done.outcomes[5], applied(&batch[5], 8, 3));
    let changes: HashMap<_, _> = done.changes.iter().map(|change| (change.board.clone(), change)).collect();
    assert_eq!((done.changes.len(), changes.len()), (2, 2), "one change for each board that moved");
    let (first, second) = (changes[&one], changes[&two]);
    assert_eq!((first.from, first.to), (Version(0), Version(2)));
    assert_eq!(scores(first), [(a, Some(5), 1), (b, Some(7), 2)]);
    assert_eq!((second.from, second.to), (Version(1), Version(3)));
    assert_eq!(scores(second), [(a, Some(7), 2), (b, Some(8), 3)]);
    assert_eq!(first.epoch, fixture.epoch(&one).await);
}

/// Every action takes a version; the change holds the user's newest row only, in version order among the others.
pub async fn several_updates_of_one_user_make_one_row(fixture: &Fixture) {
    let (board, [a, b]) = (fixture.board().await, fixture.players().await);
    let batch: Vec<_> = [(a, 1), (b, 2), (a, 3), (a, 4), (b, 5), (a, 6)]
        .into_iter()
        .map(|(user, points)| update(user, &format!("a{points}")).board(&board).points(points).build())
        .collect();
    let done = fixture.apply(&batch).await;
    let expected: Vec<_> = [(1, 1), (2, 2), (4, 3), (8, 4), (7, 5), (14, 6)]
        .into_iter()
        .zip(&batch)
        .map(|((score, version), update)| applied(update, score, version))
        .collect();
    assert_eq!(done.outcomes, expected);
    let [change] = &done.changes[..] else { panic!("one board moved") };
    assert_eq!((change.from, change.to), (Version(0), Version(6)));
    assert_eq!(scores(change), [(b, Some(7), 5), (a, Some(14), 6)]);
}

/// The first of a repeated action, key or submission counts, and the others see it.
pub async fn repeats_inside_a_batch_are_decided_in_order(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let first = update(user, "a").board(&board).points(5).key("k").build();
    let other_content = update(user, "b").board(&board).points(5).key("k").build();
    let same_action = update(user, "a").board(&board).points(9).build();
    let batch = [first.clone(), sent_again(&first), same_action, other_content, first.clone()];
    let done = fixture.apply(&batch).await;
    let receipt = receipt_of(&first, 5, 1);
    let expected = [
        applied(&first, 5, 1),
        Outcome::Applied { receipt: receipt.clone(), replayed: true },
        Outcome::DuplicateAction { receipt },
        Outcome::KeyReused,
        applied(&first, 5, 1),
    ];
    assert_eq!(done.outcomes, expected);
    assert_eq!(fixture.digest(&board).await.ledger_points, 5);
}

/// Only what is applied takes a version.
pub async fn refusals_leave_no_gap_in_the_versions(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let mut expected = 0;
    for n in 0..6 {
        let good = update(user, &format!("a{n}")).board(&board).build();
        let bad = update(user, &format!("b{n}")).board(&board).action_type("unheard-of").build();
        expected += 1;
        let done = fixture.apply(&[bad.clone(), good.clone(), sent_again(&good), bad]).await;
        assert_eq!(done.outcomes[1], applied(&good, expected, expected as u64));
        assert_eq!((done.changes[0].from, done.changes[0].to), (Version(n), Version(n + 1)));
    }
    assert_eq!(fixture.digest(&board).await.ledger_actions, 6);
}

/// A batch of a thousand is committed as one range, and told again when it is delivered again.
pub async fn a_large_batch_is_one_range(fixture: &Fixture) {
    let (board, users) = (fixture.board().await, fixture.players::<10>().await);
    let batch: Vec<_> = (0..1000_usize)
        .map(|n| update(users[n % 10], &format!("a{n}")).board(&board).points(n as i64 % 7 + 1).build())
        .collect();
    let done = fixture.apply(&batch).await;
    let [change] = &done.changes[..] else { panic!("one board moved") };
    assert_eq!((change.from, change.to, change.rows.len()), (Version(0), Version(1000), 10));
    let versions = done.outcomes.iter().map(|o| o.receipt().and_then(|r| r.version));
    assert!(versions.eq((1..=1000).map(|v| Some(Version(v)))), "in the batch's order");
    assert_eq!(fixture.apply(&batch).await.outcomes, done.outcomes);
    let digest = fixture.digest(&board).await;
    assert_eq!((digest.ledger_actions, digest.score_sum), (1000, digest.ledger_points));
}

/// Workers that race for two boards: the changes of each board make one chain without gap or overlap, and the chain
/// leads to what the truth shows.
pub async fn concurrent_batches_make_one_chain(fixture: &Fixture) {
    let (boards, users) = ([fixture.board().await, fixture.board().await], fixture.players::<5>().await);
    let workers = (0..4_usize).map(|worker| {
        let (ledger, boards) = (Arc::clone(&fixture.ledger), boards.clone());
        tokio::spawn(async move {
            let mut changes = Vec::new();
            for round in 0..6_usize {
                // Boards are named in either order, so that locks taken as they come would deadlock.
                let updates: Vec<_> = (0..8_usize)
                    .map(|n| {
                        let action = format!("{worker}-{round}-{n}");
                        update(users[(worker + n) % 5], &action).board(&boards[(worker + n) % 2]).points(2).build()
                    })
                    .collect();
                changes.extend(apply_at(&*ledger, &updates, noon()).await.changes);
            }
            changes
        })
    });
    let mut changes = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        changes.extend(worker.await.expect("a worker"));
    }
    for board in &boards {
        let mut chain: Vec<_> = changes.iter().filter(|change| change.board == *board).collect();
        chain.sort_by_key(|change| change.from);
        let (mut stands_at, mut model) = (Version(0), BoardModel::default());
        for change in chain {
            assert_eq!(change.from, stands_at, "a gap or an overlap");
            assert!(change.rows.iter().all(|row| (change.from..=change.to).contains(&row.version)));
            change.rows.iter().for_each(|row| model.take(row));
            stands_at = change.to;
        }
        let top = fixture.top(board).await;
        assert_eq!((stands_at, top.state.version), (Version(96), Version(96)));
        let lines: Vec<_> = top.entries.iter().map(|e| (e.user, e.score, e.version)).collect();
        assert_eq!(lines, model.ranked());
        assert_eq!(fixture.digest(board).await.score_sum, 192);
    }
}
