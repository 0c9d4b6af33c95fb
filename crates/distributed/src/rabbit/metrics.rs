//! What the adapter measures.

use std::time::Duration;

use opentelemetry::metrics::{Counter, Gauge, Histogram};
use opentelemetry::{KeyValue, global};

use super::error::RabbitError;

const SECONDS: [f64; 13] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The kinds of [`RabbitError`] that a missing queue of ours shows itself by.
pub(super) const TOPOLOGY_NOTICED_BY: [&str; 2] = ["unroutable", "consumer_ended"];

const DEAD_LETTERED_BECAUSE: [&str; 3] = ["refused", "damaged_update", "damaged_message"];

/// Instruments of the RabbitMQ adapter.
pub(super) struct Metrics {
    connected: Gauge<u64>,
    blocked: Gauge<u64>,
    confirm_seconds: Histogram<f64>,
    message_updates: Histogram<u64>,
    submit_failures: Counter<u64>,
    dead_letters: Counter<u64>,
    postponed: Counter<u64>,
    topology_repairs: Counter<u64>,
    depth: Gauge<u64>,
    event_gaps: Counter<u64>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let meter = global::meter("scoreboard");
        let metrics = Self {
            connected: meter
                .u64_gauge("scoreboard_queue_connected")
                .with_description("Whether the connection to RabbitMQ is up, by its role")
                .build(),
            blocked: meter
                .u64_gauge("scoreboard_queue_blocked")
                .with_description("Whether RabbitMQ has blocked the connection (memory or disk alarm), by its role")
                .build(),
            confirm_seconds: meter
                .f64_histogram("scoreboard_queue_confirm_seconds")
                .with_description("Time from handing an update over to the broker's confirm")
                .with_boundaries(SECONDS.to_vec())
                .build(),
            message_updates: meter
                .u64_histogram("scoreboard_queue_message_updates")
                .with_description("Updates in a published message")
                .with_boundaries(vec![1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0])
                .build(),
            submit_failures: meter
                .u64_counter("scoreboard_queue_submit_failures")
                .with_description("Updates that were not taken, by what was wrong")
                .build(),
            dead_letters: meter
                .u64_counter("scoreboard_queue_dead_letters")
                .with_description("Messages set aside for a person, by why")
                .build(),
            topology_repairs: meter
                .u64_counter("scoreboard_queue_topology_repairs")
                .with_description("Times that a queue of ours was missing and was declared anew, by how it was noticed")
                .build(),
            depth: meter
                .u64_gauge("scoreboard_queue_messages")
                .with_description("Messages that wait in the queue of updates, not yet taken by a worker")
                .build(),
            postponed: meter
                .u64_counter("scoreboard_queue_postponed")
                .with_description("Updates that were handed back to be tried again later")
                .build(),
            event_gaps: meter
                .u64_counter("scoreboard_queue_event_gaps")
                .with_description("Times that events may have been missed, by why")
                .build(),
        };
        // There from the start: whoever is alarmed by a step from nothing to one would miss the first.
        for noticed_by in TOPOLOGY_NOTICED_BY {
            metrics.topology_repairs.add(0, &[KeyValue::new("noticed_by", noticed_by)]);
        }
        for why in DEAD_LETTERED_BECAUSE {
            metrics.dead_letters.add(0, &[KeyValue::new("why", why)]);
        }
        metrics
    }

    pub(super) fn connected(&self, role: &'static str, connected: bool) {
        self.connected.record(connected.into(), &[KeyValue::new("role", role)]);
    }

    pub(super) fn blocked(&self, role: &'static str, blocked: bool) {
        self.blocked.record(blocked.into(), &[KeyValue::new("role", role)]);
    }

    pub(super) fn confirmed(&self, took: Duration) {
        self.confirm_seconds.record(took.as_secs_f64(), &[]);
    }

    pub(super) fn published(&self, updates: usize) {
        self.message_updates.record(updates as u64, &[]);
    }

    pub(super) fn submit_failed(&self, error: &RabbitError) {
        self.submit_failures.add(1, &[KeyValue::new("kind", error.kind())]);
    }

    pub(super) fn dead_lettered(&self, why: &'static str) {
        self.dead_letters.add(1, &[KeyValue::new("why", why)]);
    }

    pub(super) fn topology_repaired(&self, noticed_by: &'static str) {
        self.topology_repairs.add(1, &[KeyValue::new("noticed_by", noticed_by)]);
    }

    pub(super) fn depth(&self, messages: u32) {
        self.depth.record(messages.into(), &[]);
    }

    pub(super) fn postponed(&self) {
        self.postponed.add(1, &[]);
    }

    pub(super) fn gap(&self, why: &'static str) {
        self.event_gaps.add(1, &[KeyValue::new("why", why)]);
    }
}
