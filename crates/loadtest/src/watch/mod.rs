//! `loadtest watch`: thousands of sockets, every frame checked.

pub(crate) mod arrivals;
mod backoff;
pub(crate) mod beside;
mod engine;
mod findings;
mod known_frames;
pub(crate) mod plan;
pub(crate) mod run;
mod server_side;
mod socket;
pub(crate) mod summary;
