//! The gateway's gRPC, called over a real socket; a real auth, worker and embedded backend stand behind it.

// Tests say what they expect by unwrapping.
#![allow(clippy::unwrap_used)]

mod admin;
mod refusals;
mod score;
mod support;
mod surface;
mod watch;
