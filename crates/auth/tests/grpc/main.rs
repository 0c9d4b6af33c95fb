//! Auth from outside: over a real socket, on the embedded store, with the clock in the test's hand.

#![allow(clippy::unwrap_used)] // helpers of tests are tests, too

mod own_sessions;
mod remote_authority;
mod rotation;
mod sessions;
mod signing;
mod support;
mod surface;
mod tokens;
