//! What cannot be read, or never succeeds, goes to the dead-letter queue, alone.

use std::time::Duration;

use common::ports::UpdateSource as _;
use prost::Message as _;
use testkit::waiting::{SOON, within};
use wire::v1;

use super::broker::{Look, Place, drain, update};

const UPDATES_TYPE: &str = "scoreboard.v1.ScoreUpdateBatch";

fn header(message: &lapin::message::BasicGetMessage, name: &str) -> String {
    let headers = message.delivery.properties.headers().clone().unwrap_or_default();
    let value = headers.inner().get(name).and_then(|value| value.as_long_string()).map(ToString::to_string);
    value.unwrap_or_else(|| panic!("no header {name}: {headers:?}"))
}

#[tokio::test]
async fn damaged_messages_are_set_aside_while_good_ones_go_on() {
    let (place, look) = (Place::new(), Look::new().await);
    let rabbit = place.rabbit().await;
    let queue = place.updates();
    let good = |n| wire::encode_updates([&update(n)]);
    let elses = good(90);
    look.publish(&queue, UPDATES_TYPE, &good(0)).await;
    look.publish(&queue, UPDATES_TYPE, b"no protobuf at all").await;
    look.publish(&queue, UPDATES_TYPE, &good(1)).await;
    look.publish(&queue, "somebody.elses", &elses).await;
    look.publish(&queue, UPDATES_TYPE, b"").await;
    look.publish(&queue, UPDATES_TYPE, &good(2)).await;

    let source = rabbit.source();
    let mut received: Vec<_> = drain(&source, 3).await.into_iter().map(|update| update.action_id.to_string()).collect();
    received.sort();
    assert_eq!(received, ["action-0", "action-1", "action-2"]);

    look.ready(&place.dead(), 3).await;
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let dead = look.get(&place.dead()).await;
        assert!(!header(&dead, "scoreboard-reason").is_empty());
        assert!(common::clock::Timestamp::parse_rfc3339(&header(&dead, "scoreboard-first-failed-at")).is_ok());
        assert_eq!(*dead.delivery.properties.delivery_mode(), Some(2), "persistent");
        bodies.push(dead.delivery.data);
    }
    assert!(bodies.contains(&b"no protobuf at all".to_vec()) && bodies.contains(&elses) && bodies.contains(&vec![]));
    // Settled: nothing comes again when the consumer goes.
    rabbit.close().await;
    look.ready(&queue, 0).await;
}

#[tokio::test]
async fn a_damaged_update_does_not_take_its_neighbours_with_it() {
    let (place, look) = (Place::new(), Look::new().await);
    let rabbit = place.rabbit().await;
    let mut bad = v1::ScoreUpdate::from(&update(1));
    bad.board = "No Such Name".to_owned();
    let batch = v1::ScoreUpdateBatch { updates: vec![(&update(0)).into(), bad.clone(), (&update(2)).into()] };
    look.publish(&place.updates(), UPDATES_TYPE, &batch.encode_to_vec()).await;

    let source = rabbit.source();
    let received = within(SOON, "work", source.receive(10, Duration::ZERO)).await.unwrap();
    assert_eq!(
        received.iter().flat_map(|d| &d.updates).map(|u| u.action_id.as_str()).collect::<Vec<_>>(),
        ["action-0", "action-2"]
    );
    // Before the good ones are handed out, the bad one is safe.
    let dead = look.get(&place.dead()).await;
    assert_eq!(v1::ScoreUpdateBatch::decode(&*dead.delivery.data).unwrap().updates, [bad]);
    assert!(header(&dead, "scoreboard-reason").contains("board"));
    source.acknowledge(&[received[0].tag]).await.unwrap();
    rabbit.close().await;
    look.ready(&place.updates(), 0).await;
}

#[tokio::test]
async fn an_update_that_is_put_aside_is_found_with_its_reason() {
    let (place, look) = (Place::new(), Look::new().await);
    let rabbit = place.rabbit().await;
    let source = rabbit.source();
    source.dead_letter(&update(7), "it never succeeds").await.expect("dead_letter");
    let dead = look.get(&place.dead()).await;
    assert_eq!(wire::decode_updates(&dead.delivery.data).unwrap().updates, [update_like(&dead, 7)]);
    assert_eq!(header(&dead, "scoreboard-reason"), "it never succeeds");
    assert_eq!(header(&dead, "traceparent"), update(7).trace.traceparent);
    assert_eq!(dead.delivery.properties.kind().as_ref().map(|kind| kind.as_str()), Some(UPDATES_TYPE));
}

/// The `n`-th update with the ids of the one that was found (they are random).
fn update_like(dead: &lapin::message::BasicGetMessage, n: usize) -> common::score_update::ScoreUpdate {
    let found = wire::decode_updates(&dead.delivery.data).unwrap().updates.remove(0);
    common::score_update::ScoreUpdate { submission: found.submission, request_id: found.request_id, ..update(n) }
}
