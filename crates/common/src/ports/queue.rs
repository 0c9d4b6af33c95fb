//! The way of an update from the gateway to the worker, and of the answer back.

use std::time::Duration;

use async_trait::async_trait;

use super::Source;
use crate::ids::{ActionId, BoardId, UserId};
use crate::receipt::Answer;
use crate::score_update::ScoreUpdate;

/// What a submission came to.
#[derive(Clone, Debug)]
pub enum Submitted {
    /// The worker answered in time.
    Decided(Answer),
    /// Durable, not yet decided.
    Pending,
}

/// A submission was not taken, or nobody can say whether it was. The same request can be sent again safely.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The queue takes no work, or not within its bound (2 s).
    #[error("the update queue takes no work")]
    Unavailable(#[source] Source),
    /// More waits for the worker than may; nothing was taken.
    #[error("the update queue is too long; expected to take work again in {retry_after_s} s")]
    Behind {
        /// When a repeat makes sense, by how fast it shrinks.
        retry_after_s: u64,
    },
    /// Only backends whose queue does not outlive the process: no decision within the wait.
    #[error("no decision within {} ms", .0.as_millis())]
    Undecided(Duration),
}

/// The gateway's end.
#[async_trait]
pub trait UpdateQueue: Send + Sync {
    /// Makes an update durable (where the queue is) and waits up to `wait` for its decision.
    ///
    /// # Errors
    /// [`SubmitError`], within 2 s plus `wait`.
    async fn submit(&self, update: ScoreUpdate, wait: Duration) -> Result<Submitted, SubmitError>;

    /// Whether what was taken is kept when the process ends. A queue for which this is false promises nothing before
    /// the decision, so it never answers [`Submitted::Pending`].
    fn outlives_process(&self) -> bool {
        true
    }
}

/// A queue operation of the worker failed; the connection is being rebuilt, unsettled work comes again.
#[derive(Debug, thiserror::Error)]
#[error("{queue} did not {operation}")]
pub struct QueueError {
    /// Which queue or exchange.
    pub queue: &'static str,
    /// What was tried, as a verb.
    pub operation: &'static str,
    /// The driver's words, for the log.
    #[source]
    pub source: Source,
}

/// Names a delivery on its connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DeliveryTag {
    /// The connection's generation: tags of an earlier one mean nothing.
    pub generation: u64,
    /// The broker's tag.
    pub tag: u64,
}

/// A message with its updates, to be settled.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// How it is named when settled.
    pub tag: DeliveryTag,
    /// What it carries; never empty.
    pub updates: Vec<ScoreUpdate>,
}

/// The worker's end. Bounded by prefetch: unsettled deliveries are the only memory it takes.
#[async_trait]
pub trait UpdateSource: Send + Sync {
    /// Waits for work, then goes on collecting for at most `linger` or until `max_updates` are together.
    /// Returns at least one delivery. Damaged messages are dead-lettered here, alone, and never returned.
    /// Cancel-safe.
    async fn receive(&self, max_updates: usize, linger: Duration) -> Result<Vec<Delivery>, QueueError>;

    /// Sends the answers of a delivery, one for each update; a gateway that has gone is no error.
    async fn answer(&self, delivery: &Delivery, answers: Vec<Answer>) -> Result<(), QueueError>;

    /// Settles deliveries: they never come again.
    async fn acknowledge(&self, deliveries: &[DeliveryTag]) -> Result<(), QueueError>;

    /// Puts one update aside for a person to look at, durably, before its delivery is acknowledged.
    async fn dead_letter(&self, update: &ScoreUpdate, reason: &str) -> Result<(), QueueError>;

    /// Hands one update back to be received again after a wait that grows with every time, durably, before its delivery
    /// is acknowledged. `Ok(false)`: it has come round as often as it may, put it aside.
    async fn retry_later(&self, update: &ScoreUpdate, reason: &str) -> Result<bool, QueueError>;
}

/// Which actions were accepted with 202 and are not decided yet: what makes a receipt `pending` and not unknown.
/// A memory of convenience; whoever loses it answers 404 until the decision.
#[async_trait]
pub trait PendingMarks: Send + Sync {
    /// Remembers the action for a while (an hour).
    async fn mark(&self, update: &ScoreUpdate);

    /// The marked update's type and points.
    async fn find(&self, user: UserId, board: &BoardId, action: &ActionId) -> Option<ScoreUpdate>;
}
