//! The stream over real sockets, on the embedded backend.

// Helpers of tests are not tests to the lint.
#![allow(clippy::unwrap_used)]

mod handshake;
mod lifecycle;
mod node;
mod slow_readers;
mod states;
mod truth_with_faults;
mod watcher;
