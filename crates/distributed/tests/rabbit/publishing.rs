//! What the gateway's end sends, and when it says that it has.

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use common::ids::ActionId;
use common::ports::{SubmitError, UpdateQueue as _};
use distributed::rabbit::RabbitQueue;
use lapin::types::ShortString;
use testkit::contract::queue::Fixture;
use testkit::waiting::{eventually, within};

use super::broker::{Look, Place, RECOVERY, accept, accept_in_the_end, update};

async fn fixture() -> Fixture {
    let place = Place::new();
    let rabbit = place.rabbit().await;
    let (queue, source) = (Arc::new(rabbit.queue()), Arc::new(rabbit.source()));
    let guard: Box<dyn Any + Send + Sync> = Box::new((rabbit, place));
    Fixture { queue, source, durable: true, guard }
}

testkit::queue_contract!(fixture);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_that_wait_together_travel_together() {
    let (place, look) = (Place::new(), Look::new().await);
    let rabbit = place.rabbit().await;
    let queue = Arc::new(rabbit.queue());
    let submissions = (0..100).map(|n| {
        let queue = Arc::clone(&queue);
        tokio::spawn(async move { accept(&*queue, update(n)).await })
    });
    for submission in submissions.collect::<Vec<_>>() {
        submission.await.unwrap().expect("accepted");
    }
    let (messages, _) = look.counts(&place.updates()).await;
    assert!((1..=40).contains(&messages), "100 updates travelled in {messages} messages");
    let mut updates = 0;
    for _ in 0..messages {
        updates += wire::decode_updates(&look.get(&place.updates()).await.delivery.data).unwrap().updates.len();
    }
    assert_eq!(updates, 100);
}

#[tokio::test]
async fn a_message_says_what_it_is() {
    let (place, look) = (Place::new(), Look::new().await);
    let rabbit = place.rabbit().await;
    let sent = update(1);
    accept(&rabbit.queue(), sent.clone()).await.expect("accepted");
    let message = look.get(&place.updates()).await;
    let properties = &message.delivery.properties;
    let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string).unwrap_or_default();
    assert_eq!(text(properties.content_type()), "application/x-protobuf");
    assert_eq!(text(properties.kind()), "scoreboard.v1.ScoreUpdateBatch");
    assert_eq!(*properties.delivery_mode(), Some(2), "persistent");
    assert!(!text(properties.message_id()).is_empty());
    assert!(properties.timestamp().is_some());
    let headers = properties.headers().clone().unwrap();
    let header =
        |name: &str| headers.inner().get(name).and_then(|value| value.as_long_string()).map(ToString::to_string);
    assert_eq!(header("traceparent"), Some(sent.trace.traceparent.clone()));
    assert_eq!(header("tracestate"), Some(sent.trace.tracestate.clone()));
    assert_eq!(wire::decode_updates(&message.delivery.data).unwrap().updates, [sent]);
}

#[tokio::test]
async fn a_message_that_no_queue_takes_is_not_accepted() {
    let (place, look) = (Place::new(), Look::new().await);
    let rabbit = place.rabbit().await;
    let queue = rabbit.queue();
    accept(&queue, update(0)).await.expect("accepted");
    look.delete(&place.updates()).await;
    let refused = accept(&queue, update(1)).await.expect_err("there is no queue");
    assert!(matches!(refused, SubmitError::Unavailable(_)), "{refused:?}");
    // The queue comes back by itself, and what was refused is not in it.
    accept_in_the_end(&queue, 2).await;
    let found = wire::decode_updates(&look.get(&place.updates()).await.delivery.data).unwrap().updates;
    assert_eq!(found.iter().map(|update| update.action_id.as_str()).collect::<Vec<_>>(), ["action-2"]);
}

/// The driver hands a returned message to any confirm; see `confirm_window`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_messages_under_way_none_that_was_returned_counts_as_accepted() {
    let (place, look) = (Place::new(), Look::new().await);
    let rabbit = place.rabbit().await;
    let queue = Arc::new(rabbit.queue());
    accept(&*queue, update(0)).await.expect("accepted");
    let submitter = tokio::spawn(rounds(queue));
    eventually(RECOVERY, "some messages", async || look.counts(&place.updates()).await.0 > 5).await;
    look.delete(&place.updates()).await;
    let rounds = within(RECOVERY, "rounds that are taken again", submitter).await.unwrap();

    let mut found = HashSet::new();
    for _ in 0..look.counts(&place.updates()).await.0 {
        let body = look.get(&place.updates()).await.delivery.data;
        found.extend(wire::decode_updates(&body).unwrap().updates.into_iter().map(|update| update.action_id));
    }
    // What was accepted before the queue went, went with it. A round is over before the next one starts, so what was
    // accepted after the first refused round was accepted by the new queue.
    let first_refused = rounds.iter().position(|taken| taken.len() < ROUND).expect("a round met the missing queue");
    for action in rounds[first_refused + 1..].iter().flatten() {
        assert!(found.contains(action), "{action} was accepted, and is nowhere");
    }
}

/// Submissions at a time.
const ROUND: usize = 20;

/// Submits round after round until the queue went and ten rounds were taken whole again; who was accepted, by round.
async fn rounds(queue: Arc<RabbitQueue>) -> Vec<Vec<ActionId>> {
    let (mut rounds, mut whole_since_refusal) = (Vec::new(), None);
    while whole_since_refusal < Some(10) {
        let first = 1 + rounds.len() * ROUND;
        // Spread over time, so that many messages are under way and not one.
        let submissions = (first..first + ROUND).map(|n| {
            let queue = Arc::clone(&queue);
            async move {
                for _ in 0..n % ROUND {
                    tokio::task::yield_now().await;
                }
                queue.submit(update(n), Duration::ZERO).await.is_ok().then(|| update(n).action_id)
            }
        });
        let submissions: Vec<_> = submissions.map(tokio::spawn).collect();
        let outcomes = futures_util::future::join_all(submissions).await;
        let taken: Vec<_> = outcomes.into_iter().filter_map(Result::unwrap).collect();
        whole_since_refusal = match whole_since_refusal {
            Some(whole) if taken.len() == ROUND => Some(whole + 1),
            None if taken.len() == ROUND => None,
            _ => Some(0),
        };
        rounds.push(taken);
    }
    rounds
}
