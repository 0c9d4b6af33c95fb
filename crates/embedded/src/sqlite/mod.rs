//! The truth in one SQLite file.
//!
//! One thread writes, with group commit ([`writer`]); a few connections read, each question in one snapshot
//! ([`readers`]). In WAL mode the two never wait for each other.

mod accounts;
mod audit;
mod boards;
mod columns;
mod connection;
mod dead_letters;
mod failure;
mod housekeeping;
mod issuer_keys;
mod ledger;
mod readers;
mod reviews;
mod schema;
mod store;
mod truth;
mod writer;

pub use dead_letters::{DeadLetter, SqliteDeadLetters};
pub use store::SqliteStore;
