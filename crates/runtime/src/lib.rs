//! What every process of ours needs around its services: settings, telemetry, lifecycle, the admin listener.
//!
//! Knows the process and the domain's ports, never a backend.

pub mod access_token;
pub mod admin;
mod allocator;
pub mod backoff;
pub mod clock;
pub mod exit;
pub mod failpoint;
pub mod first_reading;
pub mod housekeeping;
pub mod lifecycle;
mod log_format;
pub mod mailbox;
pub mod memory_guard;
pub mod new_issuer_key;
pub mod process;
pub mod queue_age;
pub mod rate_buckets;
pub mod secrets;
pub mod settings;
pub mod telemetry;
pub mod token_gate;
