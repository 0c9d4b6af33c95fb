//! The rank index in memory: a projection of the truth like any other, empty at every start.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use common::clock::{Clock, Timestamp};
use common::ids::{BoardId, UserId};
use common::ports::{FillStart, FillStep, IndexState, Projected, RankIndex, ScoresAt, StoreError};
use common::standing::{BoardChange, Neighborhood, Placement, ScoreRow};
use common::state::{Epoch, StatePoint, Version};
use parking_lot::RwLock;
use uuid::Uuid;

use crate::board_ranks::{BoardRanks, Ordering};

/// A fill that was silent for so long may be taken over.
const FILL_SILENCE_MS: i64 = 10_000;

/// Positions by board, in memory. Nothing in it fails; it answers `None` where it cannot say.
pub struct MemoryRanks {
    clock: Arc<dyn Clock>,
    boards: RwLock<HashMap<BoardId, Arc<RwLock<Index>>>>,
}

/// The index of one board.
#[derive(Default)]
struct Index {
    stage: Stage,
    ranks: BoardRanks,
}

#[derive(Default)]
enum Stage {
    #[default]
    Empty,
    At(StatePoint),
    Filling(Fill),
}

struct Fill {
    filler: Uuid,
    epoch: Epoch,
    /// Everything up to here was there when the fill began; its rows are above.
    base: Version,
    heard_at: Timestamp,
    ordering: Ordering,
    /// The players are away to be sorted: nothing can be added, and only that sorting ends the fill.
    sorting: bool,
    /// Tombstones that the fill brought, so that no older row of the same fill brings the user back.
    gone: HashMap<UserId, Version>,
}

impl MemoryRanks {
    /// An index that holds nothing yet. `clock` tells when a fill has been silent for too long.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, boards: RwLock::default() }
    }

    fn index(&self, board: &BoardId) -> Option<Arc<RwLock<Index>>> {
        self.boards.read().get(board).map(Arc::clone)
    }

    /// Asks a board's index that shows a state.
    fn ask<T>(&self, board: &BoardId, question: impl FnOnce(&StatePoint, &BoardRanks) -> T) -> Option<T> {
        let index = self.index(board)?;
        let index = index.read();
        match &index.stage {
            Stage::At(state) => Some(question(state, &index.ranks)),
            Stage::Empty | Stage::Filling(_) => None,
        }
    }

    /// Takes a bulk fill's players out to be sorted. `Ok(None)`: they are in order already. `Err`: not our fill.
    fn take_for_sorting(index: &RwLock<Index>, filler: Uuid, epoch: &Epoch) -> Result<Option<BoardRanks>, FillStep> {
        let mut index = index.write();
        match index.fill_of(filler) {
            Some(fill) if fill.epoch == *epoch && !fill.sorting => {
                fill.sorting = fill.ordering == Ordering::Later;
                Ok(fill.sorting.then(|| std::mem::take(&mut index.ranks)))
            }
            _ => Err(FillStep::Lost),
        }
    }
}

impl Index {
    fn state(&self) -> IndexState {
        match &self.stage {
            Stage::Empty => IndexState::Empty,
            Stage::At(state) => IndexState::At(state.clone()),
            Stage::Filling(_) => IndexState::Filling,
        }
    }

    fn fill_of(&mut self, filler: Uuid) -> Option<&mut Fill> {
        match &mut self.stage {
            Stage::Filling(fill) if fill.filler == filler => Some(fill),
            _ => None,
        }
    }

    fn apply(&mut self, change: &BoardChange) -> Projected {
        let standing = match &self.stage {
            Stage::At(state) if state.epoch == change.epoch && state.version >= change.from => state.version,
            _ => return Projected::Behind(self.state()),
        };
        if change.to > standing {
            // Rows up to where the index stands are in it already, or were replaced or removed since.
            for row in change.rows.iter().filter(|row| row.version > standing) {
                self.ranks.place(row, Ordering::Kept);
            }
            self.stage = Stage::At(change.state());
        }
        Projected::Standing(change.rows.iter().map(|row| self.ranks.rank(row.user)).collect())
    }

    fn begin_fill(&mut self, epoch: &Epoch, head: Version, filler: Uuid, now: Timestamp) -> FillStart {
        let base = match &self.stage {
            Stage::Filling(fill) if fill.filler != filler && now.millis_since(fill.heard_at) < FILL_SILENCE_MS => {
                return FillStart::Busy;
            }
            Stage::At(state) if state.epoch == *epoch && state.version <= head => state.version,
            // What an unfinished fill left has no version: it is thrown away with the rest.
            Stage::At(_) | Stage::Empty | Stage::Filling(_) => {
                self.ranks = BoardRanks::default();
                Version::ZERO
            }
        };
        let ordering = if self.ranks.len() == 0 { Ordering::Later } else { Ordering::Kept };
        let epoch = epoch.clone();
        self.stage =
            Stage::Filling(Fill { filler, epoch, base, heard_at: now, ordering, sorting: false, gone: HashMap::new() });
        FillStart::From(base)
    }

