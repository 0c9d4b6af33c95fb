//! What tests of every crate share: the contract that each backend of a port passes, fixtures, a model to compare
//! with, a proxy that breaks connections, and waiting on conditions.
//!
//! A backend's test file is short: a function that makes the port's fixture, and one macro that expands into a
//! `#[tokio::test]` for each case of the contract.
//!
//! ```ignore
//! async fn fixture() -> testkit::contract::rank_index::Fixture {
//!     testkit::contract::rank_index::Fixture::new(Arc::new(MemoryRanks::new()))
//! }
//! testkit::rank_index_contract!(fixture);
//! ```

// This is test code that happens to be a library.
#![allow(clippy::unwrap_used)]

pub mod clock;
pub mod contract;
pub mod fixtures;
pub mod history;
pub mod model;
pub mod proxy;
pub mod sequences;
pub mod waiting;

/// Runs a case of a contract on a runtime of its own, with two threads so that tasks truly race.
///
/// # Panics
/// When the case panics, or takes longer than two minutes.
#[doc(hidden)]
pub fn run_case(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(waiting::within(std::time::Duration::from_secs(120), "the case to end", case));
    // Background tasks of the backend (connections, consumers) are not waited for.
    runtime.shutdown_background();
}
