//! The load generator: what Scoreboard does under load, and what the machine could do at best, measured in one run.
//!
//! It talks to the product from outside only (HTTP, WebSocket) and to PostgreSQL, Redis and RabbitMQ for the floors and
//! for checking; it shares no code with what it checks.

mod command_line;
mod commands;
mod failure;
mod floor;
mod http;
mod percentiles;
mod process_figures;
mod progress;
mod reads;
mod report;
mod stream;
mod target;
mod updates;
mod wall_clock;
mod watch;
mod ws;

use std::process::ExitCode;

fn main() -> ExitCode {
    command_line::run()
}
