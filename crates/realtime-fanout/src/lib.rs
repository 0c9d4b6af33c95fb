//! The live stream: every board's newest visible state at every screen, cheaply.
//!
//! ```text
//! board-view ──watch──▶ group (board, limit): frames, encoded once ──watch──▶ hub (one per worker thread)
//!                                                                              │ wakes its sockets, no locks
//!                                                                              ▼
//!                                                  socket: the version it has seen, and the newest frames
//! ```
//!
//! A socket has no queue. Its response body is asked for bytes when the connection can take some, and gives the one
//! frame that leads from what the socket has seen to the newest state; a slow reader skips the states between. That is
//! why this is a body of our own and not a session with a channel per socket: nothing stale can pile up in front of a
//! reader, and a tick costs one wake across threads. What the kernel holds for a reader is bounded by
//! [`tune_listener`], which also lets it end connections that make no progress.

mod app;
mod curve;
mod encoding;
mod frames;
mod group;
mod handshake;
mod hub;
mod inbound;
mod list_ops;
mod listener;
mod metrics;
mod own_changes;
mod pace;
mod private_stream;
mod reader;
mod settings;
mod sockets;
mod state;
mod stream_body;

pub use app::{FanoutApp, FanoutError};
pub use handshake::configure;
pub use listener::tune_listener;
pub use settings::FanoutSettings;
pub use state::{FanoutPorts, FanoutState};
