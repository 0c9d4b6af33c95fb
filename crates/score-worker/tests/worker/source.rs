//! A queue that redelivers what was not acknowledged.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use common::ids::SubmissionId;
use common::ports::{Delivery, DeliveryTag, QueueError, UpdateSource};
use common::receipt::Answer;
use common::score_update::ScoreUpdate;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::faults::Gate;

pub(crate) struct TestSource {
    pub(crate) gate: Arc<Gate>,
    ready: Mutex<VecDeque<Delivery>>,
    unacknowledged: Mutex<BTreeMap<u64, Delivery>>,
    pub(crate) answers: Mutex<HashMap<SubmissionId, Vec<Answer>>>,
    pub(crate) dead: Mutex<Vec<(ScoreUpdate, String)>>,
    /// Refusals of dead letters before one is taken.
    pub(crate) dead_failures: AtomicU64,
    /// Updates that were handed back, until [`Self::bring_postponed`].
    pub(crate) postponed: Mutex<Vec<ScoreUpdate>>,
    /// How often an update may still be handed back.
    pub(crate) rounds_left: AtomicU64,
    /// How long each look for work was ready to wait for more, in order.
    pub(crate) lingers: Mutex<Vec<Duration>>,
    has_work: Notify,
    next_tag: AtomicU64,
}

impl TestSource {
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self {
            gate,
            ready: Mutex::default(),
            unacknowledged: Mutex::default(),
            answers: Mutex::default(),
            dead: Mutex::default(),
            dead_failures: AtomicU64::new(0),
            postponed: Mutex::default(),
            rounds_left: AtomicU64::new(100),
            lingers: Mutex::default(),
            has_work: Notify::new(),
            next_tag: AtomicU64::new(0),
        }
    }

    /// One message.
    pub(crate) fn send(&self, updates: Vec<ScoreUpdate>) {
        let tag = DeliveryTag { generation: 1, tag: self.next_tag.fetch_add(1, Ordering::SeqCst) };
        self.ready.lock().push_back(Delivery { tag, updates });
        self.has_work.notify_waiters();
    }

    /// The connection broke: what is not acknowledged comes again.
    pub(crate) fn redeliver(&self) {
        let lost = std::mem::take(&mut *self.unacknowledged.lock());
        for delivery in lost.into_values() {
            self.send(delivery.updates);
        }
    }

    /// The wait of everything that was handed back is over.
    pub(crate) fn bring_postponed(&self) {
        let postponed = std::mem::take(&mut *self.postponed.lock());
        postponed.into_iter().for_each(|update| self.send(vec![update]));
    }

    /// Messages that are not acknowledged yet.
    pub(crate) fn left(&self) -> usize {
        self.ready.lock().len() + self.unacknowledged.lock().len()
    }

    fn take(&self, max_updates: usize) -> Vec<Delivery> {
        let (mut taken, mut updates) = (Vec::new(), 0);
        let mut ready = self.ready.lock();
        while updates < max_updates {
            let Some(delivery) = ready.pop_front() else { break };
            updates += delivery.updates.len();
            self.unacknowledged.lock().insert(delivery.tag.tag, delivery.clone());
            taken.push(delivery);
        }
        taken
    }
}

#[async_trait]
impl UpdateSource for TestSource {
    async fn receive(&self, max_updates: usize, linger: Duration) -> Result<Vec<Delivery>, QueueError> {
        self.lingers.lock().push(linger);
        loop {
            let has_work = self.has_work.notified();
            tokio::pin!(has_work);
            has_work.as_mut().enable();
            let taken = self.take(max_updates);
            if !taken.is_empty() {
                return Ok(taken);
            }
            has_work.await;
        }
    }

    async fn answer(&self, delivery: &Delivery, answers: Vec<Answer>) -> Result<(), QueueError> {
        self.gate.pass("before the answer").await;
        assert_eq!(delivery.updates.len(), answers.len(), "one answer for each update");
        for (update, answer) in delivery.updates.iter().zip(answers) {
            self.answers.lock().entry(update.submission).or_default().push(answer);
        }
        self.gate.pass("after the answer").await;
        Ok(())
    }

    async fn acknowledge(&self, deliveries: &[DeliveryTag]) -> Result<(), QueueError> {
        self.gate.pass("before the acknowledgement").await;
        for delivery in deliveries {
            self.unacknowledged.lock().remove(&delivery.tag);
        }
        self.gate.pass("after the acknowledgement").await;
        Ok(())
    }

    async fn dead_letter(&self, update: &ScoreUpdate, reason: &str) -> Result<(), QueueError> {
        if self.dead_failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(QueueError { queue: "dead", operation: "publish", source: "switched off".into() });
        }
        self.dead.lock().push((update.clone(), reason.to_owned()));
        Ok(())
    }

    async fn retry_later(&self, update: &ScoreUpdate, _reason: &str) -> Result<bool, QueueError> {
        if self.rounds_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            return Ok(false);
        }
        self.postponed.lock().push(update.clone());
        Ok(true)
    }
}
