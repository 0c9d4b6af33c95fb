//! From the update queue to everybody who wants to know: collects updates, commits them in one transaction, then
//! projects, publishes, answers and acknowledges, in that order.
//!
//! ```text
//! source ──▶ intake: ledger.apply_batch ──(one batch ahead)──▶ announcer: ranks, events, answers, acknowledge
//!                                                                  │ what failed, by version
//!                                                                  ▼
//!                                               projector: catches indexes up, announces again
//! ```
//!
//! What holds: a batch is acknowledged only after its commit, so that a worker that dies at any instant loses
//! nothing; the ledger knows its rows, so that a redelivery does nothing twice; every step after the commit is
//! bounded, and what it could not do is marked and repaired, so that a sick index or bus never stops the queue.

mod announcer;
mod batch;
mod catch_up;
mod committer;
mod in_hand;
mod metrics;
mod positions;
mod projector;
pub mod rebuild;
mod repairs;
mod settings;
mod suspicion;
mod worker;

pub use settings::{SuspicionSettings, WorkerPorts, WorkerSettings};
pub use worker::ScoreWorker;
