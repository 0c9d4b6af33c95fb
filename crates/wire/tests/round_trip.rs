//! What is written is read back the same; what is not ours is refused and never a panic.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::sync::Arc;

use common::account::Revocation;
use common::board::{Proof, SCORE_LIMIT};
use common::clock::Timestamp;
use common::error_code::{ErrorCode, Refusal};
use common::ids::{ActionId, ActionType, BoardId, IdempotencyKey, SessionId, SubmissionId, UserId};
use common::ports::Event;
use common::receipt::{Answer, Outcome, Receipt, ReceiptStatus};
use common::score_update::{AddressHash, ContentHash, ScoreUpdate, TraceContext};
use common::standing::{BoardChange, ScoreRow};
use common::state::{Epoch, Version};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message as _;
use uuid::Uuid;
use wire::{decode_answers, decode_event, decode_updates, encode_answers, encode_event, encode_updates, v1};

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn score() -> impl Strategy<Value = i64> {
    -SCORE_LIMIT..=SCORE_LIMIT
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (0..=253_402_300_799_999_i64).prop_map(Timestamp::from_millis)
}

fn board() -> impl Strategy<Value = BoardId> {
    "[a-z0-9-]{1,64}".prop_map(|text| BoardId::parse(&text).unwrap())
}

fn action_id() -> impl Strategy<Value = ActionId> {
    "[A-Za-z0-9_.:-]{1,128}".prop_map(|text| ActionId::parse(&text).unwrap())
}

fn action_type() -> impl Strategy<Value = ActionType> {
    "[A-Za-z0-9_.:-]{1,64}".prop_map(|text| ActionType::parse(&text).unwrap())
}

fn trace() -> impl Strategy<Value = TraceContext> {
    ("[ -~]{0,55}", "[ -~]{0,80}").prop_map(|(traceparent, tracestate)| TraceContext { traceparent, tracestate })
}

prop_compose! {
    fn update()(
        submission in uuid(),
        board in board(),
        user in uuid(),
        action_id in action_id(),
        action_type in action_type(),
        points in score(),
        proof in select(vec![Proof::Session, Proof::Issuer, Proof::Token]),
        idempotency_key in option::of("[!-~]{1,255}"),
        content_hash in any::<[u8; 32]>(),
        accepted_at in timestamp(),
        request_id in "[!-~]{0,64}",
        address_hash in option::of(any::<[u8; 16]>()),
        trace in trace(),
    ) -> ScoreUpdate {
        ScoreUpdate {
            submission: SubmissionId(submission),
            board,
            user: UserId(user),
            action_id,
            action_type,
            points,
            proof,
            idempotency_key: idempotency_key.map(|key| IdempotencyKey::parse(&key).unwrap()),
            content_hash: ContentHash(content_hash),
            accepted_at,
            request_id,
            address_hash: address_hash.map(AddressHash),
            trace,
        }
    }
}

