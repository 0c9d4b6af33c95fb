//! The queue of updates and the bus of events on RabbitMQ.
//!
//! [`Rabbit`] owns two connections: one publishes (updates, answers, events, dead letters; the consumer of direct
//! replies lives on the publisher's channel, as the broker asks), the other consumes. A broker that runs out of memory
//! or disk stops reading from connections that publish: acknowledgements must not be stuck behind that.
//!
//! - `connection`: a supervised connection, rebuilt as a whole when anything ends it
//! - `topology`: queues and exchanges
//! - `confirm_window`, `publisher`: publishing with many confirms outstanding
//! - `queue`: [`RabbitQueue`], the gateway's end; `consumer`, `deliveries`, `source`: [`RabbitSource`], the worker's
//! - `backpressure`: waiting less, and taking no more, when the worker does not keep up
//! - `dead_letter`: what a person must look at, and what waits to be tried again; `dead_letter_office`:
//!   [`RabbitDeadLetters`], the operator's look at it
//! - `bus`: [`RabbitBus`]; `dependency`: [`RabbitDependency`]

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::clock::Clock;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod backpressure;
mod bus;
mod confirm_window;
mod connection;
mod consumer;
mod dead_letter;
mod dead_letter_office;
mod deliveries;
mod dependency;
mod error;
mod message;
mod metrics;
mod publisher;
mod queue;
mod settings;
mod source;
mod topology;

pub use backpressure::RabbitQueueDepth;
pub use bus::RabbitBus;
pub use dead_letter_office::RabbitDeadLetters;
pub use dependency::RabbitDependency;
pub use queue::RabbitQueue;
pub use settings::{RabbitSettings, RabbitUrlError};
pub use source::RabbitSource;

use backpressure::Depth;
use connection::RabbitConnection;
use dead_letter::DeadLetters;
use metrics::Metrics;
use publisher::Publisher;
use topology::Names;

/// How long the tasks may take to end; each only says goodbye to the broker.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// A process's connections to the broker, made when they are first needed and rebuilt when they end: services start
/// without their broker. Must be used inside a tokio runtime.
///
/// They live as long as this or anything that was made from it.
pub struct Rabbit {
    core: Arc<Core>,
}

/// What everything here shares. No task holds it, so that the tasks end when its last user is gone.
struct Core {
    settings: RabbitSettings,
    names: Names,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    stop: CancellationToken,
    publishing: OnceLock<Arc<RabbitConnection>>,
    consuming: OnceLock<Arc<RabbitConnection>>,
    depth: Arc<Depth>,
}

impl Rabbit {
    /// Connects when it is first needed.
    #[must_use]
    pub fn new(settings: RabbitSettings, clock: Arc<dyn Clock>) -> Self {
        let core = Core {
            depth: Arc::new(Depth::new(settings.max_queued)),
            names: Names::new(&settings.name_prefix),
            settings,
            clock,
            metrics: Arc::new(Metrics::new()),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            publishing: OnceLock::new(),
            consuming: OnceLock::new(),
        };
        Self { core: Arc::new(core) }
    }

    /// The gateway's end of the queue.
    #[must_use]
    pub fn queue(&self) -> RabbitQueue {
        RabbitQueue::start(Arc::clone(&self.core))
    }

    /// The worker's end of the queue: a consumer of its own.
    #[must_use]
    pub fn source(&self) -> RabbitSource {
        RabbitSource::start(Arc::clone(&self.core))
    }

    /// Events in both directions. Listens from the first subscription on.
    #[must_use]
    pub fn bus(&self) -> RabbitBus {
        RabbitBus::new(Arc::clone(&self.core))
    }

    /// The dead letters, for the operator.
    #[must_use]
    pub fn dead_letters(&self) -> RabbitDeadLetters {
        RabbitDeadLetters::new(Arc::clone(&self.core))
    }

    /// The broker as readiness sees it.
    #[must_use]
    pub fn dependency(&self) -> RabbitDependency {
        RabbitDependency::new(Arc::clone(&self.core))
    }

    /// The length of the queue of updates as readiness sees it, where [`Self::queue`] is in use.
    #[must_use]
    pub fn queue_depth(&self) -> RabbitQueueDepth {
        RabbitQueueDepth::new(Arc::clone(&self.core.depth))
    }

    /// Ends everything: what is unsettled goes back to the queue, what is unconfirmed fails. Call it when the services
    /// have drained. At most 3 s.
    pub async fn close(&self) {
        self.core.stop.cancel();
        self.core.tasks.close();
        if timeout(CLOSE_TIMEOUT, self.core.tasks.wait()).await.is_err() {
            tracing::warn!("RabbitMQ did not say goodbye in time");
        }
    }
}

impl Core {
    fn publishing(&self) -> Arc<RabbitConnection> {
        Arc::clone(self.publishing.get_or_init(|| self.connect("publishing")))
    }

    fn consuming(&self) -> Arc<RabbitConnection> {
        Arc::clone(self.consuming.get_or_init(|| self.connect("consuming")))
    }

    fn connect(&self, role: &'static str) -> Arc<RabbitConnection> {
        let metrics = Arc::clone(&self.metrics);
        Arc::new(RabbitConnection::start(&self.settings, role, metrics, &self.tasks, self.stop.clone()))
    }

    /// A publisher with a channel of its own.
    fn publisher(&self) -> Publisher {
        Publisher::start(self.publishing(), &self.tasks, self.stop.clone())
    }

    fn dead_letters(&self) -> DeadLetters {
        DeadLetters {
            publisher: self.publisher(),
            queue: self.names.dead.clone(),
            retry: self.names.retry.clone(),
            clock: Arc::clone(&self.clock),
            patience: self.settings.confirm_timeout,
            metrics: Arc::clone(&self.metrics),
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
