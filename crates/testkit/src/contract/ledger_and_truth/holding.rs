//! The quarantine: what is held, and what a review makes of it.

use common::clock::Timestamp;
use common::decision::{BoardWatch, NotReviewed, Verdict, Watch};
use common::error_code::ErrorCode;
use common::ids::{BoardId, SubmissionId, UserId};
use common::ports::{AuditQuery, ReviewOrder, Reviewed};
use common::receipt::{Outcome, Receipt, ReceiptStatus, TURNED_DOWN};
use common::score_update::ScoreUpdate;
use common::state::Version;

use super::{Fixture, applied, code_of, receipt_of};
use crate::fixtures::{noon, sent_again, submission_id, update};

/// The bound on a board, with what a user gained so far.
fn watch(board: &BoardId, limit: i64, gained: &[(UserId, i64)]) -> Watch {
    let watch = BoardWatch { limit, gained: gained.iter().copied().collect() };
    Watch { boards: [(board.clone(), watch)].into() }
}

fn pending(update: &ScoreUpdate) -> Receipt {
    Receipt { status: ReceiptStatus::Pending, new_score: None, version: None, ..receipt_of(update, 0, 0) }
}

fn held(update: &ScoreUpdate) -> Outcome {
    Outcome::Quarantined { receipt: pending(update) }
}

/// A moment after noon.
fn later() -> Timestamp {
    noon().plus_millis(60_000)
}

impl Fixture {
    /// Decides a batch with every gain above nothing held.
    async fn apply_held(&self, updates: &[ScoreUpdate]) -> Vec<Outcome> {
        let nothing = watch(&updates[0].board, 0, &[]);
        self.ledger.apply_watched(updates, &nothing, noon()).await.expect("apply_watched").outcomes
    }

    async fn review(&self, held: SubmissionId, verdict: Verdict) -> Result<Reviewed, NotReviewed> {
        let reviewer = "ada".to_owned();
        let order = ReviewOrder { held, verdict, reviewer, submission: submission_id(), now: later() };
        self.reviews.review(&order).await.expect("review")
    }

    async fn receipt_now(&self, update: &ScoreUpdate) -> Option<Receipt> {
        self.truth.receipt(update.user, &update.board, &update.action_id).await.expect("receipt")
    }

    async fn waits(&self, update: &ScoreUpdate) -> bool {
        let held = self.reviews.held(1000).await.expect("held");
        held.iter().any(|row| row.submission() == update.submission)
    }
}

