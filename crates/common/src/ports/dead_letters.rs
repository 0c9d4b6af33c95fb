//! What was put aside for a person to look at, as the operator works on it.

use async_trait::async_trait;

use super::QueueError;
use crate::clock::Timestamp;
use crate::score_update::ScoreUpdate;

/// What a dead letter holds.
#[derive(Clone, Debug, PartialEq)]
pub enum DeadContent {
    /// An update that can be read.
    Update(Box<ScoreUpdate>),
    /// Bytes that nobody can read, or that hold something damaged.
    Damaged {
        /// What the message says that it is.
        message_type: String,
        /// Its body, byte for byte.
        body: Vec<u8>,
    },
}

/// Something that was put aside.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// Names it among the dead letters.
    pub id: String,
    /// Why it is here.
    pub reason: String,
    /// When it failed first, if it says so.
    pub first_failed_at: Option<Timestamp>,
    /// How often it was tried.
    pub attempts: u32,
    /// The trace of the request that it came from; empty when unknown.
    pub traceparent: String,
    /// What it is.
    pub content: DeadContent,
}

/// The dead letters of a backend. Whoever lists them holds them for that moment: two operators at once see parts.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Up to `limit` letters, oldest first as far as the backend keeps the order of those that were looked at and given
    /// back.
    ///
    /// # Errors
    /// [`QueueError`].
    async fn list(&self, limit: usize) -> Result<Vec<DeadLetter>, QueueError>;

    /// One letter.
    ///
    /// # Errors
    /// [`QueueError`].
    async fn find(&self, id: &str) -> Result<Option<DeadLetter>, QueueError>;

    /// Gives letters to the worker again, as new acceptances: the refusal of the one before stays on record and does not
    /// decide this one. Returns those that were found.
    ///
    /// # Errors
    /// [`QueueError`]; those that were not given again are still there then.
    async fn retry(&self, ids: &[String]) -> Result<Vec<String>, QueueError>;

    /// Throws letters away for good. Returns those that were found.
    ///
    /// # Errors
    /// [`QueueError`]; those that were not thrown away are still there then.
    async fn discard(&self, ids: &[String]) -> Result<Vec<String>, QueueError>;
}
