//! The whole product over real sockets, written once and run on every deployment.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say in their names what must hold")]

mod accounts;
mod client;
mod conservation;
mod crashes;
mod cross_origin;
mod deployment;
mod in_process;
mod issuers;
mod journey;
mod life;
mod operator;
mod process;
mod refusals;
mod repeats;
mod review;
mod servers;
mod traces;
mod watcher;
