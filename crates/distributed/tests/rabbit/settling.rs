//! What the worker's end holds, and what happens to it.

use std::sync::Arc;
use std::time::Duration;

use common::ports::{Delivery, Submitted, UpdateQueue as _, UpdateSource};
use common::receipt::{Answer, Outcome};
use distributed::rabbit::Rabbit;
use runtime::clock::SystemClock;
use testkit::proxy::Proxy;
use testkit::waiting::{SOON, within};

use super::broker::{Look, Place, RECOVERY, UPDATES_TYPE, before_the_broker, connected, drain, update};

/// A worker with a prefetch of 5 behind a proxy, and 20 messages.
async fn worker(proxy: &Proxy, look: &Look) -> (Place, Rabbit) {
    let place = Place::at(proxy.url());
    let rabbit = Rabbit::new(place.settings().with_prefetch(5), Arc::new(SystemClock));
    connected(&rabbit).await;
    for n in 0..20 {
        look.publish(&place.updates(), UPDATES_TYPE, &wire::encode_updates([&update(n)])).await;
    }
    look.ready(&place.updates(), 20).await;
    (place, rabbit)
}

async fn receive(source: &dyn UpdateSource, max: usize) -> Vec<Delivery> {
    within(RECOVERY, "work", source.receive(max, Duration::from_millis(50))).await.expect("receive")
}

#[tokio::test]
async fn prefetch_bounds_what_is_taken_also_after_a_reconnect() {
    let (proxy, look) = (before_the_broker().await, Look::new().await);
    let (place, rabbit) = worker(&proxy, &look).await;
    let source = rabbit.source();
    for _ in 0..3 {
        assert_eq!(receive(&source, 1).await.len(), 1);
        look.ready(&place.updates(), 15).await;
        assert_eq!(look.counts(&place.updates()).await, (15, 1), "ready messages and consumers");
        proxy.cut();
        look.ready(&place.updates(), 15).await;
    }
    drain(&source, 20).await;
    rabbit.close().await;
    look.ready(&place.updates(), 0).await;
}

#[tokio::test]
async fn what_is_unsettled_comes_again_and_old_tags_settle_nothing() {
    let (proxy, look) = (before_the_broker().await, Look::new().await);
    let (place, rabbit) = worker(&proxy, &look).await;
    let source = rabbit.source();
    let before = receive(&source, 5).await;
    assert_eq!(before.len(), 5);
    proxy.cut();
    // The same work, under tags of another generation.
    let mut again = Vec::new();
    while again.len() < 5 {
        again.extend(receive(&source, 5).await);
    }
    assert!(again.iter().all(|d| before.iter().all(|b| b.tag.generation < d.tag.generation)));
    let old: Vec<_> = before.iter().map(|d| d.tag).collect();
    source.acknowledge(&old).await.expect("tags that mean nothing are ignored");
    for delivery in &before {
        source.answer(delivery, vec![]).await.expect("answers to nobody are ignored");
    }
    rabbit.close().await;
    look.ready(&place.updates(), 20).await;
}

#[tokio::test]
async fn settling_out_of_order_settles_nothing_else() {
    let (proxy, look) = (before_the_broker().await, Look::new().await);
    let (place, rabbit) = worker(&proxy, &look).await;
    let source = rabbit.source();
    let held = receive(&source, 5).await;
    source.acknowledge(&[held[1].tag, held[3].tag, held[4].tag]).await.unwrap();
    source.acknowledge(&[held[1].tag]).await.expect("settled before");
    let more = receive(&source, 3).await;
    source.acknowledge(&[held[0].tag, more[0].tag]).await.unwrap();
    rabbit.close().await;
    // 20 less those five.
    look.ready(&place.updates(), 15).await;
}

/// Workers that die with work in hand, one after the other, more often than a queue's usual limit of deliveries.
#[tokio::test]
async fn work_that_comes_back_again_and_again_is_never_put_aside_for_it() {
    let (place, look) = (Place::new(), Look::new().await);
    place.rabbit().await.close().await;
    look.publish(&place.updates(), UPDATES_TYPE, &wire::encode_updates([&update(1)])).await;
    for _ in 0..25 {
        let rabbit = place.rabbit().await;
        assert_eq!(receive(&rabbit.source(), 1).await.len(), 1);
        rabbit.close().await;
    }
    look.ready(&place.updates(), 1).await;
    assert_eq!(look.counts(&place.dead()).await.0, 0);
}

#[tokio::test]
async fn a_source_that_is_dropped_gives_its_work_back() {
    let (proxy, look) = (before_the_broker().await, Look::new().await);
    let (place, rabbit) = worker(&proxy, &look).await;
    let source = rabbit.source();
    receive(&source, 5).await;
    drop(source);
    look.ready(&place.updates(), 20).await;
    let successor = rabbit.source();
    within(SOON, "another source to get it all", drain(&successor, 20)).await;
}

#[tokio::test]
async fn an_answer_to_a_gateway_that_is_gone_harms_nobody() {
    let place = Place::new();
    let (gone, worker, gateway) = (place.rabbit().await, place.rabbit().await, place.rabbit().await);
    super::broker::accept(&gone.queue(), update(1)).await.expect("accepted");
    gone.close().await;
    let source = Arc::new(worker.source());
    let settling = tokio::spawn({
        let source = Arc::clone(&source);
        async move {
            loop {
                for delivery in receive(&*source, 1).await {
                    let answers = delivery.updates.iter().map(|_| Answer { outcome: Outcome::KeyReused, rank: None });
                    source.answer(&delivery, answers.collect()).await.expect("answer");
                    source.acknowledge(&[delivery.tag]).await.expect("acknowledge");
                }
            }
        }
    });
    let queue = gateway.queue();
    for n in 2..5 {
        let submitted = within(RECOVERY, "an answer", queue.submit(update(n), SOON)).await;
        assert!(matches!(submitted, Ok(Submitted::Decided(_))), "{submitted:?}");
    }
    settling.abort();
}
