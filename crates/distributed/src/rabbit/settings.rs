//! Where the broker is and how patient we are with it.

use std::fmt;
use std::time::Duration;

use lapin::uri::AMQPUri;

/// Seconds. With the default of 60 s a dead peer would go unnoticed for 120 s.
const HEARTBEAT_SECONDS: u16 = 10;

/// About 100 MB on the broker, and more than an outage of an hour at some tens of updates a second.
const MAX_QUEUED: u32 = 100_000;

/// The longest prefix: names of queues are at most 255 bytes on the wire.
const MAX_PREFIX_BYTES: usize = 100;

/// The URL of the broker cannot be used. Does not show it: it holds a password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("must be an AMQP URL such as amqp://user:password@host:5672/%2f")]
pub struct RabbitUrlError;

/// Settings of a [`super::Rabbit`]. Its `Debug` shows neither user nor password.
#[derive(Clone)]
pub struct RabbitSettings {
    pub(super) uri: AMQPUri,
    pub(super) process: String,
    pub(super) name_prefix: String,
    pub(super) prefetch: u16,
    pub(super) confirm_timeout: Duration,
    pub(super) max_queued: u32,
}

impl RabbitSettings {
    /// The usual patience: 200 unsettled messages, 1.8 s for a confirm (so that the whole answer of a request stays
    /// within 2 s), a heartbeat of 10 s unless the URL says otherwise. `process` is how the broker's lists name our
    /// connections.
    ///
    /// # Errors
    /// [`RabbitUrlError`] when the URL is malformed.
    pub fn new(url: &str, process: impl Into<String>) -> Result<Self, RabbitUrlError> {
        let mut uri: AMQPUri = url.parse().map_err(|_| RabbitUrlError)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        Ok(Self {
            uri,
            process: process.into(),
            name_prefix: String::new(),
            prefetch: 200,
            confirm_timeout: Duration::from_millis(1_800),
            max_queued: MAX_QUEUED,
        })
    }

    /// Puts `prefix` before the name of every queue and exchange, so that several scoreboards (or tests) can share a
    /// broker. Cut to 100 bytes.
    #[must_use]
    pub fn with_name_prefix(mut self, prefix: &str) -> Self {
        let end = prefix.floor_char_boundary(MAX_PREFIX_BYTES);
        self.name_prefix = prefix[..end].to_owned();
        self
    }

    /// The most messages that are taken from the queue and not yet settled; at least 1 (0 would mean unlimited).
    #[must_use]
    pub fn with_prefetch(mut self, messages: u16) -> Self {
        self.prefetch = messages.max(1);
        self
    }

    /// The most messages that may wait in the queue of updates (100,000 unless set); above it gateways take no more.
    #[must_use]
    pub const fn with_max_queued(mut self, messages: u32) -> Self {
        self.max_queued = messages;
        self
    }

    /// How long a submission waits for the broker's confirm.
    #[must_use]
    pub const fn with_confirm_timeout(mut self, timeout: Duration) -> Self {
        self.confirm_timeout = timeout;
        self
    }
}

impl fmt::Debug for RabbitSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = &self.uri.authority;
        f.debug_struct("RabbitSettings")
            .field("server", &format_args!("{}:{}", authority.host, authority.port))
            .field("vhost", &self.uri.vhost)
            .field("process", &self.process)
            .field("name_prefix", &self.name_prefix)
            .field("prefetch", &self.prefetch)
            .field("confirm_timeout", &self.confirm_timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let settings = RabbitSettings::new("amqp://mia:geheim@broker:5673/%2f", "gateway").unwrap();
        let shown = format!("{settings:?}");
        assert!(shown.contains("broker:5673"), "{shown}");
        assert!(!shown.contains("geheim") && !shown.contains("mia"), "{shown}");
        let error = RabbitSettings::new("amqp//mia:geheim@broker", "gateway").unwrap_err();
        assert!(!error.to_string().contains("geheim"));
    }

    #[test]
    fn the_heartbeat_is_ten_seconds_unless_the_url_says_otherwise() {
        let heartbeat = |url| RabbitSettings::new(url, "gateway").unwrap().uri.query.heartbeat;
        assert_eq!(heartbeat("amqp://broker/%2f"), Some(10));
        assert_eq!(heartbeat("amqp://broker/%2f?heartbeat=3"), Some(3));
    }
}
