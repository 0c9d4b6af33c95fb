//! RabbitMQ alone: persistent, mandatory messages into a quorum queue, each confirmed, one publisher.

use std::time::{Duration, Instant};

use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde_json::json;

use crate::command_line::causes;
use crate::failure::Failure;
use crate::percentiles::Durations;
use crate::progress::Progress;
use crate::report::Report;
use crate::watch::plan::us;

/// AMQP's number for messages that survive the broker.
const PERSISTENT: u8 = 2;

/// Everything of `loadtest floor rabbitmq`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RabbitArgs {
    /// The broker
    #[arg(long, env = "SCOREBOARD__AMQP__URL")]
    pub(crate) amqp_url: String,
    /// Messages that wait for their confirm at once
    #[arg(long, default_value_t = 100)]
    pub(crate) window: usize,
    /// Bytes of a message; an update takes about 300
    #[arg(long, default_value_t = 300)]
    pub(crate) bytes: usize,
    /// Seconds
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u64,
    /// No progress line
    #[arg(long)]
    pub(crate) quiet: bool,
}

pub(crate) async fn command(args: RabbitArgs) -> Result<Report, Failure> {
    let (confirmed, durations, elapsed) = measure(&args).await?;
    let mut report = Report::new("floor: RabbitMQ, confirmed publishes to a quorum queue (persistent, mandatory)");
    let rate = confirmed as f64 / elapsed.as_secs_f64();
    report.line("confirmedPerSecond", "confirmed", format!("{confirmed}, {rate:.0}/s"), rate);
    report.number("window", "outstanding at once", args.window as u64);
    let summary = durations.summary();
    report.line("confirmMs", "publish → confirm", summary.in_words(), json!(summary));
    Ok(report)
}

/// How many were confirmed, each publish to its confirm, and the time of all.
///
/// # Errors
/// [`Failure::Server`]
pub(crate) async fn measure(args: &RabbitArgs) -> Result<(u64, Durations, Duration), Failure> {
    let told = |error: lapin::Error| Failure::server("RabbitMQ", causes(&error));
    let connection = Connection::connect(&args.amqp_url, ConnectionProperties::default()).await.map_err(told)?;
    let channel = connection.create_channel().await.map_err(told)?;
    let queue = ShortString::from(format!("loadtest.floor.{}", hex::encode(rand::random::<[u8; 4]>())));
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.clone(), options, arguments).await.map_err(told)?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(told)?;
    let published = publish(&channel, &queue, args).await;
    // Whatever came before: the queue is nobody's but ours.
    let deleted = channel.queue_delete(queue, QueueDeleteOptions::default()).await;
    let measured = published.map_err(told)?;
    deleted.map_err(told)?;
    Ok(measured)
}

async fn publish(
    channel: &Channel,
    queue: &ShortString,
    args: &RabbitArgs,
) -> lapin::Result<(u64, Durations, Duration)> {
    let (body, began, limit) = (vec![b'x'; args.bytes], Instant::now(), Duration::from_secs(args.seconds));
    let (mut pending, mut confirmed, mut durations) = (FuturesUnordered::new(), 0, Durations::default());
    let mut progress = Progress::new(args.quiet);
    loop {
        while began.elapsed() < limit && pending.len() < args.window.max(1) {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
            let started = Instant::now();
            let sent = channel.basic_publish("".into(), queue.clone(), options, &body, properties).await?;
            pending.push(async move { (started, sent.await) });
        }
        let Some((started, confirm)) = pending.next().await else { break };
        if matches!(confirm?, Confirmation::Ack(None)) {
            confirmed += 1;
            durations.record(us(started.elapsed()));
        }
        if confirmed % 1_000 == 0 {
            progress.tell(&format!("{confirmed} messages confirmed"));
        }
    }
    Ok((confirmed, durations, began.elapsed()))
}
