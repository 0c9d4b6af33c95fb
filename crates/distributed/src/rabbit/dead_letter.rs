//! What a person must look at, set aside durably.

use std::sync::Arc;
use std::time::Duration;

use common::clock::Clock;
use common::score_update::{ScoreUpdate, TraceContext};
use lapin::BasicProperties;
use lapin::types::{FieldTable, ShortString};
use prost::Message as _;
use wire::v1;

use super::confirm_window::Outgoing;
use super::error::RabbitError;
use super::message::{self, Failures, Lasting, REASON_HEADER, UPDATES_TYPE};
use super::metrics::Metrics;
use super::publisher::Publisher;
use super::topology::{RETRY_WAITS_MS, default_exchange};

/// The longest reason; a driver's message can be anything.
const MAX_REASON_CHARS: usize = 1_000;

/// A quarter of an hour of waits; then a person must look.
const MAX_ATTEMPTS: u32 = 10;

/// Publishes to the dead-letter queue, and to those before it.
#[derive(Clone)]
pub(super) struct DeadLetters {
    pub(super) publisher: Publisher,
    pub(super) queue: ShortString,
    /// Where updates wait to be tried again, the shortest wait first.
    pub(super) retry: [ShortString; RETRY_WAITS_MS.len()],
    pub(super) clock: Arc<dyn Clock>,
    pub(super) patience: Duration,
    pub(super) metrics: Arc<Metrics>,
}

impl DeadLetters {
    /// One update, as a message of its own.
    pub(super) async fn put_update(
        &self,
        update: &ScoreUpdate,
        before: &Failures,
        reason: &str,
    ) -> Result<(), RabbitError> {
        let (body, headers) = (wire::encode_updates([update]), message::trace_headers(&update.trace));
        let id = update.submission.0.to_string();
        self.publish(&self.queue, Some(id), body, UPDATES_TYPE, headers, before, reason).await?;
        self.metrics.dead_lettered("refused");
        Ok(())
    }

    /// One update, to come again after its wait. `false`: it has come round as often as it may.
    pub(super) async fn postpone(
        &self,
        update: &ScoreUpdate,
        before: &Failures,
        reason: &str,
    ) -> Result<bool, RabbitError> {
        if before.attempts >= MAX_ATTEMPTS {
            return Ok(false);
        }
        let step = usize::try_from(before.attempts).unwrap_or(usize::MAX).min(self.retry.len() - 1);
        let (body, headers) = (wire::encode_updates([update]), message::trace_headers(&update.trace));
        self.publish(&self.retry[step], None, body, UPDATES_TYPE, headers, before, reason).await?;
        self.metrics.postponed();
        Ok(true)
    }

    /// One update that cannot be read, as a message of its own.
    pub(super) async fn put_damaged_update(
        &self,
        update: &v1::ScoreUpdate,
        original: &BasicProperties,
        reason: &str,
    ) -> Result<(), RabbitError> {
        let body = v1::ScoreUpdateBatch { updates: vec![update.clone()] }.encode_to_vec();
        // Its own trace, where it has one: the message's is that of its first update.
        let trace = update
            .trace
            .as_ref()
            .map(|trace| TraceContext { traceparent: trace.traceparent.clone(), tracestate: trace.tracestate.clone() });
        let headers = message::trace_headers(&trace.unwrap_or_default());
        self.publish(&self.queue, None, body, UPDATES_TYPE, headers, &Failures::of(original), reason).await?;
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
        let id = original.message_id().as_ref().map(ToString::to_string);
        self.publish(&self.queue, id, body, message_type, headers, &Failures::of(original), reason).await?;
        self.metrics.dead_lettered("damaged_message");
        Ok(())
    }

    /// `id`: what was set aside before under the same name, and not confirmed in time, is the same letter.
    #[allow(clippy::too_many_arguments, reason = "the parts of one message")]
    async fn publish(
        &self,
        queue: &ShortString,
        id: Option<String>,
        body: Vec<u8>,
        message_type: &str,
        mut headers: FieldTable,
        before: &Failures,
        reason: &str,
    ) -> Result<(), RabbitError> {
        let now = self.clock.now();
        let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
        message::put(&mut headers, REASON_HEADER, &reason);
        // One that was tried again and failed again keeps the time of its first failure.
        before.and_one(now).put(&mut headers);
        let mut properties = message::properties(message_type, Lasting::Persistent, now).with_headers(headers);
        if let Some(id) = id {
            properties = properties.with_message_id(id.into());
        }
        let outgoing =
            Outgoing { exchange: default_exchange(), routing_key: queue.clone(), mandatory: true, body, properties };
        self.publisher.publish(outgoing, self.patience).await
    }
}
