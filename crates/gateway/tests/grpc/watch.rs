//! A board watched by a trusted caller.

use std::time::Duration;

use tonic::{Code, Streaming};
use wire::v1::watch_event::Event;
use wire::v1::{SubmitBatchRequest, WatchEvent, WatchRequest};

use crate::support::{Node, Scores, submit, update};
use testkit::waiting::{SOON, within};

async fn watch(scores: &Scores, request: WatchRequest) -> Streaming<WatchEvent> {
    scores.clone().watch(request).await.unwrap().into_inner()
}

async fn next(events: &mut Streaming<WatchEvent>) -> WatchEvent {
    within(SOON, "an event", events.message()).await.unwrap().expect("the stream goes on")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_then_what_changes_then_a_goodbye() {
    let node = Node::start().await;
    let [ada, bob] = <[_; 2]>::try_from(node.players(2).await).unwrap();
    let mut scores = node.scores().await;
    submit(&mut scores, update(&ada, "1", 10)).await.unwrap();
    let mut events = watch(&scores, WatchRequest::default()).await;
    let first = next(&mut events).await;
    let Some(Event::Snapshot(_)) = &first.event else { panic!("{first:?}") };
    assert_eq!(first.board, "global");

    submit(&mut scores, update(&bob, "1", 20)).await.unwrap();
    let mut event = next(&mut events).await;
    if event.version < 2 {
        // The stream began before the view had the first.
        event = next(&mut events).await;
    }
    assert_eq!(event.version, 2);
    let Some(Event::Update(moved)) = event.event else { panic!("{event:?}") };
    assert_eq!((moved.user_id.as_str(), moved.new_score), (bob.user.to_string().as_str(), 20));
    let lines: Vec<_> = moved.leaderboard.iter().map(|line| (line.score, line.rank)).collect();
    assert_eq!(lines, [(20, 1), (10, 2)]);
    let one = moved.updates.last().unwrap();
    assert_eq!((one.username.as_str(), one.rank, one.previous_rank), (&*bob.username, Some(1), None));

    node.drain();
    let bye = next(&mut events).await;
    let Some(Event::Bye(bye)) = bye.event else { panic!("{bye:?}") };
    assert!(bye.reconnect_in_ms < 1_000);
    assert!(within(SOON, "the end", events.message()).await.unwrap().is_none(), "a clean end");
    node.stopped().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn since_tells_only_what_is_new() {
    let node = Node::start().await;
    let ada = node.players(1).await.remove(0);
    let mut scores = node.scores().await;
    let mut events = watch(&scores, WatchRequest::default()).await;
    let first = next(&mut events).await;
    submit(&mut scores, update(&ada, "1", 10)).await.unwrap();
    let head = next(&mut events).await;
    assert_eq!(head.version, 1);

    let since = |version| WatchRequest { since: format!("{}.{version}", head.epoch), ..WatchRequest::default() };
    let mut at_head = watch(&scores, since(1)).await;
    let mut behind = watch(&scores, since(0)).await;
    let mut elsewhere = watch(&scores, WatchRequest { since: "other.1".to_owned(), ..since(0) }).await;
    let mut malformed = watch(&scores, WatchRequest { since: "1".to_owned(), ..since(0) }).await;
    for events in [&mut behind, &mut elsewhere, &mut malformed] {
        let event = next(events).await;
        assert!(matches!(event.event, Some(Event::Snapshot(_))) && event.version == 1, "{event:?}");
    }
    submit(&mut scores, update(&ada, "2", 10)).await.unwrap();
    let event = next(&mut at_head).await;
    assert!(matches!(event.event, Some(Event::Update(_))) && event.version == 2, "nothing old: {event:?}");
    assert_eq!(first.version, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_the_newest_state_and_its_version_never_goes_back() {
    const ROUNDS: usize = 60;
    let node = Node::start().await;
    let players = node.players(100).await;
    let mut scores = node.scores().await;
    let mut events = watch(&scores, WatchRequest { limit: 100, ..WatchRequest::default() }).await;
    for round in 0..ROUNDS {
        let updates = players.iter().map(|player| update(player, &format!("r{round}"), 1)).collect();
        scores.submit_batch(SubmitBatchRequest { updates }).await.unwrap();
    }
    let head = node.version().await;
    assert_eq!(head, (ROUNDS * players.len()) as u64);
    let (mut seen, mut count) = (0, 0);
    while seen < head {
        let event = next(&mut events).await;
        assert!(event.version > seen || count == 0, "{} after {seen}", event.version);
        (seen, count) = (event.version, count + 1);
    }
    // Each is some 20 KiB: what was not read in time was never sent.
    assert!(count < ROUNDS, "{count} events");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_told_that_it_was_dropped() {
    let node = Node::start().await;
    let players = node.players(100).await;
    let mut scores = node.scores().await;
    let mut events = watch(&scores, WatchRequest { limit: 100, ..WatchRequest::default() }).await;
    for round in 0..40 {
        let updates = players.iter().map(|player| update(player, &format!("r{round}"), 1)).collect();
        scores.submit_batch(SubmitBatchRequest { updates }).await.unwrap();
    }
    // Nothing is read meanwhile: this is what the test is about.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let ended = loop {
        match within(SOON, "the end", events.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended as if all were well"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_are_bounded_and_give_their_place_back() {
    let node = Node::start().await;
    let scores = node.scores().await;
    let mut open = Vec::new();
    for _ in 0..100 {
        open.push(watch(&scores, WatchRequest::default()).await);
    }
    let refused = scores.clone().watch(WatchRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.metadata().get("scoreboard-limit").unwrap(), "caller-streams");
    open.clear();
    testkit::waiting::eventually(SOON, "a place", || {
        let mut scores = scores.clone();
        async move { scores.watch(WatchRequest::default()).await.is_ok() }
    })
    .await;
}
