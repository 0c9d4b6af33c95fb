//! A rank index that sorts whenever it is asked.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use common::ids::{BoardId, UserId};
use common::ports::{FillStart, FillStep, IndexState, Projected, RankIndex, ScoresAt, StoreError};
use common::standing::{BoardChange, Neighborhood, Placement, ScoreRow};
use common::state::{Epoch, StatePoint, Version};
use uuid::Uuid;

#[derive(Default)]
struct Board {
    state: Option<StatePoint>,
    filler: Option<Uuid>,
    rows: HashMap<UserId, ScoreRow>,
}

#[derive(Default)]
pub(crate) struct MemoryRanks(Mutex<HashMap<BoardId, Board>>);

impl Board {
    fn index_state(&self) -> IndexState {
        match (&self.filler, &self.state) {
            (Some(_), _) => IndexState::Filling,
            (None, Some(state)) => IndexState::At(state.clone()),
            (None, None) => IndexState::Empty,
        }
    }

    fn take(&mut self, row: &ScoreRow) {
        let held = self.rows.entry(row.user).or_insert_with(|| row.clone());
        if held.version < row.version {
            *held = row.clone();
        }
    }

    fn placements(&self) -> Vec<Placement> {
        let mut rows: Vec<_> = self.rows.values().filter(|row| row.score.is_some()).collect();
        rows.sort_by_key(|row| row.key());
        let place = |(row, rank): (&ScoreRow, u64)| Placement {
            user: row.user,
            score: row.score.expect("filtered"),
            version: row.version,
            updated_at: row.updated_at,
            rank,
        };
        rows.into_iter().zip(1..).map(place).collect()
    }

    fn shown(&self) -> Option<(StatePoint, Vec<Placement>)> {
        match self.index_state() {
            IndexState::At(state) => Some((state, self.placements())),
            _ => None,
        }
    }
}

impl MemoryRanks {
    fn with<T>(&self, board: &BoardId, work: impl FnOnce(&mut Board) -> T) -> Result<T, StoreError> {
        Ok(work(self.0.lock().expect("the lock").entry(board.clone()).or_default()))
    }
}

#[async_trait]
impl RankIndex for MemoryRanks {
    async fn state(&self, board: &BoardId) -> Result<IndexState, StoreError> {
        self.with(board, |held| held.index_state())
    }

    async fn apply(&self, change: &BoardChange) -> Result<Projected, StoreError> {
        self.with(&change.board, |held| {
            let at = match held.index_state() {
                IndexState::At(at) if at.epoch == change.epoch && change.from <= at.version => at,
                other => return Projected::Behind(other),
            };
            change.rows.iter().for_each(|row| held.take(row));
            held.state = Some(StatePoint { version: at.version.max(change.to), ..at });
            let placements = held.placements();
            let rank = |row: &ScoreRow| placements.iter().find(|p| p.user == row.user).map(|p| p.rank);
            Projected::Standing(change.rows.iter().map(rank).collect())
        })
    }

    async fn begin_fill(
        &self,
        board: &BoardId,
        epoch: &Epoch,
        head: Version,
        filler: Uuid,
    ) -> Result<FillStart, StoreError> {
        self.with(board, |held| {
            if held.filler.is_some_and(|other| other != filler) {
                return FillStart::Busy;
            }
            held.filler = Some(filler);
            match held.state.take() {
                Some(at) if at.epoch == *epoch && at.version <= head => FillStart::From(at.version),
                _ => {
                    held.rows.clear();
                    FillStart::From(Version::ZERO)
                }
            }
        })
    }

    async fn fill(&self, board: &BoardId, filler: Uuid, rows: &[ScoreRow]) -> Result<FillStep, StoreError> {
        self.with(board, |held| {
            if held.filler != Some(filler) {
                return FillStep::Lost;
            }
            rows.iter().for_each(|row| held.take(row));
            FillStep::Done
        })
    }

    async fn finish_fill(&self, board: &BoardId, filler: Uuid, state: &StatePoint) -> Result<FillStep, StoreError> {
        self.with(board, |held| {
            if held.filler != Some(filler) {
                return FillStep::Lost;
            }
            held.filler = None;
            held.state = Some(state.clone());
            FillStep::Done
        })
    }

    async fn top(&self, board: &BoardId, limit: usize) -> Result<Option<(StatePoint, Vec<Placement>)>, StoreError> {
        self.with(board, |held| held.shown().map(|(state, lines)| (state, lines.into_iter().take(limit).collect())))
    }

    async fn neighborhood(
        &self,
        board: &BoardId,
        user: UserId,
        around: usize,
    ) -> Result<Option<(StatePoint, Option<Neighborhood<Placement>>)>, StoreError> {
        self.with(board, |held| {
            let (state, all) = held.shown()?;
            let neighborhood = all.iter().position(|p| p.user == user).map(|at| {
                let from = at.saturating_sub(around);
                let lines = all[from..(at + around + 1).min(all.len())].to_vec();
                Neighborhood { state: state.clone(), lines, own: at - from }
            });
            Some((state, neighborhood))
        })
    }

    async fn scores_at(&self, board: &BoardId, ranks: &[u64]) -> Result<Option<ScoresAt>, StoreError> {
        self.with(board, |held| {
            let (state, lines) = held.shown()?;
            let score = |rank: &u64| lines.iter().find(|line| line.rank == *rank).map(|line| line.score);
            Some(ScoresAt { state, players: lines.len() as u64, scores: ranks.iter().map(score).collect() })
        })
    }

    async fn count(&self, board: &BoardId) -> Result<Option<(StatePoint, u64)>, StoreError> {
        self.with(board, |held| held.shown().map(|(state, lines)| (state, lines.len() as u64)))
    }
}
