//! The worker's end of the queue.
//!
//! Consumes on a connection of its own: a broker that blocks publishers stops reading their connections altogether,
//! acknowledgements included. Answers and dead letters therefore go over the publishing connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::ports::{Delivery, DeliveryTag, QueueError, UpdateSource};
use common::receipt::Answer;
use common::score_update::ScoreUpdate;
use lapin::options::BasicPublishOptions;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::Core;
use super::connection::RabbitConnection;
use super::consumer::Intake;
use super::dead_letter::DeadLetters;
use super::deliveries::{Life, ReplyAddress};
use super::error::RabbitError;
use super::message::{self, ANSWERS_TYPE, Failures, Lasting};
use super::topology::{DEAD, RETRY, UPDATES, default_exchange};

/// How long an answer may take; the client's request waits for it, and the queue behind it.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

/// How long an acknowledgement may take to be written.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(2);

/// `score.updates` as the score-worker sees it.
///
/// Deliveries of a session that ended are forgotten, here and by the broker, which delivers them again: their tags
/// mean nothing any more and are ignored.
pub struct RabbitSource {
    /// One receiver at a time, by design: the lock is held while waiting.
    inbox: tokio::sync::Mutex<Inbox>,
    current: Arc<Mutex<Option<Arc<Life>>>>,
    publishing: Arc<RabbitConnection>,
    dead_letters: DeadLetters,
    core: Arc<Core>,
}

struct Inbox {
    deliveries: mpsc::Receiver<Delivery>,
    /// Received and not yet given out; kept across a cancelled `receive`.
    collected: VecDeque<Delivery>,
}

impl Inbox {
    fn updates(&self) -> usize {
        self.collected.iter().map(|delivery| delivery.updates.len()).sum()
    }

    /// What came over an earlier session comes again.
    fn forget_stale(&mut self, generation: Option<u64>) {
        self.collected.retain(|delivery| Some(delivery.tag.generation) == generation);
    }

    /// Takes what is there.
    fn collect(&mut self, max_updates: usize) {
        while self.updates() < max_updates
            && let Ok(next) = self.deliveries.try_recv()
        {
            self.collected.push_back(next);
        }
    }

    /// At least one delivery, and as many as fit into `max_updates`.
    fn take(&mut self, max_updates: usize) -> Vec<Delivery> {
        let mut taken: Vec<Delivery> = Vec::new();
        let mut updates = 0;
        while let Some(next) = self.collected.front() {
            updates += next.updates.len();
            if updates > max_updates && !taken.is_empty() {
                break;
            }
            taken.extend(self.collected.pop_front());
        }
        taken
    }
}

impl RabbitSource {
    pub(super) fn start(core: Arc<Core>) -> Self {
        let dead_letters = core.dead_letters();
        let intake = Intake::start(&core, dead_letters.clone());
        Self {
            inbox: tokio::sync::Mutex::new(Inbox { deliveries: intake.deliveries, collected: VecDeque::new() }),
            current: intake.current,
            publishing: core.publishing(),
            dead_letters,
            core,
        }
    }

    fn generation(&self) -> Option<u64> {
        self.current.lock().as_ref().map(|life| life.generation)
    }

    /// The session that a tag is of, unless it has ended.
    fn life(&self, tag: DeliveryTag) -> Option<Arc<Life>> {
        self.current.lock().clone().filter(|life| life.generation == tag.generation)
    }

    fn failures(&self, update: &ScoreUpdate) -> Failures {
        let life = self.current.lock().clone();
        life.and_then(|life| life.open.failures(update.submission)).unwrap_or_default()
    }

    async fn send_answers(&self, reply: ReplyAddress, body: Vec<u8>) -> Result<(), RabbitError> {
        // On a blocked connection the frames would only pile up.
        let session = self.publishing.ready()?;
        let mut properties = message::properties(ANSWERS_TYPE, Lasting::Transient, self.core.clock.now());
        if let Some(correlation) = reply.correlation_id {
            properties = properties.with_correlation_id(correlation);
        }
        let sent = async {
            let channel = session.unconfirmed_channel().await?;
            let options = BasicPublishOptions::default();
            channel.basic_publish(default_exchange(), reply.reply_to, options, &body, properties).await?;
            Ok::<(), RabbitError>(())
        };
        let outcome = timeout(ANSWER_TIMEOUT, sent).await.unwrap_or(Err(RabbitError::TimedOut(ANSWER_TIMEOUT)));
        if let Err(error @ RabbitError::Driver(_)) = &outcome {
            session.fail(error);
        }
        outcome
    }
}

#[async_trait]
impl UpdateSource for RabbitSource {
    async fn receive(&self, max_updates: usize, linger: Duration) -> Result<Vec<Delivery>, QueueError> {
        let mut inbox = self.inbox.lock().await;
        loop {
            inbox.forget_stale(self.generation());
            if inbox.collected.is_empty() {
                let next = inbox.deliveries.recv().await;
                let next = next.ok_or_else(|| RabbitError::Closed.at(UPDATES, "give deliveries"))?;
                inbox.collected.push_back(next);
                continue;
            }
            inbox.collect(max_updates);
            // A timer fires a millisecond or two late, also one that is due at once: who need not wait must not ask for one.
            if !linger.is_zero() {
                let deadline = Instant::now() + linger;
                while inbox.updates() < max_updates
                    && let Ok(Some(next)) = timeout_at(deadline, inbox.deliveries.recv()).await
                {
                    inbox.collected.push_back(next);
                }
            }
            inbox.forget_stale(self.generation());
            if !inbox.collected.is_empty() {
                return Ok(inbox.take(max_updates));
            }
        }
    }

    async fn answer(&self, delivery: &Delivery, answers: Vec<Answer>) -> Result<(), QueueError> {
        let Some(reply) = self.life(delivery.tag).and_then(|life| life.open.reply_address(delivery.tag.tag)) else {
            return Ok(());
        };
        let submissions = delivery.updates.iter().map(|update| update.submission);
        let body = wire::encode_answers(submissions.zip(&answers));
        self.send_answers(reply, body).await.map_err(|error| error.at(UPDATES, "take an answer"))
    }

    async fn acknowledge(&self, deliveries: &[DeliveryTag]) -> Result<(), QueueError> {
        let Some(life) = self.current.lock().clone() else { return Ok(()) };
        let tags = deliveries.iter().filter(|tag| tag.generation == life.generation).map(|tag| tag.tag);
        let settling = timeout(ACKNOWLEDGE_TIMEOUT, life.settle(tags)).await;
        let outcome = settling.unwrap_or(Err(RabbitError::TimedOut(ACKNOWLEDGE_TIMEOUT)));
        outcome.map_err(|error| {
            // Nobody knows which of them the broker has heard of: all that is open comes again over a new session.
            life.session.fail(&error);
            error.at(UPDATES, "take an acknowledgement")
        })
    }

    async fn dead_letter(&self, update: &ScoreUpdate, reason: &str) -> Result<(), QueueError> {
        let failures = self.failures(update);
        let put = self.dead_letters.put_update(update, &failures, reason).await;
        put.map_err(|error| error.at(DEAD, "take a dead letter"))
    }

    async fn retry_later(&self, update: &ScoreUpdate, reason: &str) -> Result<bool, QueueError> {
        let failures = self.failures(update);
        let put = self.dead_letters.postpone(update, &failures, reason).await;
        put.map_err(|error| error.at(RETRY, "take an update that is to wait"))
    }
}
