//! What happened, told to every node. Events may be lost, repeated and reordered: versions make that harmless,
//! and [`Signal::Gap`] says when to look at the truth.

use std::sync::Arc;

use async_trait::async_trait;

use super::QueueError;
use crate::account::Revocation;
use crate::score_update::TraceContext;
use crate::standing::BoardChange;

/// Something that every node may want to know.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A board moved.
    BoardChanged {
        /// How.
        change: Arc<BoardChange>,
        /// The positions of the change's users when it was projected, in the order of its rows; empty when
        /// no projection could say in time.
        ranks: Vec<Option<u64>>,
        /// The traces of the updates that did it.
        traces: Vec<TraceContext>,
    },
    /// A session was ended; its tokens are refused from now on.
    SessionRevoked(Revocation),
}

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Signal {
    /// An event.
    Event(Event),
    /// Some may have been missed: compare with the truth. Also the first signal of every subscription.
    Gap,
}

/// Events in both directions.
#[async_trait]
pub trait EventBus: Send + Sync {
    /// Tells every node; returns when the broker has taken it.
    async fn publish(&self, event: Event) -> Result<(), QueueError>;

    /// Listens from now on. The first signal is [`Signal::Gap`], given when the subscription is in place.
    fn subscribe(&self) -> Box<dyn EventStream>;
}

/// A subscription; dropping it ends it. Bounded: a subscriber that is too slow hears [`Signal::Gap`].
#[async_trait]
pub trait EventStream: Send {
    /// The next signal. Never ends while the bus lives: a lost connection is rebuilt and heard of as a gap.
    /// `None` when the bus is closed. Cancel-safe.
    async fn next(&mut self) -> Option<Signal>;
}
