//! A truth in memory: what a projection is fed from, and what it is compared with.

use std::collections::HashMap;
use std::sync::Arc;

use common::ids::{BoardId, UserId};
use common::ports::{FillStart, FillStep, RankIndex};
use common::standing::{BoardChange, ScoreRow};
use common::state::{Epoch, StatePoint, Version};
use uuid::Uuid;

use crate::fixtures;
use crate::model::BoardModel;

/// Everything that ever happened on one board: the row of version `v` is the `v`-th.
#[derive(Clone, Debug)]
pub struct History {
    /// The board.
    pub board: BoardId,
    /// Its epoch.
    pub epoch: Epoch,
    rows: Vec<ScoreRow>,
}

/// How an attempt to bring an index to the head of a history ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CaughtUp {
    /// The index stands at the head.
    Done,
    /// Somebody else is filling.
    Busy,
    /// The fill was lost on the way.
    Lost,
}

impl History {
    /// A board without any change, in the epoch `e1`.
    #[must_use]
    pub fn new(board: BoardId) -> Self {
        Self { board, epoch: fixtures::epoch("e1"), rows: Vec::new() }
    }

    /// A board on which the `n`-th seeded user got `scores[n]`, in that order.
    #[must_use]
    pub fn of_scores(board: BoardId, scores: &[i64]) -> Self {
        let mut history = Self::new(board);
        for (n, score) in scores.iter().enumerate() {
            history.push(fixtures::seeded_user(n), Some(*score));
        }
        history
    }

    /// The same history on another board.
    #[must_use]
    pub fn on(mut self, board: BoardId) -> Self {
        self.board = board;
        self
    }

    /// The next version: a user has this score now, or none any more.
    pub fn push(&mut self, user: UserId, score: Option<i64>) -> Version {
        let version = self.rows.len() as u64 + 1;
        self.rows.push(ScoreRow { score, ..fixtures::tombstone(user, version) });
        Version(version)
    }

    /// The newest version.
    #[must_use]
    pub fn head(&self) -> Version {
        Version(self.rows.len() as u64)
    }

    /// The newest state.
    #[must_use]
    pub fn state(&self) -> StatePoint {
        self.state_at(self.head())
    }

    /// The state at a version.
    #[must_use]
    pub fn state_at(&self, version: Version) -> StatePoint {
        StatePoint { epoch: self.epoch.clone(), version }
    }

    /// How the board stood at a version.
    #[must_use]
    pub fn model_at(&self, version: Version) -> BoardModel {
        BoardModel::of(&self.rows[..version.0 as usize])
    }

    /// How the board stands.
    #[must_use]
    pub fn model(&self) -> BoardModel {
        self.model_at(self.head())
    }

    /// All that happened after `from`, up to `to`.
    #[must_use]
    pub fn change(&self, from: u64, to: u64) -> BoardChange {
        let rows = newest(&self.rows[from as usize..to as usize]);
        BoardChange { board: self.board.clone(), epoch: self.epoch.clone(), from: Version(from), to: Version(to), rows }
    }

    /// The first `limit` rows above a version as the head has them.
    #[must_use]
    pub fn rows_above(&self, after: Version, limit: usize) -> Vec<ScoreRow> {
        let mut rows = newest(&self.rows);
        rows.retain(|row| row.version > after);
        rows.truncate(limit);
        rows
    }

    /// Brings an index to the head in pages of `page` rows, as a projector does.
    ///
    /// # Panics
    /// When the index fails.
    pub async fn catch_up(&self, index: &dyn RankIndex, page: usize) -> CaughtUp {
        let filler = Uuid::new_v4();
        let begun = index.begin_fill(&self.board, &self.epoch, self.head(), filler).await.expect("begin_fill");
        let FillStart::From(mut after) = begun else { return CaughtUp::Busy };
        assert!(after <= self.head(), "a fill starts at or below the head");
        loop {
            let rows = self.rows_above(after, page);
            let Some(last) = rows.last() else { break };
            after = last.version;
            if index.fill(&self.board, filler, &rows).await.expect("fill") == FillStep::Lost {
                return CaughtUp::Lost;
            }
        }
        match index.finish_fill(&self.board, filler, &self.state()).await.expect("finish_fill") {
            FillStep::Done => CaughtUp::Done,
            FillStep::Lost => CaughtUp::Lost,
        }
    }
}

/// The newest row of every user, in version order.
fn newest(rows: &[ScoreRow]) -> Vec<ScoreRow> {
    let by_user: HashMap<UserId, &ScoreRow> = rows.iter().map(|row| (row.user, row)).collect();
    let mut rows: Vec<ScoreRow> = by_user.into_values().cloned().collect();
    rows.sort_by_key(|row| row.version);
    rows
}

/// The name that [`fixtures::tombstone`] and with it every row of a history gives a user.
#[must_use]
pub fn username_of(user: UserId) -> Arc<str> {
    fixtures::tombstone(user, 0).username
}
