//! The properties and headers of our messages.

use common::clock::Timestamp;
use common::score_update::TraceContext;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use uuid::Uuid;

/// All bodies are protobuf; the type names the message.
const CONTENT_TYPE: &str = "application/x-protobuf";

pub(super) const UPDATES_TYPE: &str = "scoreboard.v1.ScoreUpdateBatch";
pub(super) const ANSWERS_TYPE: &str = "scoreboard.v1.AnswerBatch";
pub(super) const EVENT_TYPE: &str = "scoreboard.v1.Event";

/// Why a message is in the dead-letter queue, for a person.
pub(super) const REASON_HEADER: &str = "scoreboard-reason";
/// When it first failed: RFC 3339.
pub(super) const FIRST_FAILED_HEADER: &str = "scoreboard-first-failed-at";

/// How often it was tried.
pub(super) const ATTEMPTS_HEADER: &str = "scoreboard-attempts";

/// What a message says of its earlier failures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Failures {
    /// How often it was tried in vain.
    pub(super) attempts: u32,
    /// When it failed first.
    pub(super) first_at: Option<Timestamp>,
}

impl Failures {
    /// As the headers say; none where they say nothing.
    pub(super) fn of(properties: &BasicProperties) -> Self {
        let Some(headers) = properties.headers() else { return Self::default() };
        let attempts = match headers.inner().get(ATTEMPTS_HEADER) {
            Some(AMQPValue::LongUInt(attempts)) => *attempts,
            Some(AMQPValue::LongInt(attempts)) => u32::try_from(*attempts).unwrap_or(0),
            Some(AMQPValue::LongLongInt(attempts)) => u32::try_from(*attempts).unwrap_or(0),
            _ => 0,
        };
        let first_at = text(headers, FIRST_FAILED_HEADER).and_then(|at| Timestamp::parse_rfc3339(&at).ok());
        Self { attempts, first_at }
    }

    /// One more, now.
    pub(super) fn and_one(&self, now: Timestamp) -> Self {
        Self { attempts: self.attempts.saturating_add(1), first_at: self.first_at.or(Some(now)) }
    }

    /// Writes the headers.
    pub(super) fn put(&self, headers: &mut FieldTable) {
        headers.insert(ShortString::from(ATTEMPTS_HEADER), AMQPValue::LongUInt(self.attempts));
        if let Some(at) = self.first_at {
            put(headers, FIRST_FAILED_HEADER, &at.to_string());
        }
    }
}

/// A header that is a text.
pub(super) fn text(headers: &FieldTable, name: &str) -> Option<String> {
    headers.inner().get(name)?.as_long_string().map(ToString::to_string)
}

/// AMQP's delivery modes.
#[derive(Clone, Copy)]
pub(super) enum Lasting {
    /// Gone with the broker.
    Transient = 1,
    /// On disk before it is confirmed.
    Persistent = 2,
}

/// Properties with an id of its own for every message.
pub(super) fn properties(message_type: &str, lasting: Lasting, now: Timestamp) -> BasicProperties {
    let seconds = u64::try_from(now.as_millis() / 1_000).unwrap_or(0);
    BasicProperties::default()
        .with_content_type(CONTENT_TYPE.into())
        .with_type(message_type.into())
        .with_delivery_mode(lasting as u8)
        .with_message_id(Uuid::new_v4().to_string().into())
        .with_timestamp(seconds)
}

/// The type that a message says it is.
pub(super) fn has_type(properties: &BasicProperties, message_type: &str) -> bool {
    properties.kind().as_ref().is_some_and(|kind| kind.as_str() == message_type)
}

/// Headers that let tools which know nothing of the body follow the trace.
pub(super) fn trace_headers(trace: &TraceContext) -> FieldTable {
    let mut headers = FieldTable::default();
    for (name, value) in [("traceparent", &trace.traceparent), ("tracestate", &trace.tracestate)] {
        if !value.is_empty() {
            put(&mut headers, name, value);
        }
    }
    headers
}

pub(super) fn put(headers: &mut FieldTable, name: &str, value: &str) {
    headers.insert(ShortString::from(name), AMQPValue::LongString(value.into()));
}