fn receipt(status: impl Strategy<Value = ReceiptStatus>) -> impl Strategy<Value = Receipt> {
    (status, action_id(), board(), action_type(), score(), score(), 0..=i64::MAX as u64, timestamp()).prop_map(
        |(status, action_id, board, action_type, points, new_score, version, decided_at)| {
            let applied = status == ReceiptStatus::Applied;
            Receipt {
                status,
                action_id,
                board,
                action_type,
                points,
                new_score: applied.then_some(new_score),
                version: applied.then_some(Version(version)),
                decided_at: (status != ReceiptStatus::Pending).then_some(decided_at),
            }
        },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let applied = || receipt(Just(ReceiptStatus::Applied));
    let rejected = || receipt(select(ErrorCode::ALL.to_vec()).prop_map(ReceiptStatus::Rejected));
    prop_oneof![
        (applied(), any::<bool>()).prop_map(|(receipt, replayed)| Outcome::Applied { receipt, replayed }),
        (rejected(), option::of(any::<u64>()))
            .prop_map(|(receipt, retry_after_s)| Outcome::Rejected { receipt, retry_after_s }),
        applied().prop_map(|receipt| Outcome::DuplicateAction { receipt }),
        Just(Outcome::KeyReused),
        receipt(Just(ReceiptStatus::Pending)).prop_map(|receipt| Outcome::Quarantined { receipt }),
    ]
}

fn answer() -> impl Strategy<Value = (SubmissionId, Answer)> {
    (uuid(), outcome(), option::of(1..u64::MAX))
        .prop_map(|(submission, outcome, rank)| (SubmissionId(submission), Answer { outcome, rank }))
}

fn board_changed() -> impl Strategy<Value = Event> {
    let row =
        (any::<u64>(), "[A-Za-z0-9_.-]{3,32}", option::of(score()), 1..1000_u64, timestamp(), option::of(1..9_u64));
    (board(), "[!#-\\-/-~]{1,64}", 0..1_u64 << 60, vec(row, 0..20), any::<bool>(), vec(trace(), 0..4)).prop_map(
        |(board, epoch, from, rows, ranked, traces)| {
            let (mut to, mut ranks) = (from, Vec::new());
            let rows = (0_u64..)
                .zip(rows)
                .map(|(index, (user, name, score, step, updated_at, rank))| {
                    to += step;
                    ranks.push(rank);
                    ScoreRow {
                        user: UserId(Uuid::from_u64_pair(user, index)),
                        username: Arc::from(name),
                        score,
                        version: Version(to),
                        updated_at,
                    }
                })
                .collect();
            if !ranked {
                ranks.clear();
            }
            let epoch = Epoch::parse(&epoch).unwrap();
            let change = BoardChange { board, epoch, from: Version(from), to: Version(to), rows };
            Event::BoardChanged { change: Arc::new(change), ranks, traces }
        },
    )
}

fn session_revoked() -> impl Strategy<Value = Event> {
    (uuid(), timestamp())
        .prop_map(|(session, revoked_at)| Event::SessionRevoked(Revocation { session: SessionId(session), revoked_at }))
}

proptest! {
    #[test]
    fn updates_are_read_as_they_were_written(updates in vec(update(), 1..8)) {
        let decoded = decode_updates(&encode_updates(&updates)).unwrap();
        prop_assert_eq!(decoded.updates, updates);
        prop_assert!(decoded.damaged.is_empty());
    }

    #[test]
    fn answers_are_read_as_they_were_written(answers in vec(answer(), 0..8)) {
        let body = encode_answers(answers.iter().map(|(submission, answer)| (*submission, answer)));
        prop_assert_eq!(decode_answers(&body).unwrap(), answers);
    }

    #[test]
    fn events_are_read_as_they_were_written(event in prop_oneof![board_changed(), session_revoked()]) {
        prop_assert_eq!(decode_event(&encode_event(&event)).unwrap(), event);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..512)) {
        let _ = decode_updates(&bytes);
        let _ = decode_answers(&bytes);
        let _ = decode_event(&bytes);
    }

    /// Random bytes rarely get past the first field; damaged good messages reach every check.
    #[test]
    fn damaged_messages_never_panic_and_never_break_a_promise(
        update in update(),
        answer in answer(),
        event in board_changed(),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let flip = |mut body: Vec<u8>| { let at = at.index(body.len()); body[at] = byte; body };
        if let Ok(batch) = decode_updates(&flip(encode_updates([&update]))) {
            prop_assert!(!batch.updates.is_empty() || !batch.damaged.is_empty());
            prop_assert!(batch.updates.iter().all(|u| u.points.abs() <= SCORE_LIMIT));
        }
        let _ = decode_answers(&flip(encode_answers([(answer.0, &answer.1)])));
        if let Ok(Event::BoardChanged { change, ranks, .. }) = decode_event(&flip(encode_event(&event))) {
            prop_assert!(change.from <= change.to);
            prop_assert!(change.rows.iter().all(|row| change.from < row.version && row.version <= change.to));
            prop_assert!(ranks.is_empty() || ranks.len() == change.rows.len());
        }
    }

    #[test]
    fn refusals_are_read_as_they_were_written(
        code in select(ErrorCode::ALL.to_vec()),
        message in "\\PC{0,60}",
        retry_after_s in option::of(any::<u64>()),
    ) {
        let refusal = Refusal { retry_after_s, ..Refusal::new(code, message) };
        prop_assert_eq!(wire::refusal_from_status(&wire::status_from_refusal(&refusal)), refusal);
    }

    /// Each way in which an update can be wrong is named; the good one beside it is read.
    #[test]
    fn one_damaged_update_does_not_take_a_good_one_with_it(good in update(), which in 0..8_usize) {
        let mut bad = v1::ScoreUpdate::from(&good);
        let field = match which {
            0 => { bad.submission_id.pop(); "submission_id" }
            1 => { bad.board = "No Board".into(); "board" }
            2 => { bad.user_id.clear(); "user_id" }
            3 => { bad.points = i64::MIN; "points" }
            4 => { bad.proof = 0; "proof" }
            5 => { bad.content_hash.push(0); "content_hash" }
            6 => { bad.accepted_at_ms = -1; "accepted_at_ms" }
            _ => { bad.idempotency_key = Some(" ".into()); "idempotencyKey" }
        };
        let batch = v1::ScoreUpdateBatch { updates: vec![(&good).into(), bad.clone()] };
        let decoded = decode_updates(&batch.encode_to_vec()).unwrap();
        prop_assert_eq!(decoded.updates, vec![good]);
        prop_assert_eq!(decoded.damaged.len(), 1);
        prop_assert_eq!(&decoded.damaged[0].0, &bad);
        prop_assert_eq!(decoded.damaged[0].1.field, field);
    }
}

