//! Compares everything that shows a board with the truth, also while the board moves: a model follows the truth's rows, and
//! what is asked of a projection is compared where both stand at the same state, or as far as lines did not move between
//! the two.

mod differences;
mod model;
mod node;
mod projections;
mod snapshots;
mod truth_itself;

use std::time::Duration;

use common::ids::BoardId;
use common::ports::{Audit, BoardDigest, StoreError, Truth};
use common::state::StatePoint;
use distributed::redis::RedisProfiles;

pub(crate) use differences::Difference;
use differences::Differences;
use model::Model;
pub(crate) use node::Node;
pub(crate) use projections::Ranks;

/// How often an answer is asked again when the board moved in between.
const ATTEMPTS: usize = 50;

/// What an index that is behind needs at most to catch up with one change.
const PAUSE: Duration = Duration::from_millis(20);

/// What is compared.
pub(crate) struct Compared<'a> {
    pub(crate) truth: &'a dyn Truth,
    pub(crate) audit: &'a dyn Audit,
    pub(crate) ranks: Ranks<'a>,
    /// Names that Redis holds; `None` where there is no Redis.
    pub(crate) details: Option<&'a RedisProfiles>,
    /// Running servers.
    pub(crate) nodes: &'a [Node],
}

/// What a comparison found.
#[derive(Debug)]
pub(crate) struct BoardReport {
    pub(crate) board: BoardId,
    pub(crate) state: StatePoint,
    pub(crate) players: u64,
    pub(crate) score_sum: i128,
    pub(crate) ledger_points: i128,
    pub(crate) ledger_actions: u64,
    pub(crate) differences: Vec<Difference>,
    /// Differences beyond those that are told.
    pub(crate) more: u64,
    /// What could not be compared, and why.
    pub(crate) left_out: Vec<String>,
}

impl BoardReport {
    pub(crate) fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Compares one board. `None`: no such board.
pub(crate) async fn compare(compared: &Compared<'_>, board: &BoardId) -> Result<Option<BoardReport>, StoreError> {
    let Some(mut model) = Model::read(compared.truth, board).await? else { return Ok(None) };
    let (mut differences, mut left_out) = (Differences::default(), Vec::new());
    let BoardDigest { players, score_sum, ledger_points, ledger_actions } =
        model.compare_sums(&mut differences).await?;
    model.compare_players(compared.audit, &mut differences).await?;
    model.compare_top(&mut differences).await?;
    model.compare_index(compared.ranks, &mut differences).await?;
    if let Some(details) = compared.details {
        model.compare_names(details, &mut differences).await?;
    }
    let (mut differences, mut more) = differences.into_told();
    for node in compared.nodes {
        // Each node is told of by itself: one that shows nothing right must not hide what another one shows.
        let mut of_node = Differences::default();
        model.compare_node(node, &mut of_node, &mut left_out).await?;
        let (told, untold) = of_node.into_told();
        differences.extend(told);
        more += untold;
    }
    Ok(Some(BoardReport {
        board: board.clone(),
        state: model.state.clone(),
        players,
        score_sum,
        ledger_points,
        ledger_actions,
        differences,
        more,
        left_out,
    }))
}
