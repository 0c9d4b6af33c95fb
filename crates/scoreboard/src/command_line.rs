//! The command line: what can be said, and who does it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use runtime::exit::{Exit, Failure};
use runtime::process::{self, SettingsArgs};
use runtime::settings::{Log, Service};
use runtime::telemetry::Telemetry;

use crate::commands;
use crate::commands::audit::AuditArgs;
use crate::commands::board::BoardCommand;
use crate::commands::caller_key::CallerKeyCommand;
use crate::commands::dead_letters::DeadLettersCommand;
use crate::commands::issuer_key::IssuerKeyCommand;
use crate::commands::review::ReviewCommand;
use crate::output::Output;

/// A live leaderboard service: one update counts once, and everybody who watches sees it at once.
///
/// Without a command it serves: all four services in one process, on SQLite and memory, or, where the URLs of
/// PostgreSQL, Redis and RabbitMQ are set, on those.
#[derive(Debug, Parser)]
#[command(name = "scoreboard", version, max_term_width = 100)]
struct CommandLine {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Results and errors as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs everything in one process (the default)
    Serve(ServeArgs),
    /// Brings the database's schema up to date
    Migrate,
    /// Shows the settings as they came out, and checks them
    CheckConfig(CheckConfigArgs),
    /// Secrets of our own
    #[command(subcommand)]
    Key(KeyCommand),
    /// Players' accounts
    #[command(subcommand)]
    User(UserCommand),
    /// Boards, and what players can do on them
    #[command(subcommand)]
    Board(BoardCommand),
    /// What the ledger tells of a user or of an action, in the order of time
    Audit(AuditArgs),
    /// Actions that are held because their player gains points far faster than the others
    #[command(subcommand)]
    Review(ReviewCommand),
    /// Logs in at a running server, signs a score update and posts it
    Submit(SubmitArgs),
    /// Follows a board of a running server over its WebSocket
    Watch(WatchArgs),
    /// Compares every projection with the truth, and what running nodes show; exit code 1 when they differ
    ///
    /// Works beside running servers, and while updates run. A node may be behind for two seconds.
    Verify(VerifyArgs),
    /// Builds the ranks in Redis anew from the truth and swaps them in, while everything runs
    RebuildRanks(RebuildRanksArgs),
    /// Updates that nobody could apply, put aside for a person to look at
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Prints the OpenAPI document of the HTTP interface
    Openapi,
}

#[derive(Debug, Args, Default)]
pub(crate) struct ServeArgs {
    /// Lets a few demo players play, so that the board moves
    #[arg(long)]
    pub(crate) demo: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckConfigArgs {
    /// Asks every server that the settings name whether it is there
    #[arg(long)]
    pub(crate) connect: bool,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Makes the secrets that are missing in DIR (SCOREBOARD__SECRETS__DIR); never overwrites one
    Init {
        /// The directory; one subdirectory for each service
        dir: PathBuf,
    },
    /// Makes a new key that signs access tokens; the one before goes on verifying until it is retired
    ///
    /// Send HUP to auth and gateway afterwards: auth publishes the new key at once and signs with it when
    /// SCOREBOARD__AUTH__ROTATION_OVERLAP_S have passed. Tokens of the old key live an hour at most: retire it then, or
    /// at once if it was stolen.
    Rotate(KeyRotateArgs),
    /// Keys with which game servers sign actions
    #[command(subcommand)]
    Issuer(IssuerKeyCommand),
    /// Keys with which programs of others call auth
    #[command(subcommand)]
    Caller(CallerKeyCommand),
}

#[derive(Debug, Args)]
pub(crate) struct KeyRotateArgs {
    /// The directory that `key init` made
    pub(crate) dir: PathBuf,
    /// Takes this key away instead: its tokens are refused
    #[arg(long, value_name = "KID", conflicts_with = "signing_master")]
    pub(crate) retire: Option<String>,
    /// Makes a new master of the keys that sign actions instead; signatures by keys of the one before stay good
    #[arg(long)]
    pub(crate) signing_master: bool,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Creates an account in the database that the settings name
    Create(UserCreateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct UserCreateArgs {
    /// 3 to 32 of A-Z, a-z, 0-9, _, . and -
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
}

/// Never as an argument: those are visible to every user of the machine.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct PasswordArgs {
    /// Reads the password from the first line of standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Takes the password from this environment variable
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) password_env: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// The player's name
    #[arg(long)]
    pub(crate) user: String,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// What the player did; counts once
    #[arg(long)]
    pub(crate) action_id: String,
    /// The board
    #[arg(long, default_value = "global")]
    pub(crate) board: String,
    /// The kind of the action, which carries its rules
    #[arg(long, default_value = "default")]
    pub(crate) action_type: String,
    /// What it brings; by the action type when left out
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) points: Option<i64>,
    /// A repeat with the same key gets the first answer again
    #[arg(long)]
    pub(crate) idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// The board
    #[arg(long, default_value = "global")]
    pub(crate) board: String,
    /// How many lines, 1 to 100
    #[arg(long, default_value_t = 10)]
    pub(crate) limit: u16,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
}

