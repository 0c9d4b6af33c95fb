//! What the adapter measures.

use std::time::Duration;

use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::{KeyValue, global};

/// Instruments of the Redis adapter.
pub(super) struct Metrics {
    exchange_seconds: Histogram<f64>,
    profile_hits: Counter<u64>,
    profile_misses: Counter<u64>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let meter = global::meter("scoreboard");
        Self {
            exchange_seconds: meter
                .f64_histogram("scoreboard_redis_exchange_seconds")
                .with_description("Time of one exchange with Redis, by operation and whether it succeeded")
                .with_boundaries(vec![0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 2.0])
                .build(),
            profile_hits: meter
                .u64_counter("scoreboard_profile_cache_hits")
                .with_description("Usernames that Redis knew")
                .build(),
            profile_misses: meter
                .u64_counter("scoreboard_profile_cache_misses")
                .with_description("Usernames that had to be read from the database")
                .build(),
        }
    }

    pub(super) fn exchanged(&self, operation: &'static str, succeeded: bool, took: Duration) {
        let labels = [KeyValue::new("operation", operation), KeyValue::new("succeeded", succeeded)];
        self.exchange_seconds.record(took.as_secs_f64(), &labels);
    }

    pub(super) fn profiles_looked_up(&self, hits: usize, misses: usize) {
        self.profile_hits.add(hits as u64, &[]);
        self.profile_misses.add(misses as u64, &[]);
    }
}