/// Gains of the batch count; what is held does not, nor does it take a version, a score or a part of the daily cap.
pub async fn what_passes_the_bound_is_held(fixture: &Fixture) {
    let (board, other, [a, b]) = (fixture.board().await, fixture.board().await, fixture.players().await);
    let of = |user, action: &str, points| update(user, action).board(&board).points(points).build();
    let batch = [
        of(a, "a1", 40),
        of(a, "a2", 11),
        of(a, "a3", 10),
        of(a, "a4", 1),
        of(b, "b1", 100),
        of(b, "b2", 1),
        update(a, "down").board(&board).action_type("wide").points(-7).build(),
        update(a, "unknown").board(&board).action_type("unheard-of").points(500).build(),
        update(a, "elsewhere").board(&other).points(900).build(),
    ];
    let done = fixture.ledger.apply_watched(&batch, &watch(&board, 100, &[(a, 50)]), noon()).await.unwrap();
    let mut outcomes = done.outcomes;
    let unknown = outcomes.remove(7);
    assert_eq!(code_of(&unknown), ErrorCode::UnknownActionType, "a refusal is told at once");
    let expected = [
        applied(&batch[0], 40, 1),
        held(&batch[1]),
        applied(&batch[2], 50, 2),
        held(&batch[3]),
        applied(&batch[4], 100, 3),
        held(&batch[5]),
        applied(&batch[6], 43, 4),
        applied(&batch[8], 900, 1),
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(fixture.receipt_now(&batch[1]).await, Some(pending(&batch[1])));
    assert!(fixture.waits(&batch[1]).await && fixture.waits(&batch[3]).await && !fixture.waits(&batch[0]).await);
    let digest = fixture.digest(&board).await;
    assert_eq!((digest.score_sum, digest.ledger_actions), (143, 4));
}

/// A repeat is told that it is pending, whatever bound holds by now; nothing but the first is in the ledger.
pub async fn a_held_action_and_its_key_are_used(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let first = update(user, "a").board(&board).points(5).key("k").build();
    assert_eq!(fixture.apply_held(&[first.clone(), sent_again(&first)]).await, [held(&first), held(&first)]);
    let unkeyed = update(user, "a").board(&board).points(5).build();
    let another_key = update(user, "a").board(&board).points(5).key("k2").build();
    for again in [first.clone(), sent_again(&first), unkeyed, another_key] {
        assert_eq!(fixture.one(&again).await, held(&first), "{again:?}");
    }
    let other_content = update(user, "b").board(&board).points(5).key("k").build();
    assert_eq!(fixture.one(&other_content).await, Outcome::KeyReused);
    let other = update(user, "b").board(&board).points(5).key("k2").build();
    assert_eq!(fixture.one(&other).await, applied(&other, 5, 1), "the repeat did not bind its key");
    let query = AuditQuery { user: Some(user), action: Some(first.action_id), limit: 10, ..AuditQuery::default() };
    let story = fixture.audit.story(&query).await.unwrap();
    assert_eq!(story.len(), 1, "{story:?}");
}

/// On the board as of the review, in the ledger with who decided, and told to everybody who asks again.
pub async fn an_accepted_action_is_applied_with_a_new_version(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let first = update(user, "a").board(&board).points(5).key("k").build();
    fixture.apply_held(std::slice::from_ref(&first)).await;
    let between = update(user, "b").board(&board).points(7).build();
    fixture.one(&between).await;
    let reviewed = fixture.review(first.submission, Verdict::Accept).await.expect("accepted");
    let receipt = Receipt { decided_at: Some(later()), ..receipt_of(&first, 12, 2) };
    assert_eq!(reviewed.receipt, receipt);
    let change = reviewed.change.expect("the board moved");
    assert_eq!((change.from, change.to), (Version(1), Version(2)));
    assert_eq!(change.rows.iter().map(|row| (row.user, row.score)).collect::<Vec<_>>(), [(user, Some(12))]);
    assert_eq!(fixture.receipt_now(&first).await, Some(receipt.clone()));
    assert_eq!(fixture.top(&board).await.entries[0].score, 12);
    assert!(!fixture.waits(&first).await);
    // The same key replays the final answer, a redelivery too; the action is used.
    for again in [sent_again(&first), first.clone()] {
        assert_eq!(fixture.one(&again).await, Outcome::Applied { receipt: receipt.clone(), replayed: true });
    }
    let unkeyed = update(user, "a").board(&board).points(5).build();
    assert_eq!(fixture.one(&unkeyed).await, Outcome::DuplicateAction { receipt });
    let query = AuditQuery { user: Some(user), action: Some(first.action_id), limit: 2, ..AuditQuery::default() };
    let story = fixture.audit.story(&AuditQuery { limit: 10, ..query }).await.unwrap();
    let by_review: Vec<_> =
        story.iter().filter_map(|row| Some((row.reviewer.as_deref()?, row.receipt.status))).collect();
    assert_eq!(by_review, [("ada", ReceiptStatus::Applied)]);
    let accepted = story.iter().find(|row| row.reviewer.is_some()).expect("the review");
    assert_eq!(accepted.update.request_id, first.request_id, "the story holds together");
    assert!(fixture.ledger.gains(noon(), later(), 1000).await.unwrap().iter().all(|gain| gain.board != board));
}

/// The receipt is rejected for ever, and nothing moved.
pub async fn a_rejected_action_stays_rejected(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let first = update(user, "a").board(&board).points(5).key("k").build();
    fixture.apply_held(std::slice::from_ref(&first)).await;
    let reviewed = fixture.review(first.submission, Verdict::Reject).await.expect("rejected");
    assert_eq!((reviewed.receipt.status, reviewed.change), (ReceiptStatus::Rejected(TURNED_DOWN), None));
    assert_eq!(fixture.receipt_now(&first).await, Some(reviewed.receipt.clone()));
    assert!(!fixture.waits(&first).await);
    let unkeyed = update(user, "a").board(&board).points(5).build();
    for again in [sent_again(&first), first.clone(), unkeyed] {
        assert_eq!(code_of(&fixture.one(&again).await), TURNED_DOWN);
    }
    // A refusal that comes later does not hide what the review said.
    let reused = update(user, "a").board(&board).points(6).key("k").build();
    assert_eq!(fixture.one(&reused).await, Outcome::KeyReused);
    assert_eq!(fixture.receipt_now(&first).await, Some(reviewed.receipt));
    assert_eq!(fixture.version(&board).await, Version(0));
}

/// Two reviews of one action: the second hears what the first decided. What is not held cannot be reviewed.
pub async fn a_review_decides_once(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let plain = update(user, "plain").board(&board).build();
    fixture.one(&plain).await;
    for nothing in [plain.submission, submission_id()] {
        assert_eq!(fixture.review(nothing, Verdict::Accept).await, Err(NotReviewed::NotHeld));
    }
    let first = update(user, "a").board(&board).points(5).build();
    fixture.apply_held(std::slice::from_ref(&first)).await;
    let (one, two) = tokio::join!(
        fixture.review(first.submission, Verdict::Accept),
        fixture.review(first.submission, Verdict::Accept)
    );
    let decided: Vec<_> = [one, two].into_iter().filter_map(Result::ok).collect();
    assert_eq!(decided.len(), 1, "{decided:?}");
    let late = fixture.review(first.submission, Verdict::Reject).await;
    assert_eq!(late, Err(NotReviewed::Decided(decided[0].receipt.clone())));
    assert_eq!(fixture.digest(&board).await.score_sum, 6);
}

/// The cap of the day of the review counts; what cannot be applied stays held, and can be rejected.
pub async fn an_acceptance_keeps_to_the_rules(fixture: &Fixture) {
    let (board, [user]) = (fixture.board().await, fixture.players().await);
    let thousand = |n: usize| update(user, &format!("t{n}")).board(&board).points(1000).build();
    let first = thousand(0);
    fixture.apply_held(std::slice::from_ref(&first)).await;
    fixture.apply(&(1..=1000).map(thousand).collect::<Vec<_>>()).await;
    let refused = Err(NotReviewed::Refused(ErrorCode::DailyCapReached));
    assert_eq!(fixture.review(first.submission, Verdict::Accept).await, refused);
    assert!(fixture.waits(&first).await);
    assert_eq!(fixture.receipt_now(&first).await, Some(pending(&first)));
    let rejected = fixture.review(first.submission, Verdict::Reject).await.expect("rejected");
    assert_eq!(rejected.receipt.status, ReceiptStatus::Rejected(TURNED_DOWN));
    assert_eq!(fixture.version(&board).await, Version(1000));
}