/// Never as an argument, as with passwords.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct TokenArgs {
    /// Reads the access token of a player from the first line of standard input
    #[arg(long)]
    pub(crate) token_stdin: bool,
    /// Takes the access token from this environment variable
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) token_env: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Only this board; all of them when left out
    #[arg(long)]
    pub(crate) board: Option<String>,
    /// A running gateway, fan-out or all-in-one whose boards are compared too; may be repeated
    #[arg(long = "node", value_name = "URL")]
    pub(crate) nodes: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RebuildRanksArgs {
    /// Only this board; all of them when left out
    #[arg(long)]
    pub(crate) board: Option<String>,
}

/// The process from its first line to its exit code.
pub fn main() -> ExitCode {
    let CommandLine { settings, json, command } = CommandLine::parse();
    let output = Output::new(json);
    let command = match command {
        None => Command::Serve(ServeArgs::default()),
        Some(command) => command,
    };
    match command {
        Command::Serve(args) => {
            process::run(Service::AllInOne, &settings, |process| commands::serve::run(process, args, output))
        }
        command => finish(output, run_once(|| run(command, &settings, output))),
    }
}

async fn run(command: Command, settings: &SettingsArgs, output: Output) -> Result<Exit, Failure> {
    let sources = settings.sources();
    match command {
        Command::Serve(_) => Err(Failure::new(Exit::Bug, "serve is not a command that ends")),
        Command::Migrate => commands::migrate::run(&sources, output).await,
        Command::CheckConfig(args) => commands::check_config::run(&sources, args.connect, output).await,
        Command::Key(KeyCommand::Init { dir }) => commands::key::init(&dir, output),
        Command::Key(KeyCommand::Rotate(args)) => commands::key::rotate(&args, output),
        Command::Key(KeyCommand::Caller(command)) => commands::caller_key::run(command, output),
        Command::Key(KeyCommand::Issuer(command)) => commands::issuer_key::run(&sources, command, output).await,
        Command::Board(command) => commands::board::run(&sources, command, output).await,
        Command::Audit(args) => commands::audit::run(&sources, args, output).await,
        Command::Review(command) => commands::review::run(&sources, command, output).await,
        Command::User(UserCommand::Create(args)) => commands::user::create(&sources, args, output).await,
        Command::Submit(args) => commands::submit::run(args, output).await,
        Command::Watch(args) => commands::watch::run(args, output).await,
        Command::Verify(args) => commands::verify::run(&sources, args, output).await,
        Command::RebuildRanks(args) => commands::rebuild_ranks::run(&sources, args, output).await,
        Command::DeadLetters(command) => commands::dead_letters::run(&sources, command, output).await,
        Command::Openapi => commands::openapi::run(output),
    }
}

/// Runs a command that ends by itself. Its log is quiet: what a command has to say is its output.
fn run_once<F>(command: impl FnOnce() -> F) -> Result<Exit, Failure>
where
    F: Future<Output = Result<Exit, Failure>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Bug, format!("no threads for the process: {error}")))?;
    let _entered = runtime.enter();
    let telemetry =
        Telemetry::start(Service::AllInOne, &Log { filter: "error,lapin=off".to_owned(), ..Log::default() })?;
    let ended = runtime.block_on(command());
    telemetry.shut_down();
    ended
}

fn finish(output: Output, ended: Result<Exit, Failure>) -> ExitCode {
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn settings_and_json_are_taken_before_and_after_the_command() {
        for line in [
            ["scoreboard", "--json", "--set", "submit.wait_ms=1", "openapi"],
            ["scoreboard", "openapi", "--json", "--set", "submit.wait_ms=1"],
        ] {
            let parsed = CommandLine::try_parse_from(line).unwrap();
            assert!(parsed.json, "{line:?}");
            assert_eq!(parsed.settings.set, [("submit.wait_ms".to_owned(), "1".to_owned())]);
        }
    }

    #[test]
    fn no_command_serves_and_no_secret_is_an_argument() {
        assert!(CommandLine::try_parse_from(["scoreboard"]).unwrap().command.is_none());
        let user = &["scoreboard", "user", "create", "ada", "--password", "hunter22222"][..];
        for line in [user, &["scoreboard", "watch", "--token", "a.b.c"]] {
            let code = CommandLine::try_parse_from(line).unwrap_err().exit_code();
            assert_eq!(code, i32::from(Exit::Usage.code()), "{line:?}");
        }
    }
}
