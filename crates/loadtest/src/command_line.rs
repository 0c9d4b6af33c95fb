//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::alone::{self, AloneArgs};
use crate::commands::broadcast::{self, BroadcastArgs, FloorWatchArgs};
use crate::commands::fill::{self, FillArgs};
use crate::commands::profile::{self, RunArgs};
use crate::commands::reads::{self, ReadsArgs};
use crate::commands::updates::{self, UpdatesArgs};
use crate::commands::watch::{self, WatchArgs};
use crate::failure::Failure;
use crate::floor::frame_server::{self, FrameServerArgs};
use crate::floor::postgres::{self, PostgresArgs};
use crate::floor::rabbit::{self, RabbitArgs};
use crate::floor::route::{self, RouteArgs};
use crate::report::Report;

/// Loads a Scoreboard, checks every answer and every frame, and measures what the machine could do at best.
///
/// Exit code 0: what was seen is right. 1: something is not, and the report says what. 69: a server does not answer.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version, max_term_width = 100)]
struct CommandLine {
    /// The report as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Writes the report as JSON to this file too
    #[arg(long, global = true)]
    json_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Opens many sockets and checks every frame
    Watch(WatchArgs),
    /// The fan-out and its floor in one run, and their ratio
    Broadcast(BroadcastArgs),
    /// Sends signed updates and checks that every point is accounted for
    Updates(UpdatesArgs),
    /// One update at a time, beside what a confirmed publish and a commit take by themselves
    Alone(AloneArgs),
    /// Reads as fast as the server answers, beside a bare route if wanted
    Reads(ReadsArgs),
    /// A standard mix of updates, reads and watchers
    Run(RunArgs),
    /// Fills a board with players, directly in the database, before servers start
    Fill(FillArgs),
    /// What the parts can do alone on this machine
    #[command(subcommand)]
    Floor(Floor),
    /// The server of `floor watch`
    #[command(hide = true)]
    ServeFrames(FrameServerArgs),
    /// The server of `reads --floor`
    #[command(hide = true)]
    ServeRoute(RouteArgs),
}

#[derive(Debug, Subcommand)]
enum Floor {
    /// A bare loop that writes the same frame to as many sockets
    Watch(FloorWatchArgs),
    /// Confirmed publishes to a quorum queue
    Rabbitmq(RabbitArgs),
    /// Commits of ledger rows and scores in batches
    Postgres(PostgresArgs),
}

/// Does what the command line says.
pub(crate) fn run() -> ExitCode {
    let line = CommandLine::parse();
    let ended = match line.command {
        Command::ServeFrames(args) => frame_server::serve(&args).map(|()| None),
        Command::ServeRoute(args) => route::serve(&args).map(|()| None),
        command => measure(command).map(Some),
    };
    match ended {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(report)) => {
            let mut code = if report.is_fine() { ExitCode::SUCCESS } else { ExitCode::from(1) };
            if let Some(path) = line.json_file
                && let Err(error) = std::fs::write(&path, format!("{}\n", report.as_json()))
            {
                eprintln!("error: {}: {error}", path.display());
                code = ExitCode::from(70);
            }
            report.print(line.json);
            code
        }
        Err(failure) => {
            eprintln!("error: {}", causes(&failure));
            failure.exit_code()
        }
    }
}

fn measure(command: Command) -> Result<Report, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::system("no runtime"))?;
    runtime.block_on(async {
        match command {
            Command::Watch(args) => watch::command(args).await,
            Command::Broadcast(args) => broadcast::broadcast(args).await,
            Command::Updates(args) => updates::command(args).await,
            Command::Alone(args) => alone::command(args).await,
            Command::Floor(Floor::Watch(args)) => broadcast::floor(args).await,
            Command::Floor(Floor::Rabbitmq(args)) => rabbit::command(args).await,
            Command::Floor(Floor::Postgres(args)) => postgres::command(args).await,
            Command::Reads(args) => reads::command(args).await,
            Command::Run(args) => profile::command(args).await,
            Command::Fill(args) => fill::command(args).await,
            Command::ServeFrames(_) | Command::ServeRoute(_) => {
                Err(Failure::Usage("a server is no measurement".to_owned()))
            }
        }
    })
}

/// A failure with what caused it.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        words = format!("{words}: {inner}");
        cause = inner.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::CommandLine::command().debug_assert();
    }
}
