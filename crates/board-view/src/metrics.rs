//! The instruments of views.

use common::ids::BoardId;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram};

use crate::follower::Reason;

pub(crate) struct Metrics {
    refills: Counter<u64>,
    mismatches: Counter<u64>,
    lag_versions: Gauge<u64>,
    pub(crate) lag_seconds: Histogram<f64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = opentelemetry::global::meter("scoreboard");
        Self {
            refills: meter
                .u64_counter("scoreboard_view_refills")
                .with_description("Reads of a board's top from the truth, by reason")
                .build(),
            mismatches: meter
                .u64_counter("scoreboard_view_mismatches")
                .with_description("Self-checks that found a view to differ from the truth at the same version")
                .build(),
            lag_versions: meter
                .u64_gauge("scoreboard_view_lag_versions")
                .with_description("Versions that a view was behind the truth when last compared")
                .build(),
            lag_seconds: meter
                .f64_histogram("scoreboard_view_lag_seconds")
                .with_description(
                    "From a change's decision to its place in this node's view, for changes that came by event",
                )
                .build(),
        }
    }

    pub(crate) fn refilled(&self, reason: Reason) {
        self.refills.add(1, &[KeyValue::new("reason", reason.as_str())]);
    }

    pub(crate) fn mismatched(&self, board: &BoardId) {
        self.mismatches.add(1, &[KeyValue::new("board", board.to_string())]);
    }

    pub(crate) fn lag_observed(&self, board: &BoardId, versions: u64) {
        self.lag_versions.record(versions, &[KeyValue::new("board", board.to_string())]);
    }
}
