//! `scoreboard board …`: boards, and the rules of their action types.

use std::sync::Arc;

use clap::{Args, Subcommand};
use common::board::{ActionRule, Board, Proof};
use common::ids::{ActionType, BoardId, InvalidValue};
use common::state::Epoch;
use runtime::clock::SystemClock;
use runtime::exit::{Exit, Failure};
use runtime::settings::{Settings, Sources};
use serde_json::{Value, json};
use wire::json::BoardJson;

use crate::operator::{Operator, failed};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum BoardCommand {
    /// Every board with its action types
    List,
    /// Makes a board; nobody can move it before it has action types
    Create {
        /// 1 to 64 of a-z, 0-9 and -
        board: String,
        /// Its live stream opens only to whoever shows an access token
        #[arg(long)]
        stream_token: bool,
    },
    /// Changes a board; running servers follow within seconds
    Set {
        /// The board
        board: String,
        /// Whether its live stream opens only to whoever shows an access token; streams that are open stay so
        #[arg(long, value_parser = ["on", "off"])]
        stream_token: String,
    },
    /// One board with its action types
    Show {
        /// The board
        board: String,
    },
    /// What players can do on a board, and what it brings
    #[command(subcommand)]
    ActionType(ActionTypeCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ActionTypeCommand {
    /// Adds an action type to a board, or replaces the one of that name; running servers follow within seconds
    Set(ActionTypeSetArgs),
    /// Takes an action type off a board; what was applied under it stays
    Remove {
        /// The board
        board: String,
        /// The action type
        action_type: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ActionTypeSetArgs {
    /// The board
    board: String,
    /// 1 to 64 of A-Z, a-z, 0-9, _, ., : and -
    action_type: String,
    /// What must be shown: the signature of the session or of a game server, or the token alone (fixed points only)
    #[arg(long, value_parser = ["session", "issuer", "token"])]
    proof: String,
    /// Fixed points
    #[arg(long, allow_negative_numbers = true)]
    #[arg(conflicts_with_all = ["min", "max", "default"], required_unless_present = "min")]
    points: Option<i64>,
    /// The fewest points that an action may bring
    #[arg(long, allow_negative_numbers = true, requires = "max")]
    min: Option<i64>,
    /// The most
    #[arg(long, allow_negative_numbers = true, requires = "min")]
    max: Option<i64>,
    /// The points of an action that names none; the fewest when left out
    #[arg(long, allow_negative_numbers = true, requires = "min")]
    default: Option<i64>,
    /// The most points per user and UTC day
    #[arg(long, allow_negative_numbers = true)]
    daily_cap: i64,
}

pub(crate) async fn run(sources: &Sources, command: BoardCommand, output: Output) -> Result<Exit, Failure> {
    // What is wrong with the command line is told before the database is asked.
    match command {
        BoardCommand::List => list(&open(sources).await?, output).await,
        BoardCommand::Create { board, stream_token } => {
            let board = BoardId::parse(&board).map_err(usage)?;
            create(&open(sources).await?, &board, stream_token, output).await
        }
        BoardCommand::Set { board, stream_token } => {
            let board = BoardId::parse(&board).map_err(usage)?;
            set_stream_token(&open(sources).await?, &board, stream_token == "on", output).await
        }
        BoardCommand::Show { board } => {
            let board = BoardId::parse(&board).map_err(usage)?;
            show(&open(sources).await?, &board, output).await
        }
        BoardCommand::ActionType(ActionTypeCommand::Set(args)) => {
            let (board, rule) = (BoardId::parse(&args.board).map_err(usage)?, rule(&args)?);
            set(&open(sources).await?, &board, &rule, output).await
        }
        BoardCommand::ActionType(ActionTypeCommand::Remove { board, action_type }) => {
            let board = BoardId::parse(&board).map_err(usage)?;
            let action_type = ActionType::parse(&action_type).map_err(usage)?;
            remove(&open(sources).await?, &board, &action_type, output).await
        }
    }
}

async fn open(sources: &Sources) -> Result<Operator, Failure> {
    Operator::open(&Settings::load(sources)?, Arc::new(SystemClock)).await
}

async fn list(operator: &Operator, output: Output) -> Result<Exit, Failure> {
    let boards = operator.truth.boards().await.map_err(|error| failed(&error))?;
    let answer: Vec<_> = boards.iter().map(in_json).collect();
    output.print(&json!({ "boards": answer }), || boards.iter().map(in_words).collect::<Vec<_>>().join("\n"));
    Ok(Exit::Success)
}

async fn create(operator: &Operator, board: &BoardId, stream_token: bool, output: Output) -> Result<Exit, Failure> {
    let created = operator.rules.create_board(board, &new_epoch(), &[]).await.map_err(|error| failed(&error))?;
    if !created {
        return Err(Failure::new(Exit::Refused, format!("there is a board {board} already; it stays as it is")));
    }
    // Nobody can move it yet: until this is done there is nothing to see.
    if stream_token {
        return set_stream_token(operator, board, true, output).await;
    }
    print(&known(operator, board).await?, output);
    Ok(Exit::Success)
}

async fn set_stream_token(
    operator: &Operator,
    board: &BoardId,
    demanded: bool,
    output: Output,
) -> Result<Exit, Failure> {
    if !operator.rules.set_stream_token(board, demanded).await.map_err(|error| failed(&error))? {
        return Err(unknown(board));
    }
    print(&known(operator, board).await?, output);
    Ok(Exit::Success)
}

async fn show(operator: &Operator, board: &BoardId, output: Output) -> Result<Exit, Failure> {
    print(&known(operator, board).await?, output);
    Ok(Exit::Success)
}

async fn set(operator: &Operator, board: &BoardId, rule: &ActionRule, output: Output) -> Result<Exit, Failure> {
    if !operator.rules.set_action_type(board, rule).await.map_err(|error| failed(&error))? {
        return Err(unknown(board));
    }
    print(&known(operator, board).await?, output);
    Ok(Exit::Success)
}

async fn remove(
    operator: &Operator,
    board: &BoardId,
    action_type: &ActionType,
    output: Output,
) -> Result<Exit, Failure> {
    let removed = operator.rules.remove_action_type(board, action_type).await.map_err(|error| failed(&error))?;
    let now = known(operator, board).await?;
    if !removed {
        return Err(Failure::new(Exit::Refused, format!("board {board} has no action type {action_type}")));
    }
    print(&now, output);
    Ok(Exit::Success)
}

async fn known(operator: &Operator, board: &BoardId) -> Result<Board, Failure> {
    let boards = operator.truth.boards().await.map_err(|error| failed(&error))?;
    boards.into_iter().find(|known| known.id() == board).ok_or_else(|| unknown(board))
}

fn unknown(board: &BoardId) -> Failure {
    Failure::new(Exit::Refused, format!("there is no board {board}; scoreboard board create {board} makes it"))
}

fn usage(error: InvalidValue) -> Failure {
    Failure::new(Exit::Usage, error.to_string())
}

/// The rule that the command line describes, if a board may have it.
fn rule(args: &ActionTypeSetArgs) -> Result<ActionRule, Failure> {
    let (min, max, default) = match (args.points, args.min, args.max) {
        (Some(points), ..) => (points, points, points),
        (None, Some(min), Some(max)) => (min, max, args.default.unwrap_or(min)),
        _ => return Err(Failure::new(Exit::Usage, "give --points N, or --min A --max B")),
    };
    let proof = Proof::parse(&args.proof)
        .ok_or_else(|| Failure::new(Exit::Usage, "--proof: must be session, issuer or token"))?;
    let rule = ActionRule {
        action_type: ActionType::parse(&args.action_type).map_err(usage)?,
        proof,
        min_points: min,
        max_points: max,
        default_points: default,
        daily_cap: args.daily_cap,
    };
    rule.check().map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    Ok(rule)
}

/// A new history's name: random, so that no two databases share one.
fn new_epoch() -> Epoch {
    let name = uuid::Uuid::new_v4().simple().to_string();
    let Some(epoch) = Epoch::parse(&name[..12]) else { unreachable!("hex digits make an epoch") };
    epoch
}

fn print(board: &Board, output: Output) {
    output.print(&in_json(board), || in_words(board));
}

/// As the public interface shows it, with what only the operator sees.
fn in_json(board: &Board) -> Value {
    let mut shown = json!(BoardJson::from(board));
    shown["streamToken"] = json!(board.stream_token);
    shown
}

fn in_words(board: &Board) -> String {
    let mut text = format!("{} at {}", board.id(), board.head.state);
    if board.stream_token {
        text.push_str("\n  its live stream demands an access token");
    }
    if board.rules.is_empty() {
        text.push_str("\n  no action types: nobody can move it");
    }
    for rule in &board.rules {
        let ActionRule { action_type, proof, min_points, max_points, default_points, daily_cap } = rule;
        let points = if min_points == max_points {
            format!("{min_points} points")
        } else {
            format!("{min_points} to {max_points} points, {default_points} if none are named")
        };
        let proof = proof.as_str();
        text.push_str(&format!("\n  {action_type}: {proof} proof, {points}, at most {daily_cap} per user and day"));
    }
    text
}
