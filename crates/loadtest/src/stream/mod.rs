//! The live stream as a client sees it: events, and the rows that they lead to.

pub(crate) mod events;
pub(crate) mod screen;
