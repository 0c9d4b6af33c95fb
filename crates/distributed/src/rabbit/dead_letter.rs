//! What a person must look at, set aside durably.

use std::sync::Arc;
use std::time::Duration;

use common::clock::Clock;
use common::score_update::ScoreUpdate;
use lapin::BasicProperties;
use lapin::types::{FieldTable, ShortString};

use super::confirm_window::Outgoing;
use super::error::RabbitError;
use super::message::{self, FIRST_FAILED_HEADER, Lasting, REASON_HEADER, UPDATES_TYPE};
use super::metrics::Metrics;
use super::publisher::Publisher;
use super::topology::default_exchange;

/// The longest reason; a driver's message can be anything.
const MAX_REASON_CHARS: usize = 1_000;

/// Publishes to the dead-letter queue.
#[derive(Clone)]
pub(super) struct DeadLetters {
    pub(super) publisher: Publisher,
    pub(super) queue: ShortString,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) patience: Duration,
    pub(super) metrics: Arc<Metrics>,
}

impl DeadLetters {
    /// One update, as a message of its own.
    pub(super) async fn put_update(&self, update: &ScoreUpdate, reason: &str) -> Result<(), RabbitError> {
        let headers = message::trace_headers(&update.trace);
        self.put(wire::encode_updates([update]), UPDATES_TYPE, headers, reason).await?;
        self.metrics.dead_lettered("refused");
        Ok(())
    }

    /// One update that cannot be read, as a message of its own.
    pub(super) async fn put_damaged_update(&self, body: Vec<u8>, reason: &str) -> Result<(), RabbitError> {
        self.put(body, UPDATES_TYPE, FieldTable::default(), reason).await?;
        self.metrics.dead_lettered("damaged_update");
        Ok(())
    }

    /// A message that cannot be read, byte for byte and with its headers.
    pub(super) async fn put_damaged_message(
        &self,
        body: Vec<u8>,
        original: &BasicProperties,
        reason: &str,
    ) -> Result<(), RabbitError> {
        let headers = original.headers().clone().unwrap_or_default();
        let message_type = original.kind().as_ref().map_or("", ShortString::as_str);
        self.put(body, message_type, headers, reason).await?;
        self.metrics.dead_lettered("damaged_message");
        Ok(())
    }

    async fn put(
        &self,
        body: Vec<u8>,
        message_type: &str,
        mut headers: FieldTable,
        reason: &str,
    ) -> Result<(), RabbitError> {
        let now = self.clock.now();
        let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
        message::put(&mut headers, REASON_HEADER, &reason);
        // One that was tried again and failed again keeps the time of its first failure.
        if !headers.contains_key(FIRST_FAILED_HEADER) {
            message::put(&mut headers, FIRST_FAILED_HEADER, &now.to_string());
        }
        let outgoing = Outgoing {
            exchange: default_exchange(),
            routing_key: self.queue.clone(),
            mandatory: true,
            body,
            properties: message::properties(message_type, Lasting::Persistent, now).with_headers(headers),
        };
        self.publisher.publish(outgoing, self.patience).await
    }
}
