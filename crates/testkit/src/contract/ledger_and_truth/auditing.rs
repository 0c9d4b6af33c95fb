//! The ledger tells who did what, from where, and what became of it.

use common::error_code::ErrorCode;
use common::ports::{AuditQuery, AuditRow, Gain};
use common::receipt::ReceiptStatus;
use common::score_update::ScoreUpdate;

use super::{Fixture, apply_at};
use crate::fixtures::{action_id, noon, sent_again, update};

fn outcomes(story: &[AuditRow]) -> Vec<(&str, ReceiptStatus)> {
    story.iter().map(|row| (row.update.action_id.as_str(), row.receipt.status)).collect()
}

/// Applied or refused after acceptance: a row with proof, address hash and request id. A replay is no decision.
pub async fn every_decision_is_a_row_with_its_origin(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let first = update(user, "a").board(&board).points(5).key("k").build();
    let nowhere = ScoreUpdate { address_hash: None, ..update(user, "b").board(&board).build() };
    let unknown = update(user, "c").board(&board).action_type("unheard-of").build();
    let duplicate = update(user, "a").board(&board).points(5).build();
    let reused = update(user, "d").board(&board).points(5).key("k").build();
    let sent = [first.clone(), nowhere, unknown, duplicate, reused];
    for update in &sent {
        fixture.one(update).await;
    }
    fixture.one(&sent_again(&first)).await;
    fixture.apply(&sent).await;
    let query = AuditQuery { user: Some(user), board: Some(board.clone()), limit: 100, ..AuditQuery::default() };
    let mut story = fixture.audit.story(&query).await.unwrap();
    let place = |row: &AuditRow| sent.iter().position(|update| update.submission == row.submission());
    story.sort_by_key(place);
    let rejected = ReceiptStatus::Rejected;
    let expected = [
        ("a", ReceiptStatus::Applied),
        ("b", ReceiptStatus::Applied),
        ("c", rejected(ErrorCode::UnknownActionType)),
        ("a", rejected(ErrorCode::DuplicateAction)),
        ("d", rejected(ErrorCode::IdempotencyKeyReused)),
    ];
    assert_eq!(outcomes(&story), expected);
    for (row, sent) in story.iter().zip(&sent) {
        assert_eq!(row.update, ScoreUpdate { trace: row.update.trace.clone(), ..sent.clone() });
        assert_eq!((row.reviewer.as_deref(), row.decided_at()), (None, noon()));
    }
}

/// By user, by action, narrowed to a board; the newest ones, oldest first.
pub async fn a_story_is_told_in_time_order(fixture: &Fixture) {
    let (board, other, [a, b]) = (fixture.board().await, fixture.board().await, fixture.players().await);
    let shared = format!("shared-{board}");
    for (at, (user, board, action)) in
        [(a, &board, "one"), (b, &board, &*shared), (a, &other, &*shared), (a, &board, &*shared)]
            .into_iter()
            .enumerate()
    {
        let update = update(user, action).board(board).build();
        apply_at(&*fixture.ledger, &[update], noon().plus_millis(at as i64 * 1000)).await;
    }
    let told = async |query: AuditQuery| {
        let story = fixture.audit.story(&query).await.unwrap();
        assert!(story.is_sorted_by_key(AuditRow::decided_at), "oldest first");
        story.into_iter().map(|row| (row.decided_at().millis_since(noon()) / 1000) as usize).collect::<Vec<_>>()
    };
    let by_user = AuditQuery { user: Some(a), limit: 100, ..AuditQuery::default() };
    assert_eq!(told(by_user.clone()).await, [0, 2, 3]);
    assert_eq!(told(AuditQuery { limit: 2, ..by_user.clone() }).await, [2, 3]);
    assert_eq!(told(AuditQuery { board: Some(board.clone()), ..by_user.clone() }).await, [0, 3]);
    assert_eq!(told(AuditQuery { action: Some(action_id(&shared)), ..by_user }).await, [2, 3]);
    let by_action = AuditQuery { action: Some(action_id(&shared)), limit: 100, ..AuditQuery::default() };
    assert_eq!(told(by_action.clone()).await, [1, 2, 3]);
    assert_eq!(told(AuditQuery { board: Some(other), ..by_action }).await, [2]);
    assert!(told(AuditQuery { limit: 100, ..AuditQuery::default() }).await.is_empty(), "somebody has to be named");
}

/// Only what was applied, only what was gained, only inside the range; its end counts, its beginning does not.
pub async fn gains_are_summed_by_slot(fixture: &Fixture) {
    let (board, [a, b]) = (fixture.board().await, fixture.players().await);
    let at = |ms: i64| noon().plus_millis(ms);
    for (n, (user, ms, points, action_type)) in [
        (a, 0, 1, "wide"),
        (a, 1, 2, "wide"),
        (a, 999, 4, "wide"),
        (b, 999, 8, "wide"),
        (a, 1000, 16, "wide"),
        (a, 1500, -5, "wide"),
        (a, 1600, 32, "unheard-of"),
        (b, 2000, 64, "wide"),
        (b, 2001, 128, "wide"),
    ]
    .into_iter()
    .enumerate()
    {
        let update = update(user, &format!("a{n}")).board(&board).points(points).action_type(action_type).build();
        apply_at(&*fixture.ledger, &[update], at(ms)).await;
    }
    let mut gains = fixture.ledger.gains(at(0), at(2000), 1000).await.unwrap();
    gains.retain(|gain| gain.board == board);
    gains.sort_by_key(|gain| (gain.slot, gain.points));
    let gain = |user, slot, points| Gain { board: board.clone(), user, slot: at(slot), points };
    assert_eq!(gains, [gain(a, 0, 6), gain(b, 0, 8), gain(a, 1000, 16), gain(b, 2000, 64)]);
}
