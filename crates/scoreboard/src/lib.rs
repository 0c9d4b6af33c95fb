//! The composition root: all four services in one process, on embedded or distributed backends, and the operator's
//! command line. The one place that chooses what stands behind the ports.

mod api_client;
mod app;
mod backends;
pub mod command_line;
mod commands;
mod demo;
mod greeting;
mod operator;
mod output;
mod private_file;
mod secrets;
mod verification;

pub use app::{Addresses, ScoreboardApp};
pub use backends::Backends;
pub use secrets::Secrets;