#[test]
fn a_body_without_updates_is_damaged() {
    assert_eq!(decode_updates(&[]).unwrap_err().field, "updates");
}

#[test]
fn a_body_with_too_many_updates_is_damaged() {
    let updates = vec![v1::ScoreUpdate::default(); wire::MAX_UPDATES_PER_MESSAGE + 1];
    let body = v1::ScoreUpdateBatch { updates }.encode_to_vec();
    assert_eq!(decode_updates(&body).unwrap_err().field, "updates");
}

#[test]
fn telemetry_that_is_no_header_is_left_out_and_the_update_kept() {
    let mut update = v1::ScoreUpdate {
        submission_id: vec![1; 16],
        board: "global".into(),
        user_id: vec![2; 16],
        action_id: "a".into(),
        action_type: "task".into(),
        points: 10,
        proof: v1::Proof::Token.into(),
        idempotency_key: None,
        content_hash: vec![3; 32],
        accepted_at_ms: 1,
        request_id: "r\n1".into(),
        trace: None,
        address_hash: Some(vec![1; 3]),
    };
    update.trace = Some(v1::TraceContext { traceparent: "x".repeat(10_000), tracestate: "a=b".into() });
    let read = ScoreUpdate::try_from(&update).unwrap();
    assert_eq!((read.request_id.as_str(), read.trace.traceparent.as_str()), ("", ""));
    assert_eq!(read.trace.tracestate, "a=b");
    assert_eq!(read.address_hash, None, "3 bytes are no hash");
}

#[test]
fn an_applied_receipt_without_its_version_is_damaged() {
    let receipt = v1::Receipt {
        status: v1::ReceiptStatus::Applied.into(),
        action_id: "a".into(),
        board: "global".into(),
        action_type: "task".into(),
        new_score: Some(1),
        decided_at_ms: Some(1),
        ..v1::Receipt::default()
    };
    assert_eq!(Receipt::try_from(&receipt).unwrap_err().field, "version");
}
