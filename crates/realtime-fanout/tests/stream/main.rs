//! The stream over real sockets, on the embedded backend.

// Helpers of tests are not tests to the lint.
#![allow(clippy::unwrap_used)]

mod curves;
mod deltas;
mod door;
mod event_source;
mod faulty_bus;
mod handshake;
mod lifecycle;
mod node;
mod screen;
mod server_sent_events;
mod slow_readers;
mod states;
mod tokens;
mod truth_with_faults;
mod watcher;
