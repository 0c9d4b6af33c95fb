//! The worker's instruments.

use common::error_code::ErrorCode;
use common::ids::BoardId;
use common::receipt::{Outcome, ReceiptStatus};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram};

/// A queue that nobody empties gets old: up to an hour, seconds.
const AGES: [f64; 14] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 3_600.0];

/// Created once per worker; instruments of the same name are shared by the meter.
pub(crate) struct Metrics {
    updates: Counter<u64>,
    pub(crate) batch_size: Histogram<u64>,
    pub(crate) apply_seconds: Histogram<f64>,
    pub(crate) queue_age_seconds: Histogram<f64>,
    pub(crate) projection_lag_seconds: Histogram<f64>,
    projection_lag_versions: Gauge<u64>,
    step_failures: Counter<u64>,
    repairs: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = opentelemetry::global::meter("scoreboard");
        Self {
            updates: meter
                .u64_counter("scoreboard_updates")
                .with_description(
                    "Updates decided, by result: applied, replayed, quarantined, dead_lettered or the code of a refusal",
                )
                .build(),
            batch_size: meter
                .u64_histogram("scoreboard_batch_size")
                .with_description("Updates in one transaction")
                .build(),
            apply_seconds: meter
                .f64_histogram("scoreboard_apply_duration_seconds")
                .with_description("From a batch in hand to its commit, waits for the database included")
                .build(),
            queue_age_seconds: meter
                .f64_histogram("scoreboard_queue_age_seconds")
                .with_description("From an update's acceptance by the gateway to a worker's hand")
                .with_boundaries(AGES.to_vec())
                .build(),
            projection_lag_seconds: meter
                .f64_histogram("scoreboard_projection_lag_seconds")
                .with_description("From a change's decision to its place in the rank index")
                .build(),
            projection_lag_versions: meter
                .u64_gauge("scoreboard_projection_lag_versions")
                .with_description("Versions that the rank index was behind the truth when last compared")
                .build(),
            step_failures: meter
                .u64_counter("scoreboard_after_commit_failures")
                .with_description("Steps after a commit that failed or took too long, by step")
                .build(),
            repairs: meter
                .u64_counter("scoreboard_repairs")
                .with_description("Repairs of boards, by kind (page, fill, announce) and result")
                .build(),
        }
    }

    pub(crate) fn updates_decided(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            self.updates.add(1, &[KeyValue::new("result", result_of(outcome))]);
        }
    }

    pub(crate) fn lag_observed(&self, board: &BoardId, versions: u64) {
        self.projection_lag_versions.record(versions, &[KeyValue::new("board", board.to_string())]);
    }

    pub(crate) fn step_failed(&self, step: &'static str) {
        self.step_failures.add(1, &[KeyValue::new("step", step)]);
    }

    pub(crate) fn repaired(&self, kind: &'static str, result: &'static str) {
        self.repairs.add(1, &[KeyValue::new("kind", kind), KeyValue::new("result", result)]);
    }
}

fn result_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Applied { replayed: false, .. } => "applied",
        Outcome::Applied { replayed: true, .. } => "replayed",
        Outcome::Rejected { receipt, .. } => match receipt.status {
            // The ledger never answers so; it stands for an update that was put aside.
            ReceiptStatus::Rejected(ErrorCode::Internal) => "dead_lettered",
            ReceiptStatus::Rejected(code) => code.as_str(),
            ReceiptStatus::Applied | ReceiptStatus::Pending => "rejected",
        },
        Outcome::DuplicateAction { .. } => "duplicate_action",
        Outcome::KeyReused => "idempotency_key_reused",
        Outcome::Quarantined { .. } => "quarantined",
    }
}
