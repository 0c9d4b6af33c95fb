//! The gateway's own instruments.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};

/// Counters and durations of the gateway.
pub(crate) struct GatewayMetrics {
    submissions: Counter<u64>,
    submit_duration: Histogram<f64>,
    reads: Counter<u64>,
}

impl GatewayMetrics {
    pub(crate) fn new() -> Self {
        let meter = opentelemetry::global::meter("scoreboard");
        Self {
            submissions: meter
                .u64_counter("scoreboard_submissions")
                .with_description("Score updates that passed every check before the queue, by result")
                .build(),
            submit_duration: meter
                .f64_histogram("scoreboard_submit_duration_seconds")
                .with_description("From publishing an update to its answer")
                .build(),
            reads: meter
                .u64_counter("scoreboard_reads")
                .with_description("Reads of boards, by what answered: memory, index or truth")
                .build(),
        }
    }

    pub(crate) fn submitted(&self, result: &'static str, seconds: f64) {
        self.submissions.add(1, &[KeyValue::new("result", result)]);
        self.submit_duration.record(seconds, &[]);
    }

    pub(crate) fn read(&self, what: &'static str, source: &'static str) {
        self.reads.add(1, &[KeyValue::new("read", what), KeyValue::new("source", source)]);
    }
}
