//! `loadtest watch`: thousands of sockets, every frame checked.

pub(crate) mod arrivals;
pub(crate) mod beside;
mod engine;
mod findings;
mod known_frames;
pub(crate) mod plan;
pub(crate) mod run;
mod server_side;
mod socket;
mod stalled_readers;
pub(crate) mod summary;
