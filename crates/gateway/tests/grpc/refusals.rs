//! Refusals have the code of HTTP's table, and its pair in gRPC.

use common::board::{ActionRule, Proof};
use common::error_code::{Details, ErrorCode};
use common::ids::ActionType;
use tonic::Status;
use wire::refusal_from_status;
use wire::v1::{EntryRequest, SubmitRequest, TopRequest, WatchRequest};

use crate::support::{Node, submit, update};

/// The status has the code's name and its pair.
fn check(status: &Status, code: ErrorCode) {
    let name = status.metadata().get("scoreboard-code").map(|name| name.to_str().unwrap().to_owned());
    assert_eq!(name.as_deref(), Some(code.as_str()), "{status:?}");
    assert_eq!(status.code() as i32, code.grpc_code(), "{status:?}");
    assert!(status.metadata().get("x-request-id").is_some(), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_an_update_has_its_pair_and_moves_nothing() {
    let node = Node::start().await;
    node.rule(ActionRule {
        action_type: ActionType::parse("capped").unwrap(),
        proof: Proof::Session,
        min_points: 1,
        max_points: 100,
        default_points: 1,
        daily_cap: 150,
    })
    .await;
    let ada = node.players(1).await.remove(0);
    let mut scores = node.scores().await;
    let keyed = SubmitRequest { idempotency_key: "k".to_owned(), ..update(&ada, "used", 1) };
    submit(&mut scores, keyed.clone()).await.unwrap();
    let capped = |action: &str| SubmitRequest { action_type: "capped".to_owned(), ..update(&ada, action, 100) };
    submit(&mut scores, capped("c1")).await.unwrap();
    let stood = node.version().await;

    let stranger = testkit::fixtures::user_id().to_string();
    let good = update(&ada, "new", 1);
    for (code, wrong) in [
        (ErrorCode::InvalidRequest, SubmitRequest { user_id: "ada".to_owned(), ..good.clone() }),
        (ErrorCode::InvalidRequest, SubmitRequest { action_id: "a b".to_owned(), ..good.clone() }),
        (ErrorCode::InvalidRequest, SubmitRequest { board: "A".to_owned(), ..good.clone() }),
        (ErrorCode::InvalidRequest, SubmitRequest { idempotency_key: "ü".to_owned(), ..good.clone() }),
        (ErrorCode::UnknownBoard, SubmitRequest { board: "nowhere".to_owned(), ..good.clone() }),
        (ErrorCode::UnknownActionType, SubmitRequest { action_type: "other".to_owned(), ..good.clone() }),
        (ErrorCode::PointsOutOfRange, SubmitRequest { points: Some(1001), ..good.clone() }),
        (ErrorCode::PointsOutOfRange, SubmitRequest { points: Some(i64::MIN), ..good.clone() }),
        (ErrorCode::NotFound, SubmitRequest { user_id: stranger, ..good.clone() }),
        (ErrorCode::DuplicateAction, update(&ada, "used", 1)),
        (ErrorCode::IdempotencyKeyReused, SubmitRequest { action_id: "other".to_owned(), ..keyed }),
        (ErrorCode::DailyCapReached, capped("c2")),
    ] {
        let refused = submit(&mut scores, wrong).await.unwrap_err();
        check(&refused, code);
        let refusal = refusal_from_status(&refused);
        match code {
            ErrorCode::DuplicateAction => {
                let Details::Receipt(receipt) = refusal.details else { panic!("no receipt: {refused:?}") };
                assert_eq!((receipt.action_id.as_str(), receipt.new_score), ("used", Some(1)));
            }
            ErrorCode::DailyCapReached => {
                assert_eq!(refusal.details, Details::Limit("daily-cap"));
                assert_eq!(refusal.retry_after_s, Some(12 * 60 * 60), "it is noon");
            }
            _ => {}
        }
    }
    assert_eq!(node.version().await, stood);
    submit(&mut scores, good).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_limit_is_the_same_as_by_http_and_a_callers_is_its_own() {
    let limits = [("limits.user_updates_per_minute", "3"), ("limits.caller_calls_per_minute", "6")];
    let node = Node::start_with(&limits).await;
    let ada = node.players(1).await.remove(0);
    let mut scores = node.scores().await;
    for action in ["1", "2", "3"] {
        submit(&mut scores, update(&ada, action, 1)).await.unwrap();
    }
    let refused = submit(&mut scores, update(&ada, "4", 1)).await.unwrap_err();
    check(&refused, ErrorCode::RateLimited);
    assert_eq!(refusal_from_status(&refused).details, Details::Limit("user-updates"));
    assert_eq!(refusal_from_status(&refused).retry_after_s, Some(20));
    for _ in 0..2 {
        scores.top(TopRequest::default()).await.unwrap();
    }
    let refused = scores.top(TopRequest::default()).await.unwrap_err();
    check(&refused, ErrorCode::RateLimited);
    assert_eq!(refusal_from_status(&refused).details, Details::Limit("caller-calls"));
    node.clock.advance_millis(60_000);
    submit(&mut scores, update(&ada, "4", 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_refused_as_by_http() {
    let node = Node::start().await;
    let ada = node.players(1).await.remove(0);
    let mut scores = node.scores().await;
    let nowhere = || "nowhere".to_owned();
    let top = TopRequest { limit: 101, ..TopRequest::default() };
    check(&scores.top(top).await.unwrap_err(), ErrorCode::InvalidRequest);
    let top = TopRequest { board: nowhere(), ..TopRequest::default() };
    check(&scores.top(top).await.unwrap_err(), ErrorCode::UnknownBoard);
    let entry = EntryRequest { user_id: ada.user.to_string(), ..EntryRequest::default() };
    check(&scores.entry(entry.clone()).await.unwrap_err(), ErrorCode::NotFound);
    let far = EntryRequest { around: 51, ..entry };
    check(&scores.entry(far).await.unwrap_err(), ErrorCode::InvalidRequest);
    let watch = WatchRequest { board: nowhere(), ..WatchRequest::default() };
    check(&scores.watch(watch).await.unwrap_err(), ErrorCode::UnknownBoard);
}
