//! Actions in quarantine, and what a person decides about them.

use async_trait::async_trait;

use super::{AuditRow, StoreError};
use crate::clock::Timestamp;
use crate::decision::{NotReviewed, Verdict};
use crate::ids::SubmissionId;
use crate::receipt::Receipt;
use crate::standing::BoardChange;

/// An action that waits for its review: the ledger's row.
pub type HeldAction = AuditRow;

/// A person's decision about an action in quarantine.
#[derive(Clone, Debug)]
pub struct ReviewOrder {
    /// The submission of the held action's row.
    pub held: SubmissionId,
    /// What is decided.
    pub verdict: Verdict,
    /// By whom, for the audit.
    pub reviewer: String,
    /// The name of the review's own row in the ledger: fresh.
    pub submission: SubmissionId,
    /// When.
    pub now: Timestamp,
}

/// A review that was committed.
#[derive(Clone, PartialEq, Debug)]
pub struct Reviewed {
    /// What became of the action.
    pub receipt: Receipt,
    /// How the board moved, if the action was accepted. Projections follow by themselves: the version tells them.
    pub change: Option<BoardChange>,
}

/// The operator's side of the quarantine.
#[async_trait]
pub trait Reviews: Send + Sync {
    /// Up to `limit` actions that wait for their review, oldest first.
    async fn held(&self, limit: usize) -> Result<Vec<HeldAction>, StoreError>;

    /// Decides about one, in one transaction. The inner error says why nothing was changed.
    async fn review(&self, order: &ReviewOrder) -> Result<Result<Reviewed, NotReviewed>, StoreError>;
}
