//! Events in both directions.

use std::any::Any;
use std::sync::Arc;

use common::account::Revocation;
use common::ports::{Event, EventBus as _, EventStream, Signal};
use testkit::contract::event_bus::Fixture;
use testkit::fixtures::{noon, session_id};
use testkit::waiting::{eventually, within};

use super::broker::{Place, RECOVERY, before_the_broker};

/// Two processes: one publishes, one listens.
async fn fixture() -> Fixture {
    let place = Place::new();
    let (publishing, listening) = (place.rabbit().await, place.rabbit().await);
    let (publisher, listener) = (Arc::new(publishing.bus()), Arc::new(listening.bus()));
    let guard: Box<dyn Any + Send + Sync> = Box::new((publishing, listening, place));
    Fixture { publisher, listener, more_than_is_held: 5_000, guard }
}

testkit::event_bus_contract!(fixture);

fn event() -> Event {
    Event::SessionRevoked(Revocation { session: session_id(), revoked_at: noon() })
}

async fn next(stream: &mut dyn EventStream) -> Signal {
    within(RECOVERY, "a signal", stream.next()).await.expect("the bus lives")
}

#[tokio::test]
async fn a_listener_whose_connection_broke_hears_a_gap_and_goes_on() {
    let proxy = before_the_broker().await;
    let place = Place::new();
    let speaker = place.rabbit().await.bus();
    let listener = Place { url: proxy.url(), prefix: place.prefix.clone() };
    let bus = listener.rabbit().await.bus();
    let mut stream = bus.subscribe();
    assert_eq!(next(&mut *stream).await, Signal::Gap);
    for _ in 0..3 {
        let heard = event();
        eventually(RECOVERY, "the bus to take an event", || speaker.publish(heard.clone())).await;
        assert_eq!(next(&mut *stream).await, Signal::Event(heard));
        proxy.cut();
        assert_eq!(next(&mut *stream).await, Signal::Gap);
    }
}

#[tokio::test]
async fn a_closed_bus_ends_its_subscriptions() {
    let place = Place::new();
    let rabbit = place.rabbit().await;
    let bus = rabbit.bus();
    let mut stream = bus.subscribe();
    assert_eq!(next(&mut *stream).await, Signal::Gap);
    rabbit.close().await;
    assert_eq!(within(RECOVERY, "the end", stream.next()).await, None);
    assert_eq!(within(RECOVERY, "the end", bus.subscribe().next()).await, None);
    assert!(bus.publish(event()).await.is_err());
}
