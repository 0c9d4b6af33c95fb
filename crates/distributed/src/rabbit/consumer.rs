//! Takes deliveries from the broker, sorts out the damaged ones and hands the others to the source.

use std::sync::Arc;

use common::ids::SubmissionId;
use common::ports::{Delivery, DeliveryTag};
use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use parking_lot::Mutex;
use runtime::backoff::Backoff;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use wire::{DamagedMessage, DecodedBatch, v1};

use super::Core;
use super::connection::{RabbitConnection, Session};
use super::dead_letter::DeadLetters;
use super::deliveries::{Arrived, Life, Open, ReplyAddress};
use super::error::RabbitError;
use super::message::{self, Failures, UPDATES_TYPE};

/// What the source works with.
pub(super) struct Intake {
    pub(super) deliveries: mpsc::Receiver<Delivery>,
    /// The session that deliveries come over now.
    pub(super) current: Arc<Mutex<Option<Arc<Life>>>>,
}

/// A consumer at work.
struct Consuming {
    queue: ShortString,
    prefetch: u16,
    dead_letters: DeadLetters,
    tasks: TaskTracker,
    deliveries: mpsc::Sender<Delivery>,
    current: Arc<Mutex<Option<Arc<Life>>>>,
}

impl Intake {
    /// Consumes until everything ends.
    pub(super) fn start(core: &Core, dead_letters: DeadLetters) -> Self {
        let prefetch = core.settings.prefetch;
        // As many as the broker hands out: the channel is full only while leftovers of an earlier session are in it.
        let (sender, receiver) = mpsc::channel(usize::from(prefetch));
        let current = Arc::new(Mutex::new(None));
        let consuming = Consuming {
            queue: core.names.updates.clone(),
            prefetch,
            dead_letters,
            tasks: core.tasks.clone(),
            deliveries: sender,
            current: Arc::clone(&current),
        };
        let (connection, stop) = (core.consuming(), core.stop.clone());
        let taker = consuming.deliveries.clone();
        let here = Arc::clone(&current);
        core.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                // The source is gone: what it has not settled goes to somebody else.
                () = taker.closed() => {}
                () = Arc::new(consuming).run(connection) => {}
            }
            *here.lock() = None;
        });
        Self { deliveries: receiver, current }
    }
}

impl Consuming {
    async fn run(self: Arc<Self>, connection: Arc<RabbitConnection>) {
        let mut generation = 0;
        while let Some(session) = connection.session_after(generation).await {
            generation = session.generation();
            let consumed = self.consume(&session).await;
            *self.current.lock() = None;
            if let Err(error) = consumed {
                session.fail(&error);
            }
        }
    }

