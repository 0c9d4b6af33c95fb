//! Refusals of the transaction: what does not exist, the cap of a day, the limits of a score.

use common::board::SCORE_LIMIT;
use common::clock::Timestamp;
use common::error_code::ErrorCode;
use common::ids::UserId;
use common::ports::AuditQuery;
use common::receipt::{Outcome, ReceiptStatus};
use common::state::Version;

use super::{Fixture, applied, apply_at, code_of, receipt_of};
use crate::fixtures::{action_id, board_id, noon, sent_again, update, user_id};

/// Board, user and action type are looked up in the transaction; good updates beside bad ones go on.
pub async fn what_does_not_exist_is_rejected(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let good = update(user, "a").board(&board).points(5).build();
    let batch = [
        update(user, "a").board(&board_id()).build(),
        update(user_id(), "a").board(&board).build(),
        good.clone(),
        update(user, "b").board(&board).action_type("unheard-of").build(),
    ];
    let outcomes = fixture.apply(&batch).await.outcomes;
    assert_eq!(code_of(&outcomes[0]), ErrorCode::UnknownBoard);
    assert_eq!(code_of(&outcomes[1]), ErrorCode::NotFound);
    assert_eq!(outcomes[2], applied(&good, 5, 1));
    assert_eq!(code_of(&outcomes[3]), ErrorCode::UnknownActionType);
    // A redelivery of the whole batch is told the same.
    assert_eq!(fixture.apply(&batch).await.outcomes, outcomes);
}

/// The type `task` gives ten points, a thousand a day.
const TASKS_A_DAY: usize = 100;

/// Uses up what a day gives, in two batches.
async fn use_the_day_up(fixture: &Fixture, user: UserId, board: &common::ids::BoardId, now: Timestamp, day: &str) {
    let tasks: Vec<_> = (0..TASKS_A_DAY)
        .map(|n| update(user, &format!("{day}-{n}")).board(board).action_type("task").points(10).build())
        .collect();
    for half in tasks.chunks(TASKS_A_DAY / 2) {
        let outcomes = apply_at(&*fixture.ledger, half, now).await.outcomes;
        assert!(outcomes.iter().all(|o| matches!(o, Outcome::Applied { replayed: false, .. })), "{outcomes:?}");
    }
}

/// The cap itself is reached, not passed; it says when to come back; it is per user, board and type.
pub async fn the_daily_cap_holds_to_the_point(fixture: &Fixture) {
    let (board, other, [a, b]) = (fixture.board().await, fixture.board().await, fixture.players().await);
    use_the_day_up(fixture, a, &board, noon(), "d").await;
    let over = update(a, "over").board(&board).action_type("task").points(10).build();
    let outcome = fixture.one(&over).await;
    assert_eq!(code_of(&outcome), ErrorCode::DailyCapReached);
    let Outcome::Rejected { retry_after_s, receipt } = outcome else { panic!("rejected") };
    assert_eq!(retry_after_s, Some(12 * 3600), "noon to midnight");
    assert_eq!((receipt.new_score, receipt.version, receipt.decided_at), (None, None, Some(noon())));
    for (user, board, action_type) in [(b, &board, "task"), (a, &other, "task"), (a, &board, "default")] {
        let update = update(user, "free").board(board).action_type(action_type).points(10).build();
        assert!(matches!(fixture.one(&update).await, Outcome::Applied { .. }), "{action_type} on {board}");
    }
    // Inside one batch the cap counts as well.
    let last: Vec<_> = (0..TASKS_A_DAY + 3)
        .map(|n| update(b, &format!("b-{n}")).board(&other).action_type("task").points(10).build())
        .collect();
    let outcomes = fixture.apply(&last).await.outcomes;
    assert!(outcomes[..TASKS_A_DAY].iter().all(|o| matches!(o, Outcome::Applied { .. })));
    assert!(outcomes[TASKS_A_DAY..].iter().all(|o| code_of(o) == ErrorCode::DailyCapReached));
}

/// Midnight UTC gives a new day's points.
pub async fn the_daily_cap_starts_anew_with_the_day(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let late = Timestamp::parse_rfc3339("2026-11-20T23:59:59.999Z").unwrap();
    use_the_day_up(fixture, user, &board, late, "d1").await;
    let over = update(user, "over").board(&board).action_type("task").points(10).build();
    let refused = apply_at(&*fixture.ledger, std::slice::from_ref(&over), late).await.outcomes.remove(0);
    assert!(matches!(refused, Outcome::Rejected { retry_after_s: Some(1), .. }), "{refused:?}");
    use_the_day_up(fixture, user, &board, late.plus_millis(1), "d2").await;
    let again = apply_at(&*fixture.ledger, &[sent_again(&over)], late.plus_millis(1)).await.outcomes.remove(0);
    assert_eq!(code_of(&again), ErrorCode::DailyCapReached);
    assert_eq!(fixture.digest(&board).await.score_sum, 2_000);
}

