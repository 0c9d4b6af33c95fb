//! Events in both directions: a durable fanout exchange, and one short-lived queue per process that listens.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use common::ports::{Event, EventBus, EventStream, QueueError, Signal};
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use tokio::sync::{broadcast, watch};

use super::Core;
use super::confirm_window::Outgoing;
use super::connection::{RabbitConnection, Session};
use super::error::RabbitError;
use super::message::{self, EVENT_TYPE, Lasting};
use super::metrics::Metrics;
use super::publisher::Publisher;
use super::topology::{self, EVENTS, Names};

/// Events that a subscriber may be behind; one further, and it hears of a gap instead.
const MAX_BEHIND: usize = 4_096;

/// Events that the broker hands out ahead. They are taken at once, so this bounds the driver's buffer only.
const PREFETCH: u16 = 1_000;

/// Tells every node, and listens.
///
/// All subscriptions of a process share one queue of the broker's: an event is received and decoded once.
pub struct RabbitBus {
    publisher: Publisher,
    listening: OnceLock<Hub>,
    core: Arc<Core>,
}

/// What subscriptions hang on.
struct Hub {
    events: broadcast::WeakSender<Event>,
    binding: watch::Receiver<Binding>,
}

/// Whether the queue is bound, and how often events may have been missed so far.
#[derive(Clone, Copy, Default)]
struct Binding {
    bound: bool,
    gaps: u64,
}

impl RabbitBus {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { publisher: core.publisher(), listening: OnceLock::new(), core }
    }
}

#[async_trait]
impl EventBus for RabbitBus {
    async fn publish(&self, event: Event) -> Result<(), QueueError> {
        let outgoing = Outgoing {
            exchange: self.core.names.events.clone(),
            routing_key: ShortString::default(),
            // Nobody may be listening.
            mandatory: false,
            body: wire::encode_event(&event),
            properties: message::properties(EVENT_TYPE, Lasting::Transient, self.core.clock.now()),
        };
        let patience = self.core.settings.confirm_timeout;
        self.publisher.publish(outgoing, patience).await.map_err(|error| error.at(EVENTS, "take an event"))
    }

    fn subscribe(&self) -> Box<dyn EventStream> {
        let hub = self.listening.get_or_init(|| Listener::start(&self.core));
        let events = hub.events.upgrade().map(|sender| sender.subscribe());
        Box::new(Subscription { events, binding: hub.binding.clone(), gaps_told: 0 })
    }
}

/// One subscription.
struct Subscription {
    /// `None`: the bus is closed.
    events: Option<broadcast::Receiver<Event>>,
    binding: watch::Receiver<Binding>,
    gaps_told: u64,
}

#[async_trait]
impl EventStream for Subscription {
    async fn next(&mut self) -> Option<Signal> {
        let events = self.events.as_mut()?;
        loop {
            let binding = *self.binding.borrow_and_update();
            if binding.bound && binding.gaps > self.gaps_told {
                self.gaps_told = binding.gaps;
                return Some(Signal::Gap);
            }
            tokio::select! {
                // First: the gap is announced before the first event behind it.
                biased;
                changed = self.binding.changed() => changed.ok()?,
                event = events.recv() => return match event {
                    Ok(event) => Some(Signal::Event(event)),
                    Err(broadcast::error::RecvError::Lagged(_)) => Some(Signal::Gap),
                    Err(broadcast::error::RecvError::Closed) => None,
                },
            }
        }
    }
}

/// The listening task.
struct Listener {
    names: Names,
    metrics: Arc<Metrics>,
    events: broadcast::Sender<Event>,
    binding: watch::Sender<Binding>,
}

impl Listener {
    fn start(core: &Core) -> Hub {
        let events = broadcast::Sender::new(MAX_BEHIND);
        let (sender, binding) = watch::channel(Binding::default());
        // The task alone keeps the channel open, so that subscriptions end with it.
        let hub = Hub { events: events.downgrade(), binding };
        let listener = Self { names: core.names.clone(), metrics: Arc::clone(&core.metrics), events, binding: sender };
        let (connection, stop) = (core.consuming(), core.stop.clone());
        core.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = listener.run(connection) => {}
            }
        });
        hub
    }

    async fn run(self, connection: Arc<RabbitConnection>) {
        let mut generation = 0;
        while let Some(session) = connection.session_after(generation).await {
            generation = session.generation();
            let listened = self.listen(&session).await;
            self.binding.send_modify(|binding| binding.bound = false);
            if let Err(error) = listened {
                session.fail(&error);
            }
        }
    }

    /// Listens over one session, to its end.
    async fn listen(&self, session: &Session) -> Result<(), RabbitError> {
        let channel = session.channel().await?;
        let queue = topology::declare_subscription(&channel, &self.names).await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
        let mut arriving = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
        self.gap("bound");
        loop {
            let first = tokio::select! {
                () = session.ended() => return Err(RabbitError::lost()),
                first = arriving.next() => first,
            };
            let mut newest = self.tell(first.ok_or(RabbitError::ConsumerEnded)??);
            // One acknowledgement for all that is there, but not later than the broker needs to send on.
            for _ in 0..PREFETCH / 2 {
                let Some(more) = arriving.next().now_or_never() else { break };
                newest = self.tell(more.ok_or(RabbitError::ConsumerEnded)??);
            }
            channel.basic_ack(newest, BasicAckOptions { multiple: true }).await?;
        }
    }

    /// Passes an event on; gives its tag.
    fn tell(&self, arrived: lapin::message::Delivery) -> u64 {
        match wire::decode_event(&arrived.data) {
            Ok(event) => {
                // An error says that nobody listens at the moment.
                let _ = self.events.send(event);
            }
            Err(error) => {
                tracing::warn!(error = %error, "an event is damaged; looking at the truth instead");
                self.gap("damaged");
            }
        }
        arrived.delivery_tag
    }

    fn gap(&self, why: &'static str) {
        self.metrics.gap(why);
        self.binding.send_modify(|binding| {
            binding.bound = true;
            binding.gaps += 1;
        });
    }
}
