//! A scoreboard's queues of a test's own on the shared broker, and a look at them from outside.

use std::sync::Arc;
use std::time::Duration;

use common::ids::UserId;
use common::ports::{Dependency as _, SubmitError, Submitted, UpdateQueue, UpdateSource};
use common::score_update::ScoreUpdate;
use distributed::rabbit::{Rabbit, RabbitSettings};
use lapin::message::BasicGetMessage;
use lapin::options::{BasicGetOptions, BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use runtime::clock::SystemClock;
use testkit::proxy::Proxy;
use testkit::waiting::{SOON, eventually, within};
use uuid::Uuid;

/// The contract's promise for every outage.
pub(crate) const RECOVERY: Duration = Duration::from_secs(10);

/// The contract's bound for a refusal, with something for a busy machine.
pub(crate) const REFUSAL: Duration = Duration::from_millis(2_500);

/// What a message of updates says that it is.
pub(crate) const UPDATES_TYPE: &str = "scoreboard.v1.ScoreUpdateBatch";

/// The broker that the tests share.
pub(crate) fn url() -> String {
    std::env::var("SCOREBOARD_TEST_AMQP_URL").unwrap_or_else(|_| {
        panic!(
            "SCOREBOARD_TEST_AMQP_URL is not set: it must name a RabbitMQ for tests, such as \
             amqp://guest:guest@127.0.0.1:5672/%2f; scripts/test starts one"
        )
    })
}

/// Names and settings of one test.
pub(crate) struct Place {
    pub(crate) prefix: String,
    pub(crate) url: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::at(url())
    }

    /// Reached by way of `url`.
    pub(crate) fn at(url: String) -> Self {
        Self { prefix: format!("test-{}.", Uuid::new_v4().simple()), url }
    }

    pub(crate) fn settings(&self) -> RabbitSettings {
        RabbitSettings::new(&self.url, "test").expect("an AMQP URL").with_name_prefix(&self.prefix)
    }

    /// A process that is connected.
    pub(crate) async fn rabbit(&self) -> Rabbit {
        let rabbit = Rabbit::new(self.settings(), Arc::new(SystemClock));
        connected(&rabbit).await;
        rabbit
    }

    pub(crate) fn updates(&self) -> String {
        format!("{}score.updates", self.prefix)
    }

    pub(crate) fn dead(&self) -> String {
        format!("{}score.updates.dead", self.prefix)
    }
}

impl Drop for Place {
    /// The broker may be somebody's: leave nothing.
    fn drop(&mut self) {
        let waits = [1_000, 5_000, 30_000, 120_000].map(|ms| format!("{}.retry.{ms}", self.updates()));
        let queues: Vec<String> = waits.into_iter().chain([self.updates(), self.dead()]).collect();
        let exchange = format!("{}scoreboard.events", self.prefix);
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let look = Look::new().await;
                for queue in queues {
                    let _ = look.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await;
                }
                let _ = look.channel.exchange_delete(exchange.into(), Default::default()).await;
            });
        });
        let _ = cleaned.join();
    }
}

pub(crate) async fn connected(rabbit: &Rabbit) {
    let dependency = rabbit.dependency();
    eventually(SOON, "RabbitMQ to take work", || dependency.check()).await;
}

/// A connection of the test's own.
pub(crate) struct Look {
    pub(crate) channel: Channel,
    connection: Connection,
}

impl Look {
    pub(crate) async fn new() -> Self {
        let connection = Connection::connect(&url(), ConnectionProperties::default()).await.expect("the broker");
        Self { channel: connection.create_channel().await.expect("a channel"), connection }
    }

    /// Messages that are ready (not handed to a consumer), and consumers.
    pub(crate) async fn counts(&self, queue: &str) -> (u32, u32) {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        // A missing queue costs the channel.
        let channel = self.connection.create_channel().await.expect("a channel");
        match channel.queue_declare(queue.into(), options, FieldTable::default()).await {
            Ok(declared) => (declared.message_count(), declared.consumer_count()),
            Err(_) => (0, 0),
        }
    }

    /// Waits until so many messages are ready.
    pub(crate) async fn ready(&self, queue: &str, wanted: u32) {
        eventually(RECOVERY, &format!("{wanted} ready messages in {queue}"), async || {
            let (ready, consumers) = self.counts(queue).await;
            if ready == wanted { Ok(()) } else { Err(format!("{ready} ready, {consumers} consumers")) }
        })
        .await;
    }

    /// Takes a message out.
    pub(crate) async fn get(&self, queue: &str) -> BasicGetMessage {
        eventually(SOON, &format!("a message in {queue}"), async || {
            self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.expect("basic.get")
        })
        .await
    }

    pub(crate) async fn publish(&self, queue: &str, message_type: &str, body: &[u8]) {
        self.publish_with(queue, message_type, body, FieldTable::default()).await;
    }

    pub(crate) async fn publish_with(&self, queue: &str, message_type: &str, body: &[u8], headers: FieldTable) {
        let properties =
            BasicProperties::default().with_type(message_type.into()).with_delivery_mode(2).with_headers(headers);
        self.channel
            .basic_publish("".into(), queue.into(), BasicPublishOptions::default(), body, properties)
            .await
            .expect("basic.publish");
    }

    pub(crate) async fn delete(&self, queue: &str) {
        self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.expect("queue.delete");
    }
}

/// A proxy before the broker.
pub(crate) async fn before_the_broker() -> Proxy {
    Proxy::before(&url()).await
}

/// An update by nobody in particular.
pub(crate) fn update(n: usize) -> ScoreUpdate {
    testkit::fixtures::update(UserId(Uuid::from_u128(n as u128)), &format!("action-{n}")).build()
}

/// Submits without waiting for a decision.
pub(crate) async fn accept(queue: &dyn UpdateQueue, update: ScoreUpdate) -> Result<(), SubmitError> {
    match within(REFUSAL, "a submission to end", queue.submit(update, Duration::ZERO)).await? {
        Submitted::Pending => Ok(()),
        Submitted::Decided(answer) => panic!("decided, although nobody waited: {answer:?}"),
    }
}

/// Submits until the broker takes it again.
pub(crate) async fn accept_in_the_end(queue: &dyn UpdateQueue, n: usize) {
    eventually(RECOVERY, "the queue to take work again", || accept(queue, update(n))).await;
}

/// Receives and settles until so many updates came.
pub(crate) async fn drain(source: &dyn UpdateSource, count: usize) -> Vec<ScoreUpdate> {
    let mut updates = Vec::new();
    while updates.len() < count {
        let received = within(RECOVERY, "work", source.receive(100, Duration::ZERO)).await.expect("receive");
        let tags: Vec<_> = received.iter().map(|delivery| delivery.tag).collect();
        source.acknowledge(&tags).await.expect("acknowledge");
        updates.extend(received.into_iter().flat_map(|delivery| delivery.updates));
    }
    updates
}
