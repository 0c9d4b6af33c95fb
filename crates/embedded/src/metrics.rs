//! What the embedded backend tells about itself.

use std::time::Duration;

use opentelemetry::global;
use opentelemetry::metrics::{Histogram, UpDownCounter};

/// The name under which every service of the product reports.
const METER: &str = "scoreboard";

/// The writer of the database.
pub(crate) struct WriterMetrics {
    commit_seconds: Histogram<f64>,
    group_jobs: Histogram<u64>,
}

impl WriterMetrics {
    pub(crate) fn new() -> Self {
        let meter = global::meter(METER);
        Self {
            commit_seconds: meter
                .f64_histogram("scoreboard_sqlite_commit_seconds")
                .with_unit("s")
                .with_description("Time from the begin of a group's transaction to the end of its commit")
                .build(),
            group_jobs: meter
                .u64_histogram("scoreboard_sqlite_group_jobs")
                .with_description("Jobs that shared one commit")
                .build(),
        }
    }

    pub(crate) fn committed(&self, took: Duration, jobs: usize) {
        self.commit_seconds.record(took.as_secs_f64(), &[]);
        self.group_jobs.record(jobs as u64, &[]);
    }
}

/// The update queue.
pub(crate) struct QueueMetrics {
    outstanding: UpDownCounter<i64>,
}

impl QueueMetrics {
    pub(crate) fn new() -> Self {
        let outstanding = global::meter(METER)
            .i64_up_down_counter("scoreboard_queue_outstanding_updates")
            .with_description("Updates that were accepted and are not settled")
            .build();
        Self { outstanding }
    }

    pub(crate) fn accepted(&self) {
        self.outstanding.add(1, &[]);
    }

    pub(crate) fn settled(&self, updates: usize) {
        self.outstanding.add(-i64::try_from(updates).unwrap_or(i64::MAX), &[]);
    }
}
