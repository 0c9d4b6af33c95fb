//! The contract's order, checked pair by pair: whatever else is wrong, the first refusal in the order is the one told.

use std::time::Duration;

use common::board::Proof;
use common::clock::Timestamp;
use common::ids::{ActionId, ActionType, BoardId, IdempotencyKey, SubmissionId};
use common::ports::StoredAnswer;
use common::rate_limit::Allowance;
use common::score_update::{ContentHash, TraceContext};

use super::*;

const QUOTA: Quota = Quota { name: "test", limit: 1, period: Duration::from_secs(60) };
const LOCAL: [Check; 7] = [
    Check::SizeAndMediaType,
    Check::Shape,
    Check::Token,
    Check::OwnScore,
    Check::Signature,
    Check::Timestamp,
    Check::Bounds,
];

fn refused() -> Allowance {
    Allowance {
        quota: QUOTA,
        allowed: false,
        remaining: 0,
        retry_after: Duration::from_secs(6),
        reset_after: Duration::from_secs(60),
    }
}

fn user() -> UserId {
    UserId(uuid::Uuid::from_u128(1))
}

fn claim() -> KeyClaim {
    KeyClaim {
        user: user(),
        key: IdempotencyKey::parse("k").unwrap(),
        content_hash: ContentHash([7; 32]),
        submission: SubmissionId(uuid::Uuid::from_u128(2)),
    }
}

fn update() -> ScoreUpdate {
    ScoreUpdate {
        submission: claim().submission,
        board: BoardId::global(),
        user: user(),
        action_id: ActionId::parse("a").unwrap(),
        action_type: ActionType::default_type(),
        points: 1,
        proof: Proof::Session,
        idempotency_key: Some(claim().key),
        content_hash: claim().content_hash,
        accepted_at: Timestamp::from_millis(0),
        address_hash: None,
        request_id: String::new(),
        trace: TraceContext::default(),
    }
}

/// Local checks that stopped at `at`, with what is known by then.
fn local(at: Option<Check>) -> LocalChecks {
    let actor = Actor { user: user(), session: Some(SessionId(uuid::Uuid::from_u128(3))) };
    let reached = |check| at.is_none_or(|at| at > check);
    LocalChecks {
        actor: reached(Check::Token).then_some(actor),
        claim: reached(Check::Signature).then(claim),
        outcome: match at {
            Some(check) => Err((check, Refusal::new(ErrorCode::InvalidRequest, "local"))),
            None => Ok(update()),
        },
    }
}

fn refused_at(verdict: &Verdict) -> Option<Check> {
    match verdict {
        Verdict::Refuse(check, _) => Some(*check),
        Verdict::Submit(_) | Verdict::Replay(_) => None,
    }
}

#[test]
fn nothing_wrong_goes_to_the_queue() {
    assert!(matches!(verdict(local(None), &Admission::default()), Verdict::Submit(_)));
}

#[test]
fn the_address_ceiling_comes_before_everything() {
    for at in LOCAL.into_iter().map(Some).chain([None]) {
        let admission =
            Admission { address: Some(refused()), revoked: true, user: Some(refused()), ..Admission::default() };
        assert_eq!(refused_at(&verdict(local(at), &admission)), Some(Check::AddressCeiling), "{at:?}");
    }
}

#[test]
fn each_local_check_is_told_where_it_stopped() {
    for at in LOCAL {
        assert_eq!(refused_at(&verdict(local(Some(at)), &Admission::default())), Some(at));
    }
}

#[test]
fn a_revoked_session_comes_after_the_shape_and_before_the_rest() {
    let admission = Admission { revoked: true, ..Admission::default() };
    for at in LOCAL.into_iter().map(Some).chain([None]) {
        let expected = match at {
            Some(at @ (Check::SizeAndMediaType | Check::Shape)) => at,
            _ => Check::Token,
        };
        assert_eq!(refused_at(&verdict(local(at), &admission)), Some(expected), "{at:?}");
    }
}

#[test]
fn a_stored_answer_comes_after_the_signature_and_before_the_timestamp() {
    let answer = StoredAnswer { content_hash: claim().content_hash, body: b"first".to_vec() };
    let admission = Admission { key: KeyState::Answered(answer), user: Some(refused()), ..Admission::default() };
    for at in LOCAL.into_iter().map(Some).chain([None]) {
        let verdict = verdict(local(at), &admission);
        match at {
            Some(at) if at <= Check::Signature => assert_eq!(refused_at(&verdict), Some(at)),
            _ => assert!(matches!(&verdict, Verdict::Replay(body) if body == b"first"), "{at:?}: {verdict:?}"),
        }
    }
}

#[test]
fn a_key_with_other_content_is_reused_and_one_in_flight_is_in_progress() {
    let code = |key| match verdict(local(None), &Admission { key, ..Admission::default() }) {
        Verdict::Refuse(Check::StoredAnswer, refusal) => refusal.code,
        other => panic!("{other:?}"),
    };
    let other = ContentHash([8; 32]);
    assert_eq!(code(KeyState::InFlight(claim().content_hash)), ErrorCode::RequestInProgress);
    assert_eq!(code(KeyState::InFlight(other)), ErrorCode::IdempotencyKeyReused);
    let answer = StoredAnswer { content_hash: other, body: Vec::new() };
    assert_eq!(code(KeyState::Answered(answer)), ErrorCode::IdempotencyKeyReused);
}

#[test]
fn the_users_limit_comes_after_the_timestamp_and_before_the_bounds() {
    let admission = Admission { user: Some(refused()), ..Admission::default() };
    assert_eq!(refused_at(&verdict(local(Some(Check::Timestamp)), &admission)), Some(Check::Timestamp));
    assert_eq!(refused_at(&verdict(local(Some(Check::Bounds)), &admission)), Some(Check::UserLimit));
    assert_eq!(refused_at(&verdict(local(None), &admission)), Some(Check::UserLimit));
}

#[test]
fn what_was_refused_before_the_limit_does_not_count_against_it() {
    let question = |at| local(at).question(Some((QUOTA, "203.0.113.9".into())), QUOTA);
    assert!(question(Some(Check::Timestamp)).user.is_none());
    assert!(question(Some(Check::Bounds)).user.is_some());
    assert!(question(Some(Check::OwnScore)).claim.is_none());
    assert!(question(Some(Check::Token)).session.is_none());
    assert!(question(None).address.is_some());
}
