//! What every [`UpdateQueue`] with its [`UpdateSource`] must do. The queue must be the case's alone.

use std::any::Any;
use std::collections::HashSet;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use common::ids::SubmissionId;
use common::ports::{Delivery, SubmitError, Submitted, UpdateQueue, UpdateSource};
use common::receipt::{Answer, Outcome, Receipt, ReceiptStatus};
use common::score_update::ScoreUpdate;
use common::state::Version;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::fixtures::{noon, seeded_user, update};
use crate::waiting::{SOON, eventually, within};

/// The queue under test.
pub struct Fixture {
    /// The gateway's end.
    pub queue: Arc<dyn UpdateQueue>,
    /// The worker's end.
    pub source: Arc<dyn UpdateSource>,
    /// An accepted update outlives the process: without an answer in time a submission is pending, else undecided.
    pub durable: bool,
    /// What they stand on, dropped with them.
    pub guard: Box<dyn Any + Send + Sync>,
}

/// A test of each case of the suite.
#[macro_export]
macro_rules! queue_contract {
    ($fixture:path) => {
        $crate::contract_tests!(
            queue as queue_contract,
            $fixture,
            [
                an_answer_reaches_its_submitter,
                every_kind_of_answer_arrives_whole,
                an_update_arrives_whole,
                many_submitters_get_their_own_answers,
                without_an_answer_the_wait_runs_out,
                nobody_receiving_is_bounded,
                collecting_ends_at_the_wanted_number,
                collecting_ends_with_its_time,
                without_a_linger_no_timer_is_waited_for,
                receiving_can_be_given_up,
                a_submitter_that_left_is_no_error,
                an_update_put_aside_leaves_the_queue,
                acknowledged_work_does_not_come_again,
            ]
        );
    };
}

/// What a queue may take to say no, beside the wait.
const BOUND: Duration = Duration::from_secs(2);
const LINGER: Duration = Duration::from_millis(5);

fn numbered(n: usize) -> ScoreUpdate {
    update(seeded_user(n), &format!("action-{n}")).points(n as i64 + 1).key(&format!("key-{n}")).build()
}

/// An answer that can be told from others.
fn answer_to(update: &ScoreUpdate) -> Answer {
    let receipt = Receipt {
        status: ReceiptStatus::Applied,
        action_id: update.action_id.clone(),
        board: update.board.clone(),
        action_type: update.action_type.clone(),
        points: update.points,
        new_score: Some(update.points * 10),
        version: Some(Version(update.points.unsigned_abs())),
        decided_at: Some(noon()),
    };
    Answer { outcome: Outcome::Applied { receipt, replayed: false }, rank: Some(7) }
}

fn submit(fixture: &Fixture, update: &ScoreUpdate, wait: Duration) -> JoinHandle<Result<Submitted, SubmitError>> {
    let (queue, update) = (Arc::clone(&fixture.queue), update.clone());
    tokio::spawn(async move { queue.submit(update, wait).await })
}

async fn answer_of(submission: JoinHandle<Result<Submitted, SubmitError>>) -> Answer {
    match within(SOON, "a submission to end", submission).await.expect("a submitter") {
        Ok(Submitted::Decided(answer)) => answer,
        other => panic!("not decided: {other:?}"),
    }
}

async fn receive(fixture: &Fixture, max_updates: usize) -> Vec<Delivery> {
    let deliveries = within(SOON, "work", fixture.source.receive(max_updates, LINGER)).await.expect("receive");
    assert!(!deliveries.is_empty() && deliveries.iter().all(|d| !d.updates.is_empty()), "at least one update");
    deliveries
}

/// Receives until so many updates came, acknowledging all.
async fn receive_in_all(fixture: &Fixture, count: usize) -> Vec<ScoreUpdate> {
    let mut updates = Vec::new();
    while updates.len() < count {
        let deliveries = receive(fixture, 100).await;
        fixture.source.acknowledge(&deliveries.iter().map(|d| d.tag).collect::<Vec<_>>()).await.expect("acknowledge");
        updates.extend(deliveries.into_iter().flat_map(|d| d.updates));
    }
    updates
}

async fn settle(fixture: &Fixture, deliveries: &[Delivery]) {
    for delivery in deliveries {
        let answers = delivery.updates.iter().map(answer_to).collect();
        fixture.source.answer(delivery, answers).await.expect("answer");
    }
    fixture.source.acknowledge(&deliveries.iter().map(|d| d.tag).collect::<Vec<_>>()).await.expect("acknowledge");
}

/// Submitted, received, answered, decided.
pub async fn an_answer_reaches_its_submitter(fixture: &Fixture) {
    let update = numbered(0);
    let submission = submit(fixture, &update, SOON);
    let deliveries = receive(fixture, 10).await;
    settle(fixture, &deliveries).await;
    assert_eq!(answer_of(submission).await, answer_to(&update));
}

