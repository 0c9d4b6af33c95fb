//! The worker on the embedded backend, with ports that fail, hang, lose and stop it at any step.

// Helpers of tests are not tests to the lint.
#![allow(clippy::unwrap_used)]

mod failures;
mod faults;
mod harness;
mod killed;
mod lingering;
mod projections;
mod source;
