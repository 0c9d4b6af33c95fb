//! Why the broker did not do what was asked.

use std::time::Duration;

use common::ports::QueueError;

/// A failure of the broker or of the way to it.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum RabbitError {
    #[error("not connected: {0}")]
    NotConnected(String),
    #[error("the broker has blocked the connection, because its memory or disk runs out")]
    Blocked,
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("no queue takes the message")]
    Unroutable,
    #[error("the broker refused the message")]
    Refused,
    #[error("{0} messages are waiting to be sent already")]
    Full(usize),
    #[error("{0} messages wait in the queue of updates")]
    Behind(u32, u64),
    #[error("the broker ended the consumer")]
    ConsumerEnded,
    #[error("{0}")]
    Driver(#[from] lapin::Error),
    #[error("closed")]
    Closed,
}

impl RabbitError {
    /// The connection went while something was under way on it.
    pub(super) fn lost() -> Self {
        Self::NotConnected("the connection was lost".to_owned())
    }

    /// The label in metrics.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::NotConnected(_) => "not_connected",
            Self::Blocked => "blocked",
            Self::TimedOut(_) => "timed_out",
            Self::Unroutable => "unroutable",
            Self::Refused => "refused",
            Self::Full(_) => "full",
            Self::Behind(..) => "behind",
            Self::ConsumerEnded => "consumer_ended",
            Self::Driver(_) => "driver",
            Self::Closed => "closed",
        }
    }

    /// As the ports know it.
    pub(super) fn at(self, queue: &'static str, operation: &'static str) -> QueueError {
        QueueError { queue, operation, source: Box::new(self) }
    }
}
