//! What cannot be read, or never succeeds, goes to the dead-letter queue, alone.

use std::collections::HashSet;
use std::time::Duration;

use common::ports::{DeadContent, DeadLetters as _, UpdateSource as _};
use prost::Message as _;
use testkit::waiting::{SOON, eventually, within};
use wire::v1;

use super::broker::{Look, Place, UPDATES_TYPE, drain, update};

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

#[tokio::test]
async fn a_dead_letter_queue_that_somebody_deleted_comes_back() {
    let (place, look) = (Place::new(), Look::new().await);
    let rabbit = place.rabbit().await;
    let source = rabbit.source();
    // Both connections are there: whichever comes declares everything.
    look.publish(&place.updates(), UPDATES_TYPE, &wire::encode_updates([&update(0)])).await;
    drain(&source, 1).await;
    look.delete(&place.dead()).await;
    source.dead_letter(&update(1), "no queue takes it").await.expect_err("it would be lost");
    let later = update(2);
    eventually(SOON, "the queue to be declared again", || source.dead_letter(&later, "again")).await;
    look.ready(&place.dead(), 1).await;
}

/// The `n`-th update with the ids of the one that was found (they are random).
fn update_like(dead: &lapin::message::BasicGetMessage, n: usize) -> common::score_update::ScoreUpdate {
    let found = wire::decode_updates(&dead.delivery.data).unwrap().updates.remove(0);
    common::score_update::ScoreUpdate { submission: found.submission, request_id: found.request_id, ..update(n) }
}

#[tokio::test]
async fn an_update_that_is_handed_back_comes_again_after_its_wait_and_counts_its_tries() {
    let (place, look) = (Place::new(), Look::new().await);
    let rabbit = place.rabbit().await;
    let source = rabbit.source();
    look.publish(&place.updates(), UPDATES_TYPE, &wire::encode_updates([&update(1), &update(2)])).await;
    let first = within(SOON, "work", source.receive(10, Duration::ZERO)).await.unwrap();
    let contested = first[0].updates[0].clone();
    assert!(source.retry_later(&contested, "a lost race").await.expect("retry_later"));
    source.acknowledge(&[first[0].tag]).await.unwrap();
    let handed_back = std::time::Instant::now();
    // A message behind it is not held up.
    look.publish(&place.updates(), UPDATES_TYPE, &wire::encode_updates([&update(3)])).await;
    let next = within(SOON, "the one behind", source.receive(10, Duration::ZERO)).await.unwrap();
    assert_eq!(next[0].updates[0].action_id.as_str(), "action-3");
    source.acknowledge(&[next[0].tag]).await.unwrap();
    let again = within(SOON, "the one that waited", source.receive(10, Duration::ZERO)).await.unwrap();
    assert!(handed_back.elapsed() >= Duration::from_millis(900), "{:?}", handed_back.elapsed());
    assert_eq!(again[0].updates, std::slice::from_ref(&contested));
    // Its next failure knows of the first one.
    source.dead_letter(&contested, "in vain").await.unwrap();
    source.acknowledge(&[again[0].tag]).await.unwrap();
    let letters = rabbit.dead_letters().list(10).await.expect("list");
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].attempts, letters[0].reason.as_str()), (2, "in vain"));
    assert!(letters[0].first_failed_at.is_some());
    rabbit.close().await;
    look.ready(&place.updates(), 0).await;
}

#[tokio::test]
async fn a_long_wait_holds_up_no_short_one_and_rounds_end() {
    let (place, look) = (Place::new(), Look::new().await);
    let rabbit = place.rabbit().await;
    let source = rabbit.source();
    let mut tried = Vec::new();
    for attempts in [2, 0, 10] {
        let headers = lapin::types::FieldTable::from(std::collections::BTreeMap::from([(
            "scoreboard-attempts".into(),
            lapin::types::AMQPValue::LongUInt(attempts),
        )]));
        let body = wire::encode_updates([&update(attempts as usize)]);
        look.publish_with(&place.updates(), UPDATES_TYPE, &body, headers).await;
        let delivery = within(SOON, "work", source.receive(10, Duration::ZERO)).await.unwrap();
        tried.push(source.retry_later(&delivery[0].updates[0], "again").await.expect("retry_later"));
        source.acknowledge(&[delivery[0].tag]).await.unwrap();
    }
    assert_eq!(tried, [true, true, false], "after ten tries a person must look");
    // Tried twice before: 30 s. Handed back earlier than the one that waits a second.
    let next = within(SOON, "the short wait", source.receive(10, Duration::ZERO)).await.unwrap();
    assert_eq!(next[0].updates[0].action_id.as_str(), "action-0");
    assert_eq!(look.counts(&format!("{}.retry.30000", place.updates())).await.0, 1);
}

