//! The whole product over real sockets, written once and run on every deployment.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say in their names what must hold")]

mod accounts;
mod backpressure;
mod batching;
mod callers;
mod canned_node;
mod client;
mod conservation;
mod crashes;
mod cross_origin;
mod deployment;
mod in_process;
mod issuers;
mod journey;
mod ledger;
mod life;
mod operator;
mod process;
mod proofs;
mod rates;
mod raw_http;
mod refusals;
mod repeats;
mod review;
mod security_events;
mod servers;
mod sse_reader;
mod stolen_secrets;
mod streams;
mod token_mint;
mod traces;
mod verify;
mod watcher;
