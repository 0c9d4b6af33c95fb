//! What the adapter measures.

use std::time::Duration;

use common::ports::StoreError;
use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::{KeyValue, global};

/// Instruments of the PostgreSQL adapter.
pub(super) struct Metrics {
    batch_seconds: Histogram<f64>,
    batch_updates: Histogram<u64>,
    conflicts: Counter<u64>,
    errors: Counter<u64>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let meter = global::meter("scoreboard");
        Self {
            batch_seconds: meter
                .f64_histogram("scoreboard_database_batch_seconds")
                .with_description("Time from asking for a connection to the answer to COMMIT, per batch of updates")
                .with_boundaries(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0])
                .build(),
            batch_updates: meter
                .u64_histogram("scoreboard_database_batch_updates")
                .with_description("Updates in a committed batch")
                .with_boundaries(vec![1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0])
                .build(),
            conflicts: meter
                .u64_counter("scoreboard_database_batch_conflicts")
                .with_description("Batches that lost a race and were decided again")
                .build(),
            errors: meter
                .u64_counter("scoreboard_database_errors")
                .with_description("Failed exchanges with the database, by what the caller can do")
                .build(),
        }
    }

    pub(super) fn committed(&self, updates: usize, took: Duration) {
        self.batch_seconds.record(took.as_secs_f64(), &[]);
        self.batch_updates.record(updates as u64, &[]);
    }

    pub(super) fn conflicted(&self) {
        self.conflicts.add(1, &[]);
    }

    /// Counts an error on its way to the caller.
    pub(super) fn failed(&self, error: &StoreError) {
        let kind = match error {
            StoreError::Unavailable { .. } => "unavailable",
            StoreError::Conflict { .. } => "conflict",
            StoreError::Refused { .. } => "refused",
        };
        self.errors.add(1, &[KeyValue::new("kind", kind)]);
    }
}
