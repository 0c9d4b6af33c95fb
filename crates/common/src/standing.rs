//! Scores, their strict order, and what boards show of them.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::ids::{BoardId, UserId};
use crate::state::{Epoch, StatePoint, Version};

/// The place of a score in the strict order: score descending, then who reached it first (lower version).
/// `Less` ranks better. Versions are unique on a board, so no two keys of one board are equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RankKey {
    /// The score.
    pub score: i64,
    /// The version that it was reached at.
    pub version: Version,
}

impl Ord for RankKey {
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.cmp(&self.score).then(self.version.cmp(&other.version))
    }
}

impl PartialOrd for RankKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A user's newest row on a board, or the tombstone that a later removal leaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScoreRow {
    /// Whose.
    pub user: UserId,
    /// The name to show.
    pub username: Arc<str>,
    /// The score; `None` for a tombstone.
    pub score: Option<i64>,
    /// The board's version that this row carries.
    pub version: Version,
    /// When that version was made.
    pub updated_at: Timestamp,
}

impl ScoreRow {
    /// Its place in the order; `None` for a tombstone.
    #[must_use]
    pub fn key(&self) -> Option<RankKey> {
        self.score.map(|score| RankKey { score, version: self.version })
    }
}

/// All that happened on a board after `from`, up to `to`: the newest row of every user that changed.
/// A projection that stands at `from` stands at `to` after taking the rows over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BoardChange {
    /// The board.
    pub board: BoardId,
    /// Its history.
    pub epoch: Epoch,
    /// Where the range starts, exclusive.
    pub from: Version,
    /// Where it ends, inclusive.
    pub to: Version,
    /// The rows, each with a version in the range, in version order, one per user.
    pub rows: Vec<ScoreRow>,
}

impl BoardChange {
    /// The state that the change leads to.
    #[must_use]
    pub fn state(&self) -> StatePoint {
        StatePoint { epoch: self.epoch.clone(), version: self.to }
    }
}

/// One line of a leaderboard as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Who.
    pub user: UserId,
    /// The name to show.
    pub username: Arc<str>,
    /// The score.
    pub score: i64,
    /// The position, 1 for the best.
    pub rank: u64,
    /// When the score last moved.
    pub updated_at: Timestamp,
    /// The version that it moved at.
    pub version: Version,
}

/// The best of a board at a state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopList {
    /// Which state.
    pub state: StatePoint,
    /// Best first, ranks from 1.
    pub entries: Vec<Entry>,
}

/// A position without the name, as rank indexes know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement {
    /// Who.
    pub user: UserId,
    /// The score.
    pub score: i64,
    /// The version that it was reached at.
    pub version: Version,
    /// When it was reached.
    pub updated_at: Timestamp,
    /// The position, 1 for the best.
    pub rank: u64,
}

impl Placement {
    /// The line to show, with the user's name.
    #[must_use]
    pub fn with_username(self, username: Arc<str>) -> Entry {
        Entry {
            user: self.user,
            username,
            score: self.score,
            rank: self.rank,
            updated_at: self.updated_at,
            version: self.version,
        }
    }
}

/// A user's own line and those around it (the user's among them), best first, all of one state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Neighborhood<T> {
    /// Which state.
    pub state: StatePoint,
    /// The lines, best first.
    pub lines: Vec<T>,
    /// Which of the lines is the user's own.
    pub own: usize,
}
