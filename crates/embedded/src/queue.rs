//! The update queue within one process.
//!
//! It does not outlive the process, so nothing is promised when an update is accepted: the submitter hears of success
//! only through the worker's answer, which comes after the commit.
//!
//! **Redelivery.** What was received stays here under its tag until it is acknowledged. A worker that ended without
//! settling its work does not have to say so: what stays unsettled for [`QueueLimits::redeliver_after`] is received
//! again, under the same tag, so that a late acknowledgement by the first worker still settles it. A supervisor that
//! knows that its worker has ended calls [`MemoryQueue::requeue_unacknowledged`] and saves the wait. The ledger knows
//! an update by its submission, so work that comes twice is harmless.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::clock::Clock;
use common::ports::{Delivery, DeliveryTag, QueueError, SubmitError, Submitted, UpdateQueue, UpdateSource};
use common::receipt::Answer;
use common::score_update::ScoreUpdate;
use parking_lot::Mutex;
use runtime::mailbox::{self, oneshot};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use crate::metrics::QueueMetrics;
use crate::sqlite::SqliteStore;

/// What the queue holds at most, and for how long it waits for a worker.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Updates that were accepted and not settled; above it, submissions are refused at once.
    pub capacity: usize,
    /// After so long without being settled, a delivery comes again.
    pub redeliver_after: Duration,
}

impl Default for QueueLimits {
    fn default() -> Self {
        // Far longer than a healthy transaction takes, and short enough that work does not lie about.
        Self { capacity: 8192, redeliver_after: Duration::from_secs(30) }
    }
}

/// Both ends of the update queue, in memory; what is put aside goes to the store.
pub struct MemoryQueue {
    limits: QueueLimits,
    held: Mutex<Held>,
    /// There is something to receive.
    work: Notify,
    /// There is as much to receive as the worker that is collecting wants.
    enough: Notify,
    store: Arc<SqliteStore>,
    clock: Arc<dyn Clock>,
    metrics: QueueMetrics,
}

#[derive(Default)]
struct Held {
    ready: VecDeque<Item>,
    /// Received and not acknowledged, by tag.
    unsettled: HashMap<u64, Unsettled>,
    /// When each of `unsettled` was received, with its tag.
    by_time: BTreeSet<(Instant, u64)>,
    /// How many updates the worker that is collecting waits for.
    wanted: usize,
    next_tag: u64,
    closed: bool,
}

struct Item {
    tag: u64,
    update: ScoreUpdate,
    reply: Option<mailbox::Sender<Answer>>,
}

struct Unsettled {
    received_at: Instant,
    item: Item,
}

/// Why an update was not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("{0} updates wait for a decision already")]
    Full(usize),
    #[error("the queue is closed")]
    Closed,
}

impl MemoryQueue {
    /// An empty queue. `store` keeps what is put aside; `clock` says when that was.
    #[must_use]
    pub fn new(store: Arc<SqliteStore>, clock: Arc<dyn Clock>, limits: QueueLimits) -> Self {
        Self {
            limits,
            held: Mutex::default(),
            work: Notify::new(),
            enough: Notify::new(),
            store,
            clock,
            metrics: QueueMetrics::new(),
        }
    }

    /// Updates that were accepted and not settled.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.held.lock().outstanding()
    }

    /// Takes no more updates; what was accepted can still be received and settled.
    pub fn close(&self) {
        self.held.lock().closed = true;
    }

    /// Makes everything that was received and not acknowledged receivable again, oldest first. For a supervisor whose
    /// worker has ended; see the module's words on redelivery.
    pub fn requeue_unacknowledged(&self) {
        self.held.lock().requeue(None);
        self.work.notify_one();
    }

    fn accept(&self, update: ScoreUpdate) -> Result<mailbox::Receiver<Answer>, NotTaken> {
        let (reply, answer) = oneshot();
        let mut held = self.held.lock();
        if held.closed {
            return Err(NotTaken::Closed);
        }
        if held.outstanding() >= self.limits.capacity {
            return Err(NotTaken::Full(self.limits.capacity));
        }
        held.next_tag += 1;
        let tag = held.next_tag;
        held.ready.push_back(Item { tag, update, reply: Some(reply) });
        let enough = held.ready.len() >= held.wanted;
        drop(held);
        self.metrics.accepted();
        self.work.notify_one();
        if enough {
            self.enough.notify_one();
        }
        Ok(answer)
    }

    /// Waits until there is something to receive.
    async fn wait_for_work(&self) {
        loop {
            let next_redelivery = {
                let mut held = self.held.lock();
                held.requeue(Some((Instant::now(), self.limits.redeliver_after)));
                if !held.ready.is_empty() {
                    return;
                }
                held.by_time.first().map(|(received_at, _)| *received_at + self.limits.redeliver_after)
            };
            // A notification between the look and the wait is kept by `Notify`.
            match next_redelivery {
                Some(at) => drop(timeout_at(at, self.work.notified()).await),
                None => self.work.notified().await,
            }
        }
    }

    /// Waits until `wanted` updates can be received, or for `linger`.
    async fn collect(&self, wanted: usize, linger: Duration) {
        let deadline = Instant::now() + linger;
        loop {
            {
                let mut held = self.held.lock();
                held.wanted = wanted;
                if held.ready.len() >= wanted {
                    return;
                }
            }
            if timeout_at(deadline, self.enough.notified()).await.is_err() {
                return;
            }
        }
    }

    fn take(&self, max_updates: usize) -> Vec<Delivery> {
        let now = Instant::now();
        let mut held = self.held.lock();
        let count = held.ready.len().min(max_updates);
        let items: Vec<Item> = held.ready.drain(..count).collect();
        let deliveries = items.into_iter().map(|item| held.deliver(item, now)).collect();
        // Another worker may be waiting for what is left.
        if !held.ready.is_empty() {
            self.work.notify_one();
        }
        deliveries
    }
}

