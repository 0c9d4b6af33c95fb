//! A bus that repeats, drops, delays and reorders events, and what sockets show all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use common::ports::{Event, EventBus, EventStream, QueueError, Signal};
use realtime_fanout::FanoutSettings;
use testkit::fixtures::session_id;
use testkit::waiting::within;
use tokio::time::{Instant, sleep_until};

use crate::event_source::EventSource;
use crate::node::Node;
use crate::screen::Screen;
use crate::watcher::Watcher;

/// Behind for longer than this, nobody may stay.
const BEHIND: Duration = Duration::from_secs(1);

pub(crate) struct FaultyBus {
    pub(crate) inner: Arc<dyn EventBus>,
    /// Off: every event comes once, in order.
    pub(crate) faulty: Arc<AtomicBool>,
}

struct FaultyStream {
    inner: Box<dyn EventStream>,
    faulty: Arc<AtomicBool>,
    late: Vec<(Instant, Event)>,
}

#[async_trait]
impl EventBus for FaultyBus {
    async fn publish(&self, event: Event) -> Result<(), QueueError> {
        self.inner.publish(event).await
    }

    fn subscribe(&self) -> Box<dyn EventStream> {
        Box::new(FaultyStream { inner: self.inner.subscribe(), faulty: Arc::clone(&self.faulty), late: Vec::new() })
    }
}

impl FaultyStream {
    fn delay(&mut self, event: Event) {
        let wait = Duration::from_millis(rand::random_range(0..150));
        self.late.push((Instant::now() + wait, event));
    }
}

#[async_trait]
impl EventStream for FaultyStream {
    async fn next(&mut self) -> Option<Signal> {
        loop {
            let due = self.late.iter().map(|(at, _)| *at).min();
            let signal = tokio::select! {
                signal = self.inner.next() => signal,
                () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {
                    let at = self.late.iter().position(|(at, _)| Some(*at) == due).unwrap();
                    return Some(Signal::Event(self.late.remove(at).1));
                }
            };
            match signal {
                Some(Signal::Event(event)) if self.faulty.load(Ordering::SeqCst) => match rand::random_range(0..10) {
                    0..2 => {}
                    2..4 => {
                        self.delay(event.clone());
                        return Some(Signal::Event(event));
                    }
                    4..7 => self.delay(event),
                    _ => return Some(Signal::Event(event)),
                },
                other => return other,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_repeated_dropped_late_and_reordered_move_no_socket_back_and_leave_none_behind() {
    let settings = FanoutSettings { tick: Duration::from_millis(5), ..FanoutSettings::default() };
    let node = Node::start_with(settings).await;
    node.faulty.store(true, Ordering::SeqCst);
    let token = node.door.token(&node.players[3], session_id(), node.now(), 600);
    let offer = format!("scoreboard.v1.delta, bearer.{token}");
    let url = node.url("&limit=20&curve=1");
    let mut sockets = [
        (Watcher::open(&node.url("&limit=20")).await, Screen::default()),
        (Watcher::open_delta(&node.url("&limit=20")).await, Screen::default()),
        (Watcher::try_open(&url, &[("sec-websocket-protocol", &offer)]).await.unwrap(), Screen::default()),
    ];
    let mut events = EventSource::open(&node.events_url("&limit=20"), &[]).await;
    let mut shown = Screen::default();
    for checkpoint in 0..6_usize {
        let mut head = 0;
        for round in 0..40 {
            head = node.score((checkpoint * 7 + round * 11) % 12, 5).await.version.0;
        }
        let all = async {
            for (watcher, screen) in &mut sockets {
                while screen.version < head {
                    let (event, data) = watcher.any_event().await;
                    screen.take(&event, &data);
                }
            }
            while shown.version < head {
                let (event, data) = events.event().await.expect("the stream goes on");
                shown.take(&event, &data);
            }
        };
        Box::pin(within(BEHIND, "all sockets to catch up", all)).await;
        let truth = node.top(20).await;
        sockets.iter().map(|(_, screen)| screen).chain([&shown]).for_each(|screen| screen.assert_shows(&truth));
    }
    assert!(sockets[1].1.deltas > 0, "{:?}", sockets[1].1);
    node.ended().await;
}
