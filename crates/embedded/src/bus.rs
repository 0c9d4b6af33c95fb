//! Events within one process.

use async_trait::async_trait;
use common::ports::{Event, EventBus, EventStream, QueueError, Signal};
use tokio::sync::broadcast::{self, error::RecvError};

/// How many events a subscriber may fall behind before it hears of a gap instead.
const EVENTS_HELD: usize = 1024;

/// Tells every subscriber in the process. Streams end when the bus is dropped.
pub struct MemoryBus {
    events: broadcast::Sender<Event>,
}

impl MemoryBus {
    /// A bus without subscribers.
    #[must_use]
    pub fn new() -> Self {
        Self { events: broadcast::Sender::new(EVENTS_HELD) }
    }
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl EventBus for MemoryBus {
    async fn publish(&self, event: Event) -> Result<(), QueueError> {
        // An error only says that nobody listens at the moment.
        let _ = self.events.send(event);
        Ok(())
    }

    fn subscribe(&self) -> Box<dyn EventStream> {
        Box::new(MemoryStream { events: self.events.subscribe(), begun: false })
    }
}

struct MemoryStream {
    events: broadcast::Receiver<Event>,
    begun: bool,
}

#[async_trait]
impl EventStream for MemoryStream {
    async fn next(&mut self) -> Option<Signal> {
        if !self.begun {
            self.begun = true;
            return Some(Signal::Gap);
        }
        match self.events.recv().await {
            Ok(event) => Some(Signal::Event(event)),
            Err(RecvError::Lagged(_)) => Some(Signal::Gap),
            Err(RecvError::Closed) => None,
        }
    }
}
