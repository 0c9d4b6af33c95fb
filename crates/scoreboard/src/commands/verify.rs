//! `scoreboard verify`: every projection against the truth.

use std::sync::Arc;
use std::time::Duration;

use common::ids::BoardId;
use common::ports::{IndexState, StoreError};
use runtime::clock::SystemClock;
use runtime::exit::{Exit, Failure, causes};
use runtime::settings::{Mode, Settings, Sources};
use score_worker::{ScoreWorker, WorkerSettings};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::backends::Backends;
use crate::command_line::VerifyArgs;
use crate::output::Output;
use crate::verification::{BoardReport, compare};

/// How long the ranks of an embedded board may take to be filled: far above what a million players need.
const FILL_LIMIT: Duration = Duration::from_secs(120);

pub(crate) async fn run(sources: &Sources, args: VerifyArgs, output: Output) -> Result<Exit, Failure> {
    let settings = Settings::load(sources)?;
    let wanted = args
        .board
        .as_deref()
        .map(BoardId::parse)
        .transpose()
        .map_err(|error| Failure::new(Exit::Usage, format!("--board: {error}")))?;
    let backends = Backends::open(&settings, Arc::new(SystemClock))?;
    let reports = verify(&settings, &backends, wanted).await;
    backends.close().await;
    let reports = reports?;
    let equal = reports.iter().all(|report| report.differences.is_empty());
    let boards: Vec<_> = reports.iter().map(as_json).collect();
    output.print(&json!({"equal": equal, "boards": boards}), || {
        reports.iter().map(in_words).collect::<Vec<_>>().join("\n")
    });
    Ok(if equal { Exit::Success } else { Exit::Different })
}

async fn verify(
    settings: &Settings,
    backends: &Backends,
    wanted: Option<BoardId>,
) -> Result<Vec<BoardReport>, Failure> {
    backends.require_all().await?;
    let heads = backends.truth.heads().await.map_err(|error| failed(&error))?;
    let boards: Vec<_> = match wanted {
        Some(board) => vec![board],
        None => heads.into_iter().map(|head| head.board).collect(),
    };
    if settings.mode()? == Mode::Embedded {
        fill_memory(settings, backends, &boards).await?;
    }
    let mut reports = Vec::new();
    for board in boards {
        let report = compare(backends.truth.as_ref(), backends.ranks.as_ref(), &board).await;
        reports.push(
            report
                .map_err(|error| failed(&error))?
                .ok_or_else(|| Failure::new(Exit::Usage, format!("--board: there is no board {board}")))?,
        );
    }
    Ok(reports)
}

/// Ranks in memory end with their process: here they are filled from the truth by the worker's own code.
async fn fill_memory(settings: &Settings, backends: &Backends, boards: &[BoardId]) -> Result<(), Failure> {
    let worker =
        ScoreWorker::new(backends.worker_ports(), WorkerSettings::from(&settings.worker), Arc::new(SystemClock));
    let filled = async {
        loop {
            let mut missing = false;
            for board in boards {
                let state = backends.ranks.state(board).await.map_err(|error| failed(&error))?;
                missing |= !matches!(state, IndexState::At(_));
            }
            if !missing {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let stop = CancellationToken::new();
    tokio::select! {
        filled = tokio::time::timeout(FILL_LIMIT, filled) => filled.unwrap_or_else(|_| {
            Err(Failure::new(Exit::Bug, format!("the ranks were not filled within {} s", FILL_LIMIT.as_secs())))
        }),
        () = worker.run(stop) => Err(Failure::new(Exit::Bug, "the worker that fills the ranks ended")),
    }
}

fn failed(error: &StoreError) -> Failure {
    Failure::new(Exit::Unavailable, causes(error))
}

fn as_json(report: &BoardReport) -> serde_json::Value {
    json!({
        "board": report.board.as_str(),
        "state": report.state.to_string(),
        "players": report.players,
        "scoreSum": number(report.score_sum),
        "ledgerPoints": number(report.ledger_points),
        "ledgerActions": report.ledger_actions,
        "equal": report.differences.is_empty(),
        "differences": report.differences,
    })
}

/// JSON numbers end at 64 bits; what does not fit is a text.
fn number(value: i128) -> serde_json::Value {
    i64::try_from(value).map_or_else(|_| value.to_string().into(), Into::into)
}

fn in_words(report: &BoardReport) -> String {
    let BoardReport { board, state, players, score_sum, ledger_actions, differences, .. } = report;
    let facts = format!("{players} players, {score_sum} points, {ledger_actions} actions, at {state}");
    if differences.is_empty() {
        return format!("{board}: equal ({facts})");
    }
    format!("{board}: DIFFERENT ({facts})\n  {}", differences.join("\n  "))
}