impl Held {
    fn outstanding(&self) -> usize {
        self.ready.len() + self.unsettled.len()
    }

    fn deliver(&mut self, item: Item, now: Instant) -> Delivery {
        // One connection for ever: the generation never changes.
        let tag = DeliveryTag { generation: 0, tag: item.tag };
        let updates = vec![item.update.clone()];
        self.by_time.insert((now, item.tag));
        self.unsettled.insert(item.tag, Unsettled { received_at: now, item });
        Delivery { tag, updates }
    }

    fn settle(&mut self, tag: u64) -> Option<Item> {
        let unsettled = self.unsettled.remove(&tag)?;
        self.by_time.remove(&(unsettled.received_at, tag));
        Some(unsettled.item)
    }

    /// Makes unsettled deliveries receivable again: all, or those that have waited for so long at that time.
    fn requeue(&mut self, due: Option<(Instant, Duration)>) {
        let mut items = Vec::new();
        while let Some((received_at, tag)) = self.by_time.pop_first() {
            if due.is_some_and(|(now, wait)| now < received_at + wait) {
                self.by_time.insert((received_at, tag));
                break;
            }
            items.extend(self.unsettled.remove(&tag).map(|unsettled| unsettled.item));
        }
        for item in items.into_iter().rev() {
            self.ready.push_front(item);
        }
    }
}

#[async_trait]
impl UpdateQueue for MemoryQueue {
    fn outlives_process(&self) -> bool {
        false
    }

    async fn submit(&self, update: ScoreUpdate, wait: Duration) -> Result<Submitted, SubmitError> {
        let answer = self.accept(update).map_err(|reason| SubmitError::Unavailable(Box::new(reason)))?;
        match timeout(wait, answer).await {
            Ok(Ok(answer)) => Ok(Submitted::Decided(answer)),
            // Too late, or settled without an answer (put aside): nobody will say more.
            Ok(Err(_)) | Err(_) => Err(SubmitError::Undecided(wait)),
        }
    }
}

#[async_trait]
impl UpdateSource for MemoryQueue {
    async fn receive(&self, max_updates: usize, linger: Duration) -> Result<Vec<Delivery>, QueueError> {
        let max_updates = max_updates.max(1);
        loop {
            self.wait_for_work().await;
            // A timer that is due at once fires a millisecond or two late.
            if !linger.is_zero() {
                self.collect(max_updates, linger).await;
            }
            // Nothing is taken before this point, so a dropped future loses nothing.
            let deliveries = self.take(max_updates);
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
        }
    }

    async fn answer(&self, delivery: &Delivery, answers: Vec<Answer>) -> Result<(), QueueError> {
        // A delivery carries one update.
        let Some(answer) = answers.into_iter().next() else { return Ok(()) };
        let reply = {
            let mut held = self.held.lock();
            held.unsettled.get_mut(&delivery.tag.tag).and_then(|held| held.item.reply.take())
        };
        if let Some(reply) = reply {
            reply.send(answer);
        }
        Ok(())
    }

    async fn acknowledge(&self, deliveries: &[DeliveryTag]) -> Result<(), QueueError> {
        let mut held = self.held.lock();
        let before = held.outstanding();
        for delivery in deliveries {
            if held.settle(delivery.tag).is_none() {
                // It came again meanwhile and waits to be received; it is settled all the same.
                held.ready.retain(|item| item.tag != delivery.tag);
            }
        }
        let settled = before - held.outstanding();
        drop(held);
        self.metrics.settled(settled);
        Ok(())
    }

    async fn dead_letter(&self, update: &ScoreUpdate, reason: &str) -> Result<(), QueueError> {
        self.store.put_aside(update, reason, self.clock.now()).await.map_err(|source| QueueError {
            queue: "score.updates.dead",
            operation: "take an update",
            source: Box::new(source),
        })
    }

    /// Nothing was promised for it, and SQLite has one writer: there is no race to wait out.
    async fn retry_later(&self, _update: &ScoreUpdate, _reason: &str) -> Result<bool, QueueError> {
        Ok(false)
    }
}
