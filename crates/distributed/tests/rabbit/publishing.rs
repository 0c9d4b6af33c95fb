//! What the gateway's end sends, and when it says that it has.

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;

use common::ports::SubmitError;
use lapin::types::ShortString;
use testkit::contract::queue::Fixture;

use super::broker::{Look, Place, accept, accept_in_the_end, update};

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

/// Many returns at once, with several messages outstanding.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_messages_under_way_none_that_was_returned_counts_as_accepted() {
    let (place, look) = (Place::new(), Look::new().await);
    let rabbit = place.rabbit().await;
    let queue = Arc::new(rabbit.queue());
    for round in 0..5 {
        accept_in_the_end(&*queue, 0).await;
        look.delete(&place.updates()).await;
        // Spread over time, so that several messages are under way and not one.
        let submissions = (1..200).map(|n| 200 * round + n).map(|n| {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move {
                for _ in 0..n % 50 {
                    tokio::task::yield_now().await;
                }
                accept(&*queue, update(n)).await.is_ok().then(|| update(n).action_id)
            })
        });
        let outcomes = futures_util::future::join_all(submissions.collect::<Vec<_>>()).await;
        let accepted: Vec<_> = outcomes.into_iter().filter_map(Result::unwrap).collect();
        assert!(accepted.len() < 199, "none met the missing queue");

        // Those that came after the queue was declared again.
        let mut found = HashSet::new();
        for _ in 0..look.counts(&place.updates()).await.0 {
            let body = look.get(&place.updates()).await.delivery.data;
            found.extend(wire::decode_updates(&body).unwrap().updates.into_iter().map(|update| update.action_id));
        }
        let lost: Vec<_> = accepted.iter().filter(|action| !found.contains(action)).collect();
        assert!(lost.is_empty(), "accepted, and nowhere: {lost:?}");
    }
}