    fn fill(&mut self, filler: Uuid, rows: &[ScoreRow], now: Timestamp) -> FillStep {
        let Stage::Filling(fill) = &mut self.stage else { return FillStep::Lost };
        if fill.filler != filler || fill.sorting {
            return FillStep::Lost;
        }
        fill.heard_at = now;
        for row in rows.iter().filter(|row| row.version > fill.base) {
            if fill.gone.get(&row.user).is_some_and(|gone| *gone >= row.version) {
                continue;
            }
            if row.score.is_none() && self.ranks.version_of(row.user).is_none_or(|held| held < row.version) {
                fill.gone.insert(row.user, row.version);
            }
            self.ranks.place(row, fill.ordering);
        }
        FillStep::Done
    }
}

#[async_trait]
impl RankIndex for MemoryRanks {
    async fn state(&self, board: &BoardId) -> Result<IndexState, StoreError> {
        Ok(self.index(board).map_or(IndexState::Empty, |index| index.read().state()))
    }

    async fn apply(&self, change: &BoardChange) -> Result<Projected, StoreError> {
        let Some(index) = self.index(&change.board) else { return Ok(Projected::Behind(IndexState::Empty)) };
        Ok(index.write().apply(change))
    }

    async fn begin_fill(
        &self,
        board: &BoardId,
        epoch: &Epoch,
        head: Version,
        filler: Uuid,
    ) -> Result<FillStart, StoreError> {
        let index = Arc::clone(self.boards.write().entry(board.clone()).or_default());
        Ok(index.write().begin_fill(epoch, head, filler, self.clock.now()))
    }

    async fn fill(&self, board: &BoardId, filler: Uuid, rows: &[ScoreRow]) -> Result<FillStep, StoreError> {
        let Some(index) = self.index(board) else { return Ok(FillStep::Lost) };
        Ok(index.write().fill(filler, rows, self.clock.now()))
    }

    async fn finish_fill(&self, board: &BoardId, filler: Uuid, state: &StatePoint) -> Result<FillStep, StoreError> {
        let Some(index) = self.index(board) else { return Ok(FillStep::Lost) };
        let sorted = match Self::take_for_sorting(&index, filler, &state.epoch) {
            Err(lost) => return Ok(lost),
            Ok(None) => None,
            // A million players sort in a good tenth of a second: off the async threads, and without the lock.
            Ok(Some(mut ranks)) => {
                let sort = tokio::task::spawn_blocking(move || {
                    ranks.sort();
                    ranks
                });
                match sort.await {
                    Ok(ranks) => Some(ranks),
                    // The process is ending; the fill starts again if it is not.
                    Err(_) => return Ok(FillStep::Lost),
                }
            }
        };
        let mut index = index.write();
        // It may have been taken over meanwhile, or begun anew.
        if index.fill_of(filler).is_none_or(|fill| fill.sorting != sorted.is_some()) {
            return Ok(FillStep::Lost);
        }
        if let Some(ranks) = sorted {
            index.ranks = ranks;
        }
        index.stage = Stage::At(state.clone());
        Ok(FillStep::Done)
    }

    async fn top(&self, board: &BoardId, limit: usize) -> Result<Option<(StatePoint, Vec<Placement>)>, StoreError> {
        Ok(self.ask(board, |state, ranks| (state.clone(), ranks.top(limit))))
    }

    async fn neighborhood(
        &self,
        board: &BoardId,
        user: UserId,
        around: usize,
    ) -> Result<Option<(StatePoint, Option<Neighborhood<Placement>>)>, StoreError> {
        Ok(self.ask(board, |state, ranks| (state.clone(), ranks.neighborhood(state.clone(), user, around))))
    }

    async fn scores_at(&self, board: &BoardId, asked: &[u64]) -> Result<Option<ScoresAt>, StoreError> {
        Ok(self.ask(board, |state, ranks| ScoresAt {
            state: state.clone(),
            players: ranks.len() as u64,
            scores: asked.iter().map(|rank| ranks.score_at(*rank)).collect(),
        }))
    }

    async fn count(&self, board: &BoardId) -> Result<Option<(StatePoint, u64)>, StoreError> {
        Ok(self.ask(board, |state, ranks| (state.clone(), ranks.len() as u64)))
    }
}