/// Also refusals, and an unknown rank.
pub async fn every_kind_of_answer_arrives_whole(fixture: &Fixture) {
    use common::error_code::ErrorCode::DailyCapReached;
    let (mut kinds, update) = (Vec::new(), numbered(3));
    let Answer { outcome: Outcome::Applied { receipt, .. }, .. } = answer_to(&update) else { panic!("applied") };
    let rejected =
        Receipt { status: ReceiptStatus::Rejected(DailyCapReached), new_score: None, version: None, ..receipt.clone() };
    kinds.push(Outcome::Applied { receipt: receipt.clone(), replayed: true });
    kinds.push(Outcome::DuplicateAction { receipt });
    let held = Receipt { status: ReceiptStatus::Pending, ..rejected.clone() };
    kinds.push(Outcome::Quarantined { receipt: held });
    kinds.push(Outcome::Rejected { receipt: rejected.clone(), retry_after_s: Some(3600) });
    kinds.push(Outcome::Rejected { receipt: rejected, retry_after_s: None });
    kinds.push(Outcome::KeyReused);
    for outcome in kinds {
        let submission = submit(fixture, &crate::fixtures::sent_again(&update), SOON);
        let answer = Answer { outcome, rank: None };
        let deliveries = receive(fixture, 1).await;
        fixture.source.answer(&deliveries[0], vec![answer.clone()]).await.expect("answer");
        fixture.source.acknowledge(&[deliveries[0].tag]).await.expect("acknowledge");
        assert_eq!(answer_of(submission).await, answer);
    }
}

/// Nothing of it is lost on the way.
pub async fn an_update_arrives_whole(fixture: &Fixture) {
    for update in [numbered(0), update(seeded_user(1), "plain").points(-5).build()] {
        let submission = submit(fixture, &update, SOON);
        let deliveries = receive(fixture, 1).await;
        assert_eq!(deliveries[0].updates, [update]);
        settle(fixture, &deliveries).await;
        answer_of(submission).await;
    }
}

/// Two hundred at once, received in portions, answered in portions.
pub async fn many_submitters_get_their_own_answers(fixture: &Fixture) {
    let updates: Vec<_> = (0..200).map(numbered).collect();
    let submissions: Vec<_> = updates.iter().map(|update| submit(fixture, update, SOON)).collect();
    let mut received = 0;
    while received < updates.len() {
        let deliveries = receive(fixture, 17).await;
        received += deliveries.iter().map(|d| d.updates.len()).sum::<usize>();
        settle(fixture, &deliveries).await;
    }
    for (update, submission) in updates.iter().zip(submissions) {
        assert_eq!(answer_of(submission).await, answer_to(update));
    }
}

/// A durable queue says that it is pending, another that nobody knows; the worker still finds the work where durable.
pub async fn without_an_answer_the_wait_runs_out(fixture: &Fixture) {
    let (update, wait, start) = (numbered(0), Duration::from_millis(100), Instant::now());
    let submission = within(SOON, "the wait to run out", submit(fixture, &update, wait)).await.expect("a submitter");
    assert!(start.elapsed() >= wait, "the whole wait was given");
    match submission {
        Ok(Submitted::Pending) if fixture.durable => {}
        Err(SubmitError::Undecided(_)) if !fixture.durable => return,
        other => panic!("{other:?}"),
    }
    assert_eq!(receive_in_all(fixture, 1).await, [update]);
}

/// Submissions end in time also when no worker takes anything, however many there are.
pub async fn nobody_receiving_is_bounded(fixture: &Fixture) {
    let wait = Duration::from_millis(50);
    let submissions: Vec<_> = (0..300).map(|n| submit(fixture, &numbered(n), wait)).collect();
    for submission in submissions {
        let ended = timeout(wait + BOUND + SOON, submission).await.expect("it ends").expect("a submitter");
        assert!(!matches!(ended, Ok(Submitted::Decided(_))), "nobody decided: {ended:?}");
    }
}

/// When so many updates are together, the linger is not waited out.
pub async fn collecting_ends_at_the_wanted_number(fixture: &Fixture) {
    let updates: Vec<_> = (0..6).map(numbered).collect();
    let mut submissions = Vec::new();
    for update in &updates {
        if fixture.durable {
            // One after the other, so that each is a delivery of its own.
            let accepted = within(SOON, "an update to be accepted", submit(fixture, update, Duration::ZERO)).await;
            assert!(matches!(accepted, Ok(Ok(Submitted::Pending))), "{accepted:?}");
        } else {
            submissions.push(submit(fixture, update, SOON));
        }
    }
    for _ in 0..2 {
        let collecting = fixture.source.receive(3, Duration::from_secs(3600));
        let deliveries = within(SOON, "three updates", collecting).await.expect("receive");
        assert_eq!(deliveries.iter().map(|d| d.updates.len()).sum::<usize>(), 3);
        settle(fixture, &deliveries).await;
    }
    for submission in submissions {
        answer_of(submission).await;
    }
}

