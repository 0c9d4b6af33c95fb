//! Signed updates: who sends them, when, and what was promised.

pub(crate) mod conservation;
pub(crate) mod load;
pub(crate) mod players;
pub(crate) mod promises;
pub(crate) mod schedule;
pub(crate) mod signing;