/// The same action under the same key, corrected or when its time has come, is accepted.
pub async fn a_refusal_uses_nothing_up(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let wrong = update(user, "a").board(&board).points(5).key("k").action_type("unheard-of").build();
    assert_eq!(code_of(&fixture.one(&wrong).await), ErrorCode::UnknownActionType);
    let receipt = fixture.truth.receipt(user, &board, &wrong.action_id).await.unwrap().expect("the refusal is known");
    assert_eq!(receipt.status, ReceiptStatus::Rejected(ErrorCode::UnknownActionType));
    let right = update(user, "a").board(&board).points(5).key("k").build();
    assert_eq!(fixture.one(&right).await, applied(&right, 5, 1));
    let receipt = fixture.truth.receipt(user, &board, &right.action_id).await.unwrap();
    assert_eq!(receipt, Some(receipt_of(&right, 5, 1)), "the applied one counts");

    use_the_day_up(fixture, user, &board, noon(), "d").await;
    let capped = update(user, "later").board(&board).action_type("task").points(10).key("k2").build();
    assert_eq!(code_of(&fixture.one(&capped).await), ErrorCode::DailyCapReached);
    let tomorrow = noon().plus_millis(86_400_000);
    let outcome = apply_at(&*fixture.ledger, &[sent_again(&capped)], tomorrow).await.outcomes.remove(0);
    assert!(matches!(outcome, Outcome::Applied { replayed: false, .. }), "{outcome:?}");
}

/// A refusal binds its own redelivery, whatever has become possible since.
pub async fn a_redelivered_refusal_stays_one(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    use_the_day_up(fixture, user, &board, noon(), "d").await;
    let over = update(user, "over").board(&board).action_type("task").points(10).build();
    let first = fixture.one(&over).await;
    assert_eq!(code_of(&first), ErrorCode::DailyCapReached);
    let tomorrow = noon().plus_millis(86_400_000);
    let again = apply_at(&*fixture.ledger, std::slice::from_ref(&over), tomorrow).await.outcomes.remove(0);
    assert_eq!(code_of(&again), ErrorCode::DailyCapReached);
    assert_eq!(again.receipt(), first.receipt(), "the same receipt");
    let receipt = fixture.truth.receipt(user, &board, &action_id("over")).await.unwrap();
    assert_eq!(receipt.as_ref(), first.receipt());
    assert_eq!(fixture.version(&board).await, Version(TASKS_A_DAY as u64));
}

/// ±(2^53 - 1) can be reached, not passed.
pub async fn scores_stop_at_their_limits(fixture: &Fixture) {
    let (board, [a, b]) = (fixture.board().await, fixture.players().await);
    for (user, sign, version) in [(a, 1, 1), (b, -1, 2)] {
        let of = |name: &str, points: i64| {
            update(user, name).board(&board).action_type("wide").points(sign * points).build()
        };
        let all = of("all", SCORE_LIMIT);
        assert_eq!(fixture.one(&all).await, applied(&all, sign * SCORE_LIMIT, version));
        assert_eq!(code_of(&fixture.one(&of("more", 1)).await), ErrorCode::PointsOutOfRange);
        assert_eq!(code_of(&fixture.one(&of("much-more", SCORE_LIMIT)).await), ErrorCode::PointsOutOfRange);
    }
    let top = fixture.top(&board).await;
    assert_eq!(top.entries.iter().map(|e| e.score).collect::<Vec<_>>(), [SCORE_LIMIT, -SCORE_LIMIT]);
    assert_eq!(top.state.version, Version(2));
}

/// Its receipt tells, its redelivery is told the same, the request can be sent anew, and a row that is there stays.
pub async fn an_update_that_is_put_aside_has_its_refusal_on_record(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let bad = update(user, "a").board(&board).points(5).build();
    for _ in 0..2 {
        fixture.ledger.record_refusal(&bad, ErrorCode::Internal, noon()).await.expect("record_refusal");
    }
    let receipt = fixture.truth.receipt(user, &board, &bad.action_id).await.expect("receipt").expect("decided");
    assert_eq!(receipt.status, ReceiptStatus::Rejected(ErrorCode::Internal));
    assert_eq!((receipt.new_score, receipt.version, receipt.decided_at), (None, None, Some(noon())));
    let query = AuditQuery { user: Some(user), board: Some(board.clone()), limit: 10, ..AuditQuery::default() };
    let story = fixture.audit.story(&query).await.expect("story");
    let origins: Vec<_> = story.iter().map(|row| (row.submission(), row.update.address_hash)).collect();
    assert_eq!(origins, [(bad.submission, bad.address_hash)], "one row, with where it came from");
    assert_eq!(code_of(&fixture.one(&bad).await), ErrorCode::Internal);
    let again = sent_again(&bad);
    assert_eq!(fixture.one(&again).await, applied(&again, 5, 1));
    fixture.ledger.record_refusal(&again, ErrorCode::Internal, noon()).await.expect("record_refusal");
    let receipt = fixture.truth.receipt(user, &board, &bad.action_id).await.expect("receipt").expect("decided");
    assert_eq!(receipt.status, ReceiptStatus::Applied);
}
