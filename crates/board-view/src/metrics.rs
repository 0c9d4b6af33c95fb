//! What the views tell of themselves.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

pub(crate) struct ViewMetrics {
    refills: Counter<u64>,
    failed_polls: Counter<u64>,
}

impl ViewMetrics {
    pub(crate) fn new() -> Self {
        let meter: Meter = opentelemetry::global::meter("scoreboard");
        Self {
            refills: meter
                .u64_counter("scoreboard_view_refills")
                .with_description("Views that were read from the truth, by reason: new, behind or epoch")
                .build(),
            failed_polls: meter
                .u64_counter("scoreboard_view_failed_polls")
                .with_description("Times that the truth's heads could not be read")
                .build(),
        }
    }

    pub(crate) fn refilled(&self, reason: &'static str) {
        self.refills.add(1, &[KeyValue::new("reason", reason)]);
    }

    pub(crate) fn poll_failed(&self) {
        self.failed_polls.add(1, &[]);
    }
}
