//! `scoreboard rebuild-ranks`: the ranks in Redis anew from the truth, while everything runs.

use std::sync::Arc;
use std::time::Duration;

use common::ids::BoardId;
use common::ports::Truth;
use common::state::StatePoint;
use distributed::redis::{RebuiltRanks, RedisDependency, Swap};
use distributed::servers::Servers;
use runtime::clock::SystemClock;
use runtime::exit::{Exit, Failure, causes};
use runtime::settings::{Mode, Settings, Sources};
use score_worker::rebuild::{RepairError, bring_to_head};
use serde_json::json;

use crate::backends::must_answer;
use crate::command_line::RebuildRanksArgs;
use crate::operator::failed;
use crate::output::Output;

const PROCESS: &str = "scoreboard-operator";

/// How often the rebuilt index is brought up to a live one that moves on, before it may fall back a little.
const EVEN_SWAPS: usize = 20;

/// What the live index may fall back by after that: less than one page, which the next change brings.
const MAY_LOSE: u64 = 1_000;

/// How often a rebuild is begun again when Redis forgot it meanwhile.
const ATTEMPTS: usize = 5;

pub(crate) async fn run(sources: &Sources, args: RebuildRanksArgs, output: Output) -> Result<Exit, Failure> {
    let settings = Settings::load(sources)?;
    if settings.mode()? == Mode::Embedded {
        return Err(Failure::new(
            Exit::Refused,
            "the embedded backend keeps its ranks in the memory of the running process, which builds them anew from the \
             database at every start: restart it",
        ));
    }
    let wanted = args.board.as_deref().map(BoardId::parse).transpose();
    let wanted = wanted.map_err(|error| Failure::new(Exit::Usage, format!("--board: {error}")))?;
    let servers = Servers::named_by(&settings, PROCESS, Arc::new(SystemClock))?;
    let redis = RedisDependency::new(servers.redis.clone());
    for dependency in [servers.database(), Arc::new(redis)] {
        must_answer(&*dependency).await?;
    }
    let boards = match wanted {
        Some(board) => vec![board],
        None => {
            let heads = servers.store.heads().await.map_err(|error| failed(&error))?;
            heads.into_iter().map(|head| head.board).collect()
        }
    };
    let rebuilt = RebuiltRanks::new(servers.redis.clone());
    let mut done = Vec::new();
    for board in boards {
        let state = rebuild(servers.store.as_ref(), &rebuilt, &board).await?;
        done.push((board, state));
    }
    let told: Vec<_> =
        done.iter().map(|(board, state)| json!({"board": board.as_str(), "state": state.to_string()})).collect();
    output.print(&json!({"rebuilt": told}), || {
        done.iter().map(|(board, state)| format!("{board}: rebuilt at {state}")).collect::<Vec<_>>().join("\n")
    });
    Ok(Exit::Success)
}

async fn rebuild(truth: &dyn Truth, rebuilt: &RebuiltRanks, board: &BoardId) -> Result<StatePoint, Failure> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        rebuilt.clear(board).await.map_err(|error| failed(&error))?;
        match build_and_swap(truth, rebuilt, board).await {
            Ok(Some(state)) => return Ok(state),
            Ok(None) => return Err(Failure::new(Exit::Usage, format!("--board: there is no board {board}"))),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let cause = last.map_or_else(String::new, |error| causes(&error));
    Err(Failure::new(Exit::Unavailable, format!("{board} was not rebuilt, the live ranks stay as they are: {cause}")))
}

/// `None`: no such board.
async fn build_and_swap(
    truth: &dyn Truth,
    rebuilt: &RebuiltRanks,
    board: &BoardId,
) -> Result<Option<StatePoint>, RepairError> {
    for swap in 0.. {
        // Small after the first time: what happened since.
        let Some(state) = bring_to_head(truth, rebuilt.index(), board).await? else { return Ok(None) };
        let may_lose = if swap < EVEN_SWAPS { 0 } else { MAY_LOSE };
        match rebuilt.swap(board, may_lose).await? {
            Swap::Done => return Ok(Some(state)),
            Swap::Behind(_) if swap < 2 * EVEN_SWAPS => {}
            Swap::Behind(_) | Swap::NothingBuilt => return Err(RepairError::Moved),
        }
    }
    Err(RepairError::Moved)
}
