//! The stream's instruments.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, UpDownCounter};

/// What was sent, as `event` label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    Snapshot,
    Update,
    Delta,
    Me,
    Curve,
    Heartbeat,
    Stale,
    Bye,
}

impl Sent {
    pub(crate) const ALL: [Self; 8] =
        [Self::Snapshot, Self::Update, Self::Delta, Self::Me, Self::Curve, Self::Heartbeat, Self::Stale, Self::Bye];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Update => "update",
            Self::Delta => "delta",
            Self::Me => "me",
            Self::Curve => "curve",
            Self::Heartbeat => "heartbeat",
            Self::Stale => "stale",
            Self::Bye => "bye",
        }
    }
}

pub(crate) struct Metrics {
    pub(crate) sockets: UpDownCounter<i64>,
    frames: Counter<u64>,
    pub(crate) bytes: Counter<u64>,
    pub(crate) conflated: Counter<u64>,
    pub(crate) evicted: Counter<u64>,
    pub(crate) behind: UpDownCounter<i64>,
    pub(crate) tick_seconds: Histogram<f64>,
    pub(crate) tick_interval_seconds: Gauge<f64>,
    pub(crate) submit_to_frame_seconds: Histogram<f64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = opentelemetry::global::meter("scoreboard");
        let sockets = meter
            .i64_up_down_counter("scoreboard_stream_sockets")
            .with_description("Open sockets on this node")
            .build();
        // There from the start: no sockets is a figure too.
        sockets.add(0, &[]);
        Self {
            sockets,
            frames: meter
                .u64_counter("scoreboard_stream_frames")
                .with_description("Frames given to connections, by event")
                .build(),
            bytes: meter
                .u64_counter("scoreboard_stream_bytes")
                .with_description("Bytes of frames given to connections")
                .build(),
            conflated: meter
                .u64_counter("scoreboard_stream_conflated")
                .with_description("Frames that skip states, given to readers that were too slow for each")
                .build(),
            evicted: meter
                .u64_counter("scoreboard_stream_evicted")
                .with_description("Connections that ended while their reader had made no progress")
                .build(),
            behind: meter
                .i64_up_down_counter("scoreboard_stream_behind")
                .with_description(
                    "Sockets that had not taken the newest frame when their thread had asked each of them",
                )
                .build(),
            tick_seconds: meter
                .f64_histogram("scoreboard_stream_tick_seconds")
                .with_description("From a frame's arrival on a thread to the last of its sockets that was given it")
                .build(),
            tick_interval_seconds: meter
                .f64_gauge("scoreboard_stream_tick_interval_seconds")
                .with_description("The shortest time between two frames of a board now")
                .build(),
            submit_to_frame_seconds: meter
                .f64_histogram("scoreboard_submit_to_frame_seconds")
                .with_description("From the newest change's decision to its frame")
                .build(),
        }
    }

    pub(crate) fn frames_sent(&self, event: Sent, count: u64) {
        self.frames.add(count, &[KeyValue::new("event", event.as_str())]);
    }
}
