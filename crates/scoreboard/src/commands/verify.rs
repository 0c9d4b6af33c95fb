//! `scoreboard verify`: every projection, and every node that is named, against the truth.

use std::sync::Arc;

use common::clock::Clock;
use common::ids::BoardId;
use common::ports::{Audit, Dependency, RankIndex, StoreError, Truth};
use distributed::redis::{RedisProfiles, RedisRanks};
use distributed::servers::Servers;
use embedded::{MemoryRanks, SqliteStore};
use runtime::clock::SystemClock;
use runtime::exit::{Exit, Failure, causes};
use runtime::settings::{Mode, Settings, Sources};
use serde_json::json;

use crate::backends::{must_answer, not_opened};
use crate::command_line::VerifyArgs;
use crate::output::Output;
use crate::verification::{BoardReport, Compared, Node, Ranks, compare};

/// The name that the database knows these connections by.
const PROCESS: &str = "scoreboard-verify";

pub(crate) async fn run(sources: &Sources, args: VerifyArgs, output: Output) -> Result<Exit, Failure> {
    let settings = Settings::load(sources)?;
    let wanted = args
        .board
        .as_deref()
        .map(BoardId::parse)
        .transpose()
        .map_err(|error| Failure::new(Exit::Usage, format!("--board: {error}")))?;
    let nodes: Vec<Node> = args.nodes.iter().map(|url| Node::new(url)).collect::<Result<_, _>>()?;
    let stands_on = StandsOn::open(&settings).await?;
    let reports = verify(&stands_on, &nodes, wanted).await;
    stands_on.close().await;
    let reports = reports?;
    let equal = reports.iter().all(BoardReport::is_equal);
    let boards: Vec<_> = reports.iter().map(as_json).collect();
    output.print(&json!({"equal": equal, "boards": boards}), || {
        reports.iter().map(in_words).collect::<Vec<_>>().join("\n")
    });
    Ok(if equal { Exit::Success } else { Exit::Different })
}

/// What is compared, also beside a server that serves from it.
struct StandsOn {
    truth: Arc<dyn Truth>,
    audit: Arc<dyn Audit>,
    ranks: Box<dyn RankIndex>,
    details: Option<RedisProfiles>,
    /// `None`: embedded. Ranks in memory end with their process: those of a running one are compared where it is named as
    /// a node.
    servers: Option<Servers>,
}

impl StandsOn {
    async fn open(settings: &Settings) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        match settings.mode()? {
            Mode::Embedded => {
                let store = Arc::new(SqliteStore::open(&settings.data.dir).map_err(not_opened)?);
                store.check().await.map_err(|cause| Failure::unavailable(store.name(), store.setting(), &cause))?;
                let ranks = Box::new(MemoryRanks::new(clock));
                Ok(Self { truth: store.clone(), audit: store, ranks, details: None, servers: None })
            }
            Mode::Distributed => {
                let servers = Servers::named_by(settings, PROCESS, clock)?;
                for dependency in [servers.database(), servers.cache()] {
                    must_answer(&*dependency).await?;
                }
                let (store, redis) = (servers.store.clone(), servers.redis.clone());
                let details = Some(RedisProfiles::new(redis.clone(), store.clone()));
                let ranks = Box::new(RedisRanks::new(redis));
                Ok(Self { truth: store.clone(), audit: store, ranks, details, servers: Some(servers) })
            }
        }
    }

    fn compared<'a>(&'a self, nodes: &'a [Node]) -> Compared<'a> {
        let ranks = &*self.ranks;
        Compared {
            truth: &*self.truth,
            audit: &*self.audit,
            ranks: if self.servers.is_some() { Ranks::Live(ranks) } else { Ranks::Own(ranks) },
            details: self.details.as_ref(),
            nodes,
        }
    }

    async fn close(&self) {
        if let Some(servers) = &self.servers {
            servers.close().await;
        }
    }
}

async fn verify(stands_on: &StandsOn, nodes: &[Node], wanted: Option<BoardId>) -> Result<Vec<BoardReport>, Failure> {
    let compared = stands_on.compared(nodes);
    let boards: Vec<_> = match wanted {
        Some(board) => vec![board],
        None => {
            let heads = compared.truth.heads().await.map_err(|error| failed(&error))?;
            heads.into_iter().map(|head| head.board).collect()
        }
    };
    let mut reports = Vec::new();
    for board in boards {
        let report = compare(&compared, &board).await.map_err(|error| failed(&error))?;
        reports.push(report.ok_or_else(|| Failure::new(Exit::Usage, format!("--board: there is no board {board}")))?);
    }
    Ok(reports)
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
        "equal": report.is_equal(),
        "differences": report.differences,
        "moreDifferences": report.more,
        "leftOut": report.left_out,
    })
}

/// JSON numbers end at 64 bits; what does not fit is a text.
fn number(value: i128) -> serde_json::Value {
    i64::try_from(value).map_or_else(|_| value.to_string().into(), Into::into)
}

fn in_words(report: &BoardReport) -> String {
    let BoardReport { board, state, players, score_sum, ledger_actions, differences, more, left_out, .. } = report;
    let facts = format!("{players} players, {score_sum} points, {ledger_actions} actions, at {state}");
    let verdict = if report.is_equal() { "equal" } else { "DIFFERENT" };
    let mut lines = vec![format!("{board}: {verdict} ({facts})")];
    lines.extend(differences.iter().map(|difference| format!("  {difference}")));
    if *more > 0 {
        lines.push(format!("  … and {more} more"));
    }
    lines.extend(left_out.iter().map(|what| format!("  not compared: {what}")));
    lines.join("\n")
}
