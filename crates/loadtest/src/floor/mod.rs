//! What the parts can do alone on this machine, to compare with.

pub(crate) mod frame_server;