#[tokio::test]
async fn the_operator_lists_shows_retries_and_drops_letters() {
    let (place, look) = (Place::new(), Look::new().await);
    let rabbit = place.rabbit().await;
    let (source, letters) = (rabbit.source(), rabbit.dead_letters());
    for n in 0..3 {
        source.dead_letter(&update(n), &format!("reason {n}")).await.unwrap();
    }
    look.publish(&place.updates(), UPDATES_TYPE, b"no protobuf at all").await;
    look.ready(&place.dead(), 4).await;
    let listed = letters.list(10).await.expect("list");
    assert_eq!(listed.len(), 4);
    assert_eq!(listed[0].traceparent, update(0).trace.traceparent);
    assert_eq!(letters.list(2).await.expect("list")[..], listed[..2], "a look changes nothing");
    assert_eq!(letters.find(&listed[1].id).await.expect("find").as_ref(), Some(&listed[1]));
    assert_eq!(letters.find("nobody").await.expect("find"), None);
    assert!(matches!(&listed[3].content, DeadContent::Damaged { body, .. } if body == b"no protobuf at all"));

    let DeadContent::Update(dead) = &listed[1].content else { panic!("an update") };
    let named = |n: usize| vec![listed[n].id.clone()];
    assert_eq!(letters.retry(&named(1)).await.expect("retry"), named(1));
    let again = within(SOON, "the letter", source.receive(10, Duration::ZERO)).await.unwrap();
    let update = &again[0].updates[0];
    assert_ne!(update.submission, dead.submission, "a new acceptance: the refusal of the old one is on record");
    assert_eq!(update.action_id, dead.action_id);
    assert_eq!(letters.discard(&named(3)).await.expect("discard"), named(3));
    assert!(letters.discard(&named(3)).await.expect("discard").is_empty(), "it is gone");
    look.ready(&place.dead(), 2).await;
    // What a pass gives back may come in another order.
    let rest: HashSet<_> = letters.list(10).await.expect("list").into_iter().map(|letter| letter.id).collect();
    assert_eq!(rest, HashSet::from([listed[0].id.clone(), listed[2].id.clone()]));
}

/// What is set aside a second time, because the confirm of the first came too late, is the same letter.
#[tokio::test]
async fn a_letter_that_was_set_aside_twice_is_listed_retried_and_dropped_as_one() {
    let (place, look) = (Place::new(), Look::new().await);
    let rabbit = place.rabbit().await;
    let (source, letters) = (rabbit.source(), rabbit.dead_letters());
    let updates = [0, 1].map(update);
    for update in &updates {
        for _ in 0..2 {
            source.dead_letter(update, "it never succeeds").await.unwrap();
        }
    }
    look.ready(&place.dead(), 4).await;
    let ids: Vec<_> = letters.list(10).await.expect("list").into_iter().map(|letter| letter.id).collect();
    assert_eq!(ids, updates.map(|update| update.submission.0.to_string()));

    assert_eq!(letters.retry(&ids[..1]).await.expect("retry"), ids[..1]);
    look.ready(&place.dead(), 2).await;
    let again = drain(&source, 1).await;
    assert_eq!(again[0].action_id.as_str(), "action-0");
    look.ready(&place.updates(), 0).await;

    assert_eq!(letters.discard(&ids[1..]).await.expect("discard"), ids[1..]);
    look.ready(&place.dead(), 0).await;
    rabbit.close().await;
    look.ready(&place.updates(), 0).await;
}
