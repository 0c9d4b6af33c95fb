//! What every [`EventBus`] must do. Events of others on the same bus are ignored, so a broker may be shared.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use common::account::Revocation;
use common::ids::BoardId;
use common::ports::{Event, EventBus, EventStream, Signal};
use common::score_update::TraceContext;

use crate::fixtures::{board_id, change, noon, row, seeded_user, session_id, tombstone};
use crate::waiting::{SOON, within};

/// The bus under test.
pub struct Fixture {
    /// Where events are published.
    pub publisher: Arc<dyn EventBus>,
    /// Where they are heard: another node's bus, or the same.
    pub listener: Arc<dyn EventBus>,
    /// More events than a subscription may hold for a subscriber that does not listen.
    pub more_than_is_held: usize,
    /// What they stand on, dropped with them.
    pub guard: Box<dyn Any + Send + Sync>,
}

/// A test of each case of the suite.
#[macro_export]
macro_rules! event_bus_contract {
    ($fixture:path) => {
        $crate::contract_tests!(
            event_bus as event_bus_contract,
            $fixture,
            [
                the_first_signal_is_a_gap,
                events_arrive_whole_and_in_order,
                every_subscriber_hears_everything,
                nobody_listening_is_no_error,
                a_listener_that_left_is_no_error,
                waiting_for_a_signal_can_be_given_up,
                a_slow_subscriber_hears_a_gap_and_goes_on,
            ]
        );
    };
}

/// A change of `board` that can be told from others by its version.
fn numbered(board: &BoardId, version: u64) -> Event {
    let change = change(board, version - 1, version, vec![row(seeded_user(0), 5, version)]);
    Event::BoardChanged { change: Arc::new(change), ranks: vec![Some(1)], traces: vec![] }
}

fn number_of(event: &Event, of: &BoardId) -> Option<u64> {
    match event {
        Event::BoardChanged { change, .. } if change.board == *of => Some(change.to.0),
        _ => None,
    }
}

async fn next(stream: &mut dyn EventStream) -> Signal {
    within(SOON, "a signal", stream.next()).await.expect("the bus lives")
}

/// A subscription that is in place.
async fn listening(fixture: &Fixture) -> Box<dyn EventStream> {
    let mut stream = fixture.listener.subscribe();
    assert_eq!(next(&mut *stream).await, Signal::Gap);
    stream
}

/// The next event that `wanted` picks; others and gaps are passed over.
async fn next_of<T>(stream: &mut dyn EventStream, wanted: impl Fn(&Event) -> Option<T>) -> T {
    loop {
        if let Signal::Event(event) = next(stream).await
            && let Some(found) = wanted(&event)
        {
            return found;
        }
    }
}

async fn publish(fixture: &Fixture, event: Event) {
    within(SOON, "the bus to take an event", fixture.publisher.publish(event)).await.expect("publish");
}

/// Who begins to listen may have missed something.
pub async fn the_first_signal_is_a_gap(fixture: &Fixture) {
    let mut streams = [fixture.listener.subscribe(), fixture.listener.subscribe()];
    for stream in &mut streams {
        assert_eq!(next(&mut **stream).await, Signal::Gap);
    }
}

/// Every kind of event, with all that it carries, in the order in which they were published.
pub async fn events_arrive_whole_and_in_order(fixture: &Fixture) {
    let (board, session) = (board_id(), session_id());
    let mut stream = listening(fixture).await;
    let rows = vec![row(seeded_user(1), -5, 2), tombstone(seeded_user(2), 3), row(seeded_user(0), 1 << 52, 5)];
    let trace = TraceContext { traceparent: "00-aa-bb-01".to_owned(), tracestate: "x=y".to_owned() };
    let whole = Event::BoardChanged {
        change: Arc::new(change(&board, 1, 5, rows)),
        ranks: vec![Some(2), None, Some(1)],
        traces: vec![trace],
    };
    let unranked = Event::BoardChanged {
        change: Arc::new(change(&board, 5, 6, vec![row(seeded_user(1), 7, 6)])),
        ranks: vec![],
        traces: vec![],
    };
    let revoked = Event::SessionRevoked(Revocation { session, revoked_at: noon() });
    let sent = [whole, revoked.clone(), unranked, numbered(&board, 7), numbered(&board, 8)];
    for event in &sent {
        publish(fixture, event.clone()).await;
    }
    for event in &sent {
        let ours = |heard: &Event| (number_of(heard, &board).is_some() || *heard == revoked).then(|| heard.clone());
        assert_eq!(next_of(&mut *stream, ours).await, *event);
    }
}

/// Two subscriptions, one of them younger: each hears all that came after its gap.
pub async fn every_subscriber_hears_everything(fixture: &Fixture) {
    let board = board_id();
    let mut elder = listening(fixture).await;
    for n in 1..=10 {
        publish(fixture, numbered(&board, n)).await;
    }
    let mut younger = listening(fixture).await;
    for n in 11..=20 {
        publish(fixture, numbered(&board, n)).await;
    }
    for n in 1..=20 {
        assert_eq!(next_of(&mut *elder, |e| number_of(e, &board)).await, n);
    }
    let mut heard = next_of(&mut *younger, |e| number_of(e, &board)).await;
    assert!(heard <= 11, "11 was published after the subscription was in place, heard {heard}");
    while heard < 20 {
        let following = next_of(&mut *younger, |e| number_of(e, &board)).await;
        assert_eq!(following, heard + 1);
        heard = following;
    }
}

/// An event that nobody hears is published all the same.
pub async fn nobody_listening_is_no_error(fixture: &Fixture) {
    publish(fixture, numbered(&board_id(), 1)).await;
}

/// A subscription that was dropped disturbs neither the publisher nor the others.
pub async fn a_listener_that_left_is_no_error(fixture: &Fixture) {
    let board = board_id();
    let (leaving, mut staying) = (listening(fixture).await, listening(fixture).await);
    drop(leaving);
    for n in 1..=3 {
        publish(fixture, numbered(&board, n)).await;
        assert_eq!(next_of(&mut *staying, |e| number_of(e, &board)).await, n);
    }
}

/// A wait that was given up loses nothing.
pub async fn waiting_for_a_signal_can_be_given_up(fixture: &Fixture) {
    let board = board_id();
    let mut stream = listening(fixture).await;
    let mut heard = Vec::new();
    for n in 1..=50 {
        publish(fixture, numbered(&board, n)).await;
        if let Ok(Some(Signal::Event(event))) = tokio::time::timeout(Duration::from_micros(50), stream.next()).await {
            heard.extend(number_of(&event, &board));
        }
    }
    while heard.last() != Some(&50) {
        heard.push(next_of(&mut *stream, |e| number_of(e, &board)).await);
    }
    assert!(heard.iter().copied().eq(1..=50), "{heard:?}");
}

/// Who does not listen loses events, hears so, and hears what comes later; the publisher never waits for it.
pub async fn a_slow_subscriber_hears_a_gap_and_goes_on(fixture: &Fixture) {
    let board = board_id();
    let mut stream = listening(fixture).await;
    let count = fixture.more_than_is_held as u64;
    for n in 1..=count {
        publish(fixture, numbered(&board, n)).await;
    }
    while next(&mut *stream).await != Signal::Gap {}
    // What was held may come yet; then the subscription is as live as before.
    for n in count + 1..=count + 20 {
        publish(fixture, numbered(&board, n)).await;
        while next_of(&mut *stream, |e| number_of(e, &board)).await != n {}
    }
}
