//! What auth counts and measures.

use std::time::Duration;

use common::error_code::{ErrorCode, Refusal};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};

/// How a login, registration or refresh ended; the label `result`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    Ok,
    /// By the caller's fault.
    Refused,
    /// A refresh token of the past: a session was ended.
    Reused,
    /// A store is away, or too many passwords wait to be hashed.
    Unavailable,
    /// We are at fault.
    Failed,
}

impl Ended {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Reused => "reused",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }
}

impl<T> From<&Result<T, Refusal>> for Ended {
    fn from(result: &Result<T, Refusal>) -> Self {
        match result.as_ref().map_err(|refusal| refusal.code) {
            Ok(_) => Self::Ok,
            Err(ErrorCode::RefreshTokenReused) => Self::Reused,
            Err(ErrorCode::Unavailable) => Self::Unavailable,
            Err(ErrorCode::Internal) => Self::Failed,
            Err(_) => Self::Refused,
        }
    }
}

/// The instruments of a process.
#[derive(Clone)]
pub(crate) struct Metrics {
    registrations: Counter<u64>,
    logins: Counter<u64>,
    refreshes: Counter<u64>,
    announcements: Counter<u64>,
    password_hash: Histogram<f64>,
    password_queue_full: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = opentelemetry::global::meter("scoreboard");
        let counter = |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
        Self {
            registrations: counter("scoreboard_registrations", "Registrations by result"),
            logins: counter("scoreboard_logins", "Logins by result"),
            refreshes: counter("scoreboard_refreshes", "Exchanges of refresh tokens by result"),
            announcements: counter("scoreboard_revocation_announcements", "Events about ended sessions by result"),
            password_queue_full: counter(
                "scoreboard_password_queue_refusals",
                "Passwords that were not hashed because too many waited",
            ),
            password_hash: meter
                .f64_histogram("scoreboard_password_hash_seconds")
                .with_description("Time to hash one password, without the wait for a turn")
                .with_unit("s")
                .with_boundaries(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5])
                .build(),
        }
    }

    pub(crate) fn registration(&self, ended: Ended) {
        self.registrations.add(1, &[KeyValue::new("result", ended.as_str())]);
    }

    pub(crate) fn login(&self, ended: Ended) {
        self.logins.add(1, &[KeyValue::new("result", ended.as_str())]);
    }

    pub(crate) fn refresh(&self, ended: Ended) {
        self.refreshes.add(1, &[KeyValue::new("result", ended.as_str())]);
    }

    pub(crate) fn announcement(&self, ended: Ended) {
        self.announcements.add(1, &[KeyValue::new("result", ended.as_str())]);
    }

    pub(crate) fn password_hash(&self, took: Duration) {
        self.password_hash.record(took.as_secs_f64(), &[]);
    }

    pub(crate) fn password_queue_full(&self) {
        self.password_queue_full.add(1, &[]);
    }
}