    /// Consumes over one session, to its end.
    async fn consume(self: &Arc<Self>, session: &Arc<Session>) -> Result<(), RabbitError> {
        let channel = session.channel().await?;
        // Before the consumer, else the broker sends everything it has: the driver's buffer has no bound.
        channel.basic_qos(self.prefetch, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let queue = self.queue.clone();
        let mut arriving = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
        let life = Arc::new(Life {
            generation: session.generation(),
            session: Arc::clone(session),
            channel,
            open: Open::default(),
        });
        *self.current.lock() = Some(Arc::clone(&life));
        loop {
            let next = tokio::select! {
                () = session.ended() => return Err(RabbitError::lost()),
                next = arriving.next() => next.ok_or(RabbitError::ConsumerEnded)??,
            };
            self.take(next, &life).await;
        }
    }

    async fn take(self: &Arc<Self>, arrived: lapin::message::Delivery, life: &Arc<Life>) {
        let tag = DeliveryTag { generation: life.generation, tag: arrived.delivery_tag };
        let content = read(&arrived);
        life.open.insert(tag.tag, Arrived::new(reply_address(&arrived), retried(&arrived, &content)));
        match content {
            Ok(DecodedBatch { updates, damaged }) if damaged.is_empty() => {
                self.hand_over(Delivery { tag, updates }, life).await;
            }
            damaged => {
                // On a task of its own (prefetch bounds their number): a bad message never holds good ones up.
                let set_aside = Arc::clone(self).set_aside(arrived, damaged, Arc::clone(life));
                self.tasks.spawn(set_aside);
            }
        }
    }

    async fn hand_over(&self, delivery: Delivery, life: &Life) {
        tokio::select! {
            () = life.session.ended() => {}
            // An error says that the source is gone, which ends this task too.
            _ = self.deliveries.send(delivery) => {}
        }
    }

    /// Puts what is damaged aside, durably, and only then goes on with the good rest or settles the message.
    async fn set_aside(
        self: Arc<Self>,
        arrived: lapin::message::Delivery,
        content: Result<DecodedBatch, DamagedMessage>,
        life: Arc<Life>,
    ) {
        let tag = DeliveryTag { generation: life.generation, tag: arrived.delivery_tag };
        let ended = life.session.ended();
        let put = async {
            match content {
                Ok(DecodedBatch { updates, damaged }) => {
                    for (update, reason) in &damaged {
                        self.put_update(update, &arrived, reason).await;
                    }
                    updates
                }
                Err(reason) => {
                    self.put_message(&arrived, &reason).await;
                    Vec::new()
                }
            }
        };
        let good = tokio::select! {
            // It comes again.
            () = ended => return,
            good = put => good,
        };
        if good.is_empty() {
            if let Err(error) = life.settle([tag.tag]).await {
                life.session.fail(&error);
            }
        } else {
            self.hand_over(Delivery { tag, updates: good }, &life).await;
        }
    }

    async fn put_message(&self, arrived: &lapin::message::Delivery, reason: &DamagedMessage) {
        tracing::error!(error = %reason, "a damaged message goes to the dead-letter queue");
        let reason = reason.to_string();
        let letters = &self.dead_letters;
        insist(|| letters.put_damaged_message(arrived.data.clone(), &arrived.properties, &reason)).await;
    }

    async fn put_update(&self, update: &v1::ScoreUpdate, arrived: &lapin::message::Delivery, reason: &DamagedMessage) {
        tracing::error!(error = %reason, "a damaged update goes to the dead-letter queue");
        let reason = reason.to_string();
        let letters = &self.dead_letters;
        insist(|| letters.put_damaged_update(update, &arrived.properties, &reason)).await;
    }
}

/// Tries until the broker has it; ends with its session (see the callers).
async fn insist<F, Fut>(mut attempt: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), RabbitError>>,
{
    let mut backoff = Backoff::reconnect();
    while let Err(error) = attempt().await {
        tracing::warn!(error = %error, "the dead-letter queue takes nothing; trying again");
        sleep(backoff.next_wait()).await;
    }
}

fn read(arrived: &lapin::message::Delivery) -> Result<DecodedBatch, DamagedMessage> {
    if !message::has_type(&arrived.properties, UPDATES_TYPE) {
        let said = arrived.properties.kind().as_ref().map_or("nothing", ShortString::as_str);
        return Err(DamagedMessage::new("type", format!("must be {UPDATES_TYPE}; the message says {said}")));
    }
    wire::decode_updates(&arrived.data)
}

/// Which update was handed back before. Damaged content has its failures in its headers alone.
fn retried(
    arrived: &lapin::message::Delivery,
    content: &Result<DecodedBatch, DamagedMessage>,
) -> Option<(SubmissionId, Failures)> {
    let failures = Failures::of(&arrived.properties);
    let first = content.as_ref().ok()?.updates.first()?;
    (failures.attempts > 0).then_some((first.submission, failures))
}

fn reply_address(arrived: &lapin::message::Delivery) -> Option<ReplyAddress> {
    let reply_to = arrived.properties.reply_to().clone()?;
    Some(ReplyAddress { reply_to, correlation_id: arrived.properties.correlation_id().clone() })
}
