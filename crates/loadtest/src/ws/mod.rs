//! The WebSocket protocol (RFC 6455) as far as a watcher needs it, without a buffer per socket.

pub(crate) mod frames;
pub(crate) mod handshake;
