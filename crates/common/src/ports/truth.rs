//! The truth: what was committed, by version.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::Source;
use crate::board::Board;
use crate::clock::Timestamp;
use crate::decision::Watch;
use crate::error_code::ErrorCode;
use crate::ids::{ActionId, BoardId, UserId};
use crate::receipt::{Outcome, Receipt};
use crate::score_update::ScoreUpdate;
use crate::standing::{BoardChange, Entry, Neighborhood, ScoreRow, TopList};
use crate::state::{BoardHead, Version};

/// A store did not do what was asked. The variant says what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is away or overloaded: wait and ask again.
    #[error("{store} is not available")]
    Unavailable {
        /// Which store.
        store: &'static str,
        /// The driver's words, for the log.
        #[source]
        source: Source,
    },
    /// A race was lost: asking again at once can succeed.
    #[error("{store} found a conflicting change")]
    Conflict {
        /// Which store.
        store: &'static str,
        /// The driver's words, for the log.
        #[source]
        source: Source,
    },
    /// The data itself cannot be taken: the same request will never succeed.
    #[error("{store} refuses the data")]
    Refused {
        /// Which store.
        store: &'static str,
        /// The driver's words, for the log.
        #[source]
        source: Source,
    },
}

impl StoreError {
    /// Whether the same request can succeed later, unchanged.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

/// What a committed batch did.
#[derive(Clone, Debug, Default)]
pub struct AppliedBatch {
    /// One for each update, in the batch's order.
    pub outcomes: Vec<Outcome>,
    /// The range of each board that moved.
    pub changes: Vec<BoardChange>,
}

/// The write side of the truth; the score-worker is its only user.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Decides and commits a batch in one transaction: all of it or, on an error, nothing. What passes the bounds of
    /// `watch` is put in quarantine.
    ///
    /// # Errors
    /// [`StoreError`]; after `Unavailable` the batch may have been committed, and repeating it finds its rows.
    async fn apply_watched(
        &self,
        updates: &[ScoreUpdate],
        watch: &Watch,
        now: Timestamp,
    ) -> Result<AppliedBatch, StoreError>;

    /// The same, with nobody watching: nothing is put in quarantine.
    ///
    /// # Errors
    /// As [`Self::apply_watched`].
    async fn apply_batch(&self, updates: &[ScoreUpdate], now: Timestamp) -> Result<AppliedBatch, StoreError> {
        self.apply_watched(updates, &Watch::default(), now).await
    }

    /// The points that users gained by applied actions decided after `after` and not after `until`, summed by board,
    /// user and slot of `slot_ms` milliseconds (counted from the Unix epoch). Gains only: what takes points away is
    /// left out.
    async fn gains(&self, after: Timestamp, until: Timestamp, slot_ms: i64) -> Result<Vec<Gain>, StoreError>;

    /// Writes down that an update was decided against without being applied, so that its receipt tells. Does nothing
    /// where the update has its row already.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn record_refusal(&self, update: &ScoreUpdate, code: ErrorCode, now: Timestamp) -> Result<(), StoreError>;
}

/// Points that a user gained in a slot of time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gain {
    /// On which board.
    pub board: BoardId,
    /// Who.
    pub user: UserId,
    /// When the slot began.
    pub slot: Timestamp,
    /// How many; more than zero.
    pub points: i64,
}

/// Rows of a board, read with the board's head in one snapshot.
#[derive(Clone, Debug)]
pub struct RowPage {
    /// Where the board stood.
    pub head: BoardHead,
    /// In the order that was asked for.
    pub rows: Vec<ScoreRow>,
    /// None is missing between the asked version and the head, or after the asked user.
    pub complete: bool,
}

/// Sums by which two states of a board can be compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BoardDigest {
    /// Users with a score.
    pub players: u64,
    /// The sum of their scores.
    pub score_sum: i128,
    /// The sum of the points of all applied actions in the ledger.
    pub ledger_points: i128,
    /// Applied actions in the ledger; equal to the head's version as long as only actions move the board.
    pub ledger_actions: u64,
}

/// The read side of the truth.
#[async_trait]
pub trait Truth: Send + Sync {
    /// Every board with its rules, by id.
    async fn boards(&self) -> Result<Vec<Board>, StoreError>;

    /// Where every board stands, by id. Cheap: asked about twice a second by every node.
    async fn heads(&self) -> Result<Vec<BoardHead>, StoreError>;

    /// The best `limit` lines with the head, in one snapshot. `None`: no such board.
    async fn top(&self, board: &BoardId, limit: usize) -> Result<Option<TopList>, StoreError>;

    /// A user's line and up to `around` lines on each side, with the head, in one snapshot.
    /// `None`: no such board, or no score on it.
    async fn neighborhood(
        &self,
        board: &BoardId,
        user: UserId,
        around: usize,
    ) -> Result<Option<Neighborhood<Entry>>, StoreError>;

    /// Up to `limit` rows (tombstones too) above `after`, with the head, in one snapshot. `None`: no such board.
    async fn rows_above(&self, board: &BoardId, after: Version, limit: usize) -> Result<Option<RowPage>, StoreError>;

    /// Up to `limit` rows (tombstones too) of users after this one, by user, with the head, in one snapshot. To read a
    /// whole board: as it is stored, and not as it was played. `complete`: there are no users after those.
    /// `None`: no such board.
    async fn rows_by_user(
        &self,
        board: &BoardId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Option<RowPage>, StoreError>;

    /// What became of a user's action: the applied one, else the last refusal. `None`: never decided.
    async fn receipt(&self, user: UserId, board: &BoardId, action: &ActionId) -> Result<Option<Receipt>, StoreError>;

    /// Sums over a board, for comparisons. Slow: reads the whole board. `None`: no such board.
    async fn digest(&self, board: &BoardId) -> Result<Option<BoardDigest>, StoreError>;
}

/// The names that go with user ids.
#[async_trait]
pub trait Profiles: Send + Sync {
    /// The names of those of `users` that exist.
    async fn usernames(&self, users: &[UserId]) -> Result<HashMap<UserId, Arc<str>>, StoreError>;
}
