//! The rank index: a projection of the truth that answers positions fast and can always catch up.

use async_trait::async_trait;
use uuid::Uuid;

use super::StoreError;
use crate::ids::{BoardId, UserId};
use crate::standing::{BoardChange, Neighborhood, Placement, ScoreRow};
use crate::state::{Epoch, StatePoint, Version};

/// Where an index stands on a board.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IndexState {
    /// It holds nothing of the board, or what it holds has no version.
    Empty,
    /// It shows exactly this state.
    At(StatePoint),
    /// Somebody is filling it page by page; it answers nothing meanwhile.
    Filling,
}

/// What a live change did to an index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Projected {
    /// The index stands at the change's `to` or further. The positions of the change's users are as of now,
    /// `None` for those without a score, in the order of the change's rows.
    Standing(Vec<Option<u64>>),
    /// The change does not start where the index stands: fill it from the truth.
    Behind(IndexState),
}

/// The start of a page-by-page fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FillStart {
    /// Go on with the rows above this version.
    From(Version),
    /// Somebody else is filling.
    Busy,
}

/// A step of a fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FillStep {
    /// Taken over.
    Done,
    /// The fill is no longer ours (the index was flushed, or it took too long): start again.
    Lost,
}

/// Scores at some positions of a board.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScoresAt {
    /// The state that they are of.
    pub state: StatePoint,
    /// Players with a score.
    pub players: u64,
    /// In the order of the positions that were asked for.
    pub scores: Vec<Option<i64>>,
}

/// Positions by board. Absolute, versioned values only: late, repeated and reordered work is harmless.
#[async_trait]
pub trait RankIndex: Send + Sync {
    /// Where the index stands.
    async fn state(&self, board: &BoardId) -> Result<IndexState, StoreError>;

    /// Takes a change over if the index stands in `from..=to` of its epoch: rows newer than the index's own
    /// replace them, older ones are skipped.
    async fn apply(&self, change: &BoardChange) -> Result<Projected, StoreError>;

    /// Begins a fill by `filler`. Where the index stands at a state of `epoch` not above `head`, the fill goes on
    /// from there; else everything is thrown away and it starts from zero. Until [`Self::finish_fill`] the index
    /// answers `None`. A fill that is silent for 10 s may be taken over.
    async fn begin_fill(
        &self,
        board: &BoardId,
        epoch: &Epoch,
        head: Version,
        filler: Uuid,
    ) -> Result<FillStart, StoreError>;

    /// Adds rows during a fill.
    async fn fill(&self, board: &BoardId, filler: Uuid, rows: &[ScoreRow]) -> Result<FillStep, StoreError>;

    /// Ends a fill: the index shows `state`.
    async fn finish_fill(&self, board: &BoardId, filler: Uuid, state: &StatePoint) -> Result<FillStep, StoreError>;

    /// The best `limit` positions with the state they are of. `None`: the index cannot say.
    async fn top(&self, board: &BoardId, limit: usize) -> Result<Option<(StatePoint, Vec<Placement>)>, StoreError>;

    /// A user's position and up to `around` on each side. Outer `None`: the index cannot say; inner: no score.
    #[allow(clippy::type_complexity)]
    async fn neighborhood(
        &self,
        board: &BoardId,
        user: UserId,
        around: usize,
    ) -> Result<Option<(StatePoint, Option<Neighborhood<Placement>>)>, StoreError>;

    /// Players on the board with the state. `None`: the index cannot say.
    async fn count(&self, board: &BoardId) -> Result<Option<(StatePoint, u64)>, StoreError>;

    /// The scores at these positions, 1 for the best (`None` beyond the last player), with the number of players, all of
    /// one state and in one call. `None`: the index cannot say.
    async fn scores_at(&self, board: &BoardId, ranks: &[u64]) -> Result<Option<ScoresAt>, StoreError>;
}
