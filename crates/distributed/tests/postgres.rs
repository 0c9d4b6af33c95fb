//! The PostgreSQL adapter against a real server, beyond the contract that every backend passes.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say in their names what must hold")]

#[path = "postgres/accounts.rs"]
mod accounts;
#[path = "postgres/database.rs"]
mod database;
#[path = "postgres/failures.rs"]
mod failures;
#[path = "postgres/races.rs"]
mod races;
#[path = "postgres/schema.rs"]
mod schema;
#[path = "postgres/speed.rs"]
mod speed;
#[path = "postgres/tombstones.rs"]
mod tombstones;