/// A lone update is not kept waiting for company.
pub async fn collecting_ends_with_its_time(fixture: &Fixture) {
    let submission = submit(fixture, &numbered(0), SOON);
    let deliveries = receive(fixture, 1000).await;
    assert_eq!(deliveries.len(), 1);
    settle(fixture, &deliveries).await;
    answer_of(submission).await;
}

/// A timer that is due at once fires a millisecond or two late: more than everything else takes that a lone update needs.
pub async fn without_a_linger_no_timer_is_waited_for(fixture: &Fixture) {
    let submission = submit(fixture, &numbered(0), SOON);
    let looked = async || {
        let mut receiving = pin!(fixture.source.receive(10, Duration::ZERO));
        poll_fn(|context| match receiving.as_mut().poll(context) {
            Poll::Ready(received) => Poll::Ready(Some(received)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    };
    let deliveries = eventually(SOON, "the update, at a single look", looked).await.expect("receive");
    assert_eq!(deliveries.len(), 1);
    settle(fixture, &deliveries).await;
    answer_of(submission).await;
}

/// A `receive` that was given up, before or after work came, loses nothing and takes nothing twice.
pub async fn receiving_can_be_given_up(fixture: &Fixture) {
    assert!(timeout(Duration::from_millis(20), fixture.source.receive(10, LINGER)).await.is_err(), "nothing there");
    let mut submissions = Vec::new();
    let mut received = Vec::new();
    for n in 0..40 {
        submissions.push(submit(fixture, &numbered(n), SOON));
        // Given up at every stage: while nothing is there, and while collecting more.
        let patience = Duration::from_micros(100 * n as u64);
        if let Ok(deliveries) = timeout(patience, fixture.source.receive(100, LINGER)).await {
            let deliveries = deliveries.expect("receive");
            settle(fixture, &deliveries).await;
            received.extend(deliveries.into_iter().flat_map(|d| d.updates));
        }
    }
    while received.len() < 40 {
        let deliveries = receive(fixture, 100).await;
        settle(fixture, &deliveries).await;
        received.extend(deliveries.into_iter().flat_map(|d| d.updates));
    }
    let different: HashSet<SubmissionId> = received.iter().map(|update| update.submission).collect();
    assert_eq!((received.len(), different.len()), (40, 40));
    for submission in submissions {
        answer_of(submission).await;
    }
}

/// Its answer goes nowhere; the next submitter gets its own.
pub async fn a_submitter_that_left_is_no_error(fixture: &Fixture) {
    let leaving = submit(fixture, &numbered(0), SOON);
    let deliveries = receive(fixture, 1).await;
    leaving.abort();
    assert!(leaving.await.expect_err("aborted").is_cancelled());
    settle(fixture, &deliveries).await;
    let next = numbered(1);
    let submission = submit(fixture, &next, SOON);
    settle(fixture, &receive(fixture, 1).await).await;
    assert_eq!(answer_of(submission).await, answer_to(&next));
}

/// A bad update is put aside alone; the one after it goes its way.
pub async fn an_update_put_aside_leaves_the_queue(fixture: &Fixture) {
    let (bad, good) = (numbered(0), numbered(1));
    let waiting = submit(fixture, &bad, SOON);
    let deliveries = receive(fixture, 1).await;
    fixture.source.dead_letter(&deliveries[0].updates[0], "it never succeeds").await.expect("dead_letter");
    fixture.source.acknowledge(&[deliveries[0].tag]).await.expect("acknowledge");
    waiting.abort();
    let submission = submit(fixture, &good, SOON);
    let deliveries = receive(fixture, 1).await;
    assert_eq!(deliveries[0].updates[..], *std::slice::from_ref(&good));
    settle(fixture, &deliveries).await;
    assert_eq!(answer_of(submission).await, answer_to(&good));
}

/// Each update is received once when it is settled, also across many portions and an empty settlement.
pub async fn acknowledged_work_does_not_come_again(fixture: &Fixture) {
    fixture.source.acknowledge(&[]).await.expect("settling nothing");
    let submissions: Vec<_> = (0..30).map(|n| submit(fixture, &numbered(n), Duration::from_millis(500))).collect();
    let received: HashSet<_> = receive_in_all(fixture, 30).await.into_iter().map(|u| u.submission).collect();
    assert_eq!(received.len(), 30);
    for submission in submissions {
        within(SOON, "a submission to end", submission).await.expect("a submitter").ok();
    }
    let more = timeout(Duration::from_millis(100), fixture.source.receive(10, LINGER)).await;
    assert!(more.is_err(), "came again: {more:?}");
}
