//! Queues and exchanges. Declared at every connect, so that a broker which lost them gets them back.
//!
//! Updates and dead letters are published to the default exchange with the queue's name: its bindings cannot be lost
//! or wrong, and a queue that is missing is seen by `mandatory`. Arguments of a queue cannot be changed once it
//! exists, so only what must hold is an argument; bounds on length are an operator's policy (`max-length` with the
//! overflow that is set here refuses publishers, who answer 503).

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};

use super::connection::Session;
use super::error::RabbitError;

pub(super) const UPDATES: &str = "score.updates";
pub(super) const DEAD: &str = "score.updates.dead";
/// What errors call the queues before the dead one.
pub(super) const RETRY: &str = "score.updates.retry";
pub(super) const EVENTS: &str = "scoreboard.events";

/// Whole requeues count as deliveries, so a worker that restarts often must not dead-letter good work; the worker
/// finds and sets aside bad updates itself long before.
const DELIVERY_LIMIT: i32 = 1_000;

/// A subscriber that is this far behind has to look at the truth anyway.
const MAX_EVENTS_WAITING: i32 = 10_000;

/// Milliseconds. As above.
const EVENT_TTL_MS: i32 = 60_000;

/// How long an update waits before it is tried again, milliseconds, by how often it was tried; the last for all after.
/// One queue for each, because a queue lets go of its oldest message only: a long wait must not hold up a short one.
pub(super) const RETRY_WAITS_MS: [u32; 4] = [1_000, 5_000, 30_000, 120_000];

/// The names of everything, with the prefix.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// The queue of updates.
    pub(super) updates: ShortString,
    /// The queue of what a person must look at.
    pub(super) dead: ShortString,
    /// Where an update waits, one queue for each of [`RETRY_WAITS_MS`].
    pub(super) retry: [ShortString; RETRY_WAITS_MS.len()],
    /// The fanout exchange of events.
    pub(super) events: ShortString,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        let name = |suffix: &str| ShortString::from(format!("{prefix}{suffix}"));
        Self {
            updates: name(UPDATES),
            dead: name(DEAD),
            retry: RETRY_WAITS_MS.map(|ms| name(&format!("{UPDATES}.retry.{ms}"))),
            events: name(EVENTS),
        }
    }
}

/// The default exchange: routes by the name of a queue.
pub(super) fn default_exchange() -> ShortString {
    ShortString::default()
}

/// Declares everything durable.
pub(super) async fn declare(session: &Session, names: &Names) -> Result<(), RabbitError> {
    declare_queue(session, &names.dead, dead_arguments()).await?;
    declare_queue(session, &names.updates, updates_arguments(names)).await?;
    for (queue, wait_ms) in names.retry.iter().zip(RETRY_WAITS_MS) {
        declare_queue(session, queue, retry_arguments(names, wait_ms)).await?;
    }
    let channel = session.channel().await?;
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(names.events.clone(), ExchangeKind::Fanout, options, FieldTable::default()).await?;
    Ok(())
}

/// A queue that exists with other arguments (of another release, or made by an operator) is used as it is: no board
/// must stand still for it.
async fn declare_queue(session: &Session, name: &ShortString, arguments: FieldTable) -> Result<(), RabbitError> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let channel = session.channel().await?;
    let Err(error) = channel.queue_declare(name.clone(), options, arguments).await else { return Ok(()) };
    if !error.is_amqp_soft_error() {
        return Err(error.into());
    }
    let passive = QueueDeclareOptions { passive: true, ..options };
    session.channel().await?.queue_declare(name.clone(), passive, FieldTable::default()).await?;
    tracing::warn!(queue = name.as_str(), error = %error, "the queue exists with other arguments; using it as it is");
    Ok(())
}

fn updates_arguments(names: &Names) -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", AMQPValue::LongInt(DELIVERY_LIMIT)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(names.dead.as_str())),
        // At least once needs a source that refuses publishers when it is full.
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ])
}

/// What has waited goes back to the updates.
fn retry_arguments(names: &Names, wait_ms: u32) -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-message-ttl", AMQPValue::LongUInt(wait_ms)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(names.updates.as_str())),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ])
}

fn dead_arguments() -> FieldTable {
    table([("x-queue-type", text("quorum"))])
}

/// Makes a subscriber's own queue and binds it; it ends with its connection.
pub(super) async fn declare_subscription(channel: &Channel, names: &Names) -> Result<ShortString, RabbitError> {
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let arguments = table([
        ("x-max-length", AMQPValue::LongInt(MAX_EVENTS_WAITING)),
        ("x-overflow", text("drop-head")),
        ("x-message-ttl", AMQPValue::LongInt(EVENT_TTL_MS)),
    ]);
    let queue = channel.queue_declare(ShortString::default(), options, arguments).await?;
    let name = queue.name().clone();
    channel
        .queue_bind(
            name.clone(),
            names.events.clone(),
            ShortString::default(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await?;
    Ok(name)
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert(key.into(), value);
    }
    table
}
