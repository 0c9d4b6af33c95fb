//! What the product promises when things break, on servers of each test's own that are killed, stopped and starved.
//!
//! The long cases are ignored: `scripts/test-faults` runs them. Deadlines that the contract promises are asserted, speeds
//! are printed.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say in their names what must hold")]

#[allow(dead_code, reason = "shared with the end-to-end tests, which use more of it")]
#[path = "../end_to_end/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use more of it")]
#[path = "../end_to_end/deployment.rs"]
mod deployment;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use more of it")]
#[path = "../end_to_end/process.rs"]
mod process;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use more of it")]
#[path = "../end_to_end/servers.rs"]
mod servers;

mod damaged;
mod drained;
mod instance;
mod killed;
mod load;
mod outage;
mod partitioned;
mod rebuilt;
mod refused;
mod starved;
mod unbound;
