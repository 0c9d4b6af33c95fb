//! Scores moved and read by a trusted caller.

use common::board::{ActionRule, Proof};
use common::ids::ActionType;
use futures_util::future::join_all;
use tonic::Code;
use wire::v1::{
    EntryRequest, ReceiptRequest, ReceiptStatus, SubmitBatchRequest, SubmitRequest, TopRequest, submit_result,
};

use crate::support::{Node, submit, update};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_submitted_is_in_top_entry_and_receipt() {
    let node = Node::start().await;
    let [ada, bob] = <[_; 2]>::try_from(node.players(2).await).unwrap();
    let mut scores = node.scores().await;
    let applied = submit(&mut scores, update(&ada, "won", 30)).await.unwrap();
    assert_eq!(
        (applied.status(), applied.new_score, applied.rank, applied.version),
        (ReceiptStatus::Applied, Some(30), Some(1), Some(1))
    );
    assert_eq!((applied.board.as_str(), applied.action_id.as_str(), applied.replayed), ("global", "won", false));
    let second = submit(&mut scores, update(&bob, "won", 40)).await.unwrap();
    assert_eq!((second.rank, second.version), (Some(1), Some(2)));

    // An answer's version is in what the same node tells next.
    let top = testkit::waiting::eventually(testkit::waiting::SOON, "the second version in the top", || {
        let mut scores = scores.clone();
        async move {
            let top = scores.top(TopRequest::default()).await.unwrap().into_inner();
            (top.version == 2).then_some(top)
        }
    })
    .await;
    let lines: Vec<_> = top.leaderboard.iter().map(|line| (line.username.as_str(), line.score, line.rank)).collect();
    assert_eq!(lines, [(&*bob.username, 40, 1), (&*ada.username, 30, 2)]);

    let ask = EntryRequest { user_id: ada.user.to_string(), around: 1, ..EntryRequest::default() };
    let entry = scores.entry(ask.clone()).await.unwrap().into_inner();
    assert_eq!(entry.entry.unwrap().rank, 2);
    assert_eq!(entry.neighbors.len(), 2);
    assert!(scores.entry(EntryRequest { around: 0, ..ask }).await.unwrap().into_inner().neighbors.is_empty());

    let ask =
        ReceiptRequest { user_id: ada.user.to_string(), action_id: "won".to_owned(), ..ReceiptRequest::default() };
    let told = scores.receipt(ask.clone()).await.unwrap().into_inner();
    let receipt = told.receipt.unwrap();
    assert_eq!((receipt.status(), receipt.new_score, told.rank), (ReceiptStatus::Applied, Some(30), Some(2)));
    let unknown = scores.receipt(ReceiptRequest { action_id: "lost".to_owned(), ..ask }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_key_is_the_proof_that_points_were_earned() {
    let node = Node::start().await;
    let won = ActionRule {
        action_type: ActionType::parse("won").unwrap(),
        proof: Proof::Issuer,
        min_points: 5,
        max_points: 50,
        default_points: 7,
        daily_cap: 100,
    };
    node.rule(won).await;
    let ada = node.players(1).await.remove(0);
    let mut scores = node.scores().await;
    let win = |action: &str| SubmitRequest { action_type: "won".to_owned(), points: None, ..update(&ada, action, 0) };
    assert_eq!(submit(&mut scores, win("a")).await.unwrap().new_score, Some(7), "the type's default");
    assert_eq!(*node.queue.proofs.lock(), [Proof::Issuer], "what the ledger is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_with_its_key_gets_the_first_answer() {
    let node = Node::start().await;
    let ada = node.players(1).await.remove(0);
    let scores = node.scores().await;
    let keyed = SubmitRequest { idempotency_key: "once".to_owned(), ..update(&ada, "won", 5) };
    let first = submit(&mut scores.clone(), keyed.clone()).await.unwrap();
    assert!(!first.replayed);
    let repeats = join_all((0..50).map(|_| {
        let (mut scores, keyed) = (scores.clone(), keyed.clone());
        async move { submit(&mut scores, keyed).await.unwrap() }
    }))
    .await;
    for repeat in repeats {
        assert!(repeat.replayed);
        assert_eq!(wire::v1::SubmitResponse { replayed: false, ..repeat }, first);
    }
    assert_eq!(node.version().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_decided_each_for_itself() {
    let node = Node::start().await;
    let [ada, bob] = <[_; 2]>::try_from(node.players(2).await).unwrap();
    let mut scores = node.scores().await;
    submit(&mut scores, update(&ada, "used", 1)).await.unwrap();
    let updates = vec![
        update(&ada, "a", 10),
        update(&ada, "used", 1),
        update(&bob, "b", 1001),
        update(&bob, "", 1),
        update(&bob, "b", 20),
    ];
    let answer = scores.submit_batch(SubmitBatchRequest { updates }).await.unwrap().into_inner();
    let told: Vec<_> = answer
        .results
        .into_iter()
        .map(|result| match result.result.unwrap() {
            submit_result::Result::Submitted(done) => Ok(done.new_score.unwrap()),
            submit_result::Result::Refused(refused) => Err((refused.code, refused.field, refused.receipt.is_some())),
        })
        .collect();
    let refused = |code: &str, field: &str, receipt| Err((code.to_owned(), field.to_owned(), receipt));
    let expected = [
        Ok(11),
        refused("duplicate_action", "", true),
        refused("points_out_of_range", "points", false),
        refused("invalid_request", "actionId", false),
        Ok(20),
    ];
    assert_eq!(told, expected);
    assert_eq!(node.version().await, 3);

    for updates in [Vec::new(), vec![update(&ada, "x", 1); 101]] {
        let refused = scores.submit_batch(SubmitBatchRequest { updates }).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    assert_eq!(node.version().await, 3);
}
