//! The ledger as the story that it tells: who did what, from where, and what became of it.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::ids::{ActionId, BoardId, SubmissionId, UserId};
use crate::receipt::Receipt;
use crate::score_update::ScoreUpdate;
use crate::state::Version;

/// The most rows that are told at once.
pub const AUDIT_LIMIT: usize = 10_000;

/// What is asked for. At least one of user and action should be named; the board narrows either.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// By this user.
    pub user: Option<UserId>,
    /// This action, of whomever.
    pub action: Option<ActionId>,
    /// On this board.
    pub board: Option<BoardId>,
    /// How many rows at most; the newest ones are told.
    pub limit: usize,
}

/// A row of the ledger.
#[derive(Clone, PartialEq, Debug)]
pub struct AuditRow {
    /// What was asked for, as the gateway accepted it; its trace is not kept.
    pub update: ScoreUpdate,
    /// What became of it. A pending one is in quarantine.
    pub receipt: Receipt,
    /// Who decided it, where that was a person's review.
    pub reviewer: Option<String>,
}

impl AuditRow {
    /// Which acceptance, or which review.
    #[must_use]
    pub const fn submission(&self) -> SubmissionId {
        self.update.submission
    }

    /// When it was decided.
    #[must_use]
    pub fn decided_at(&self) -> Timestamp {
        self.receipt.decided_at.unwrap_or(self.update.accepted_at)
    }
}

/// A user whose line is not what the ledger's applied actions come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deviation {
    /// Who.
    pub user: UserId,
    /// The score (`None` for a tombstone) and the version that it was reached at. `None`: no line at all.
    pub held: Option<(Option<i64>, Version)>,
    /// The points of the user's applied actions, and the newest of their versions. `None`: no applied action.
    pub ledger: Option<(i128, Version)>,
}

/// The audit side of the ledger.
#[async_trait]
pub trait Audit: Send + Sync {
    /// The newest rows that fit the query, oldest first. An action without its user is looked for in the whole ledger:
    /// slow.
    async fn story(&self, query: &AuditQuery) -> Result<Vec<AuditRow>, StoreError>;

    /// Up to `limit` users of a board whose score or version is not what their applied actions come to, by user, all of
    /// one snapshot. Slow: reads the whole board.
    async fn deviations(&self, board: &BoardId, limit: usize) -> Result<Vec<Deviation>, StoreError>;
}
