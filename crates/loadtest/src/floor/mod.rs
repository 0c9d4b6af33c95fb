//! What the parts can do alone on this machine, to compare with.

pub(crate) mod frame_server;
pub(crate) mod postgres;
pub(crate) mod rabbit;
pub(crate) mod route;
