//! `scoreboard submit`: one signed update, as a client makes it.

use common::clock::Clock as _;
use common::ids::{ActionId, ActionType, BoardId, IdempotencyKey, InvalidValue};
use runtime::clock::SystemClock;
use runtime::exit::{Exit, Failure};

use super::given_secret;
use crate::api_client::{Action, ApiClient};
use crate::command_line::SubmitArgs;
use crate::output::Output;

pub(crate) async fn run(args: SubmitArgs, output: Output) -> Result<Exit, Failure> {
    let password = given_secret::required_password(&args.password)?;
    let usage = |error: InvalidValue| Failure::new(Exit::Usage, error.to_string());
    let action = Action {
        action_id: ActionId::parse(&args.action_id).map_err(usage)?,
        board: BoardId::parse(&args.board).map_err(usage)?,
        action_type: ActionType::parse(&args.action_type).map_err(usage)?,
        points: args.points,
        idempotency_key: args
            .idempotency_key
            .as_deref()
            .map(|key| IdempotencyKey::parse(key).map(|_| key.to_owned()))
            .transpose()
            .map_err(usage)?,
    };
    let client = ApiClient::new(&args.server.url)?;
    let player = client.login(&args.user, &password).await?;
    let answer = client.submit(&player, &action, &SystemClock.now().to_string()).await?;
    output.print(&answer, || {
        let board = &action.board;
        match (answer["newScore"].as_i64(), answer["rank"].as_u64()) {
            (Some(score), Some(rank)) => format!("{} has {score} points on {board} now: rank {rank}", args.user),
            (Some(score), None) => format!("{} has {score} points on {board} now", args.user),
            (None, _) => format!("{} was accepted and is not decided yet; its receipt tells", action.action_id),
        }
    });
    Ok(Exit::Success)
}
