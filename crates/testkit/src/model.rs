//! The model of a board that every backend's order and ranks are compared with.

use std::collections::BTreeMap;

use common::ids::UserId;
use common::standing::ScoreRow;
use common::state::Version;

/// A line of the model: who, with which score, reached at which version. The rank is its position.
pub type ModelLine = (UserId, i64, Version);

/// A board, as simply as it can be said: everybody's newest row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BoardModel {
    newest: BTreeMap<UserId, (Version, Option<i64>)>,
}

impl BoardModel {
    /// A model that took these rows over.
    #[must_use]
    pub fn of(rows: &[ScoreRow]) -> Self {
        let mut model = Self::default();
        rows.iter().for_each(|row| model.take(row));
        model
    }

    /// Takes a row over, unless it holds a newer one of that user.
    pub fn take(&mut self, row: &ScoreRow) {
        let held = self.newest.entry(row.user).or_default();
        if held.0 < row.version {
            *held = (row.version, row.score);
        }
    }

    /// Everybody with a score: score descending, then who reached it first.
    #[must_use]
    pub fn ranked(&self) -> Vec<ModelLine> {
        let scored = self.newest.iter().filter_map(|(user, (version, score))| Some((*user, (*score)?, *version)));
        let mut lines: Vec<ModelLine> = scored.collect();
        lines.sort_by(|a, b| b.1.cmp(&a.1).then(a.2.cmp(&b.2)));
        lines
    }

    /// The score of a user; `None` without one.
    #[must_use]
    pub fn score(&self, user: UserId) -> Option<i64> {
        self.newest.get(&user).and_then(|held| held.1)
    }

    /// The position of a user, 1 for the best; `None` without a score.
    #[must_use]
    pub fn rank(&self, user: UserId) -> Option<u64> {
        self.ranked().iter().position(|line| line.0 == user).map(|at| at as u64 + 1)
    }
}
