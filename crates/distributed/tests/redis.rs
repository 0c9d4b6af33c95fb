//! The Redis adapter against a real server: the contract that every backend passes, and what is Redis' own.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests say in their names what must hold")]

#[path = "redis/contracts.rs"]
mod contracts;
#[path = "redis/fill.rs"]
mod fill;
#[path = "redis/forgetting.rs"]
mod forgetting;
#[path = "redis/keys.rs"]
mod keys;
#[path = "redis/names.rs"]
mod names;
#[path = "redis/outages.rs"]
mod outages;
#[path = "redis/rebuilding.rs"]
mod rebuilding;
#[path = "redis/server.rs"]
mod server;
#[path = "redis/speed.rs"]
mod speed;
