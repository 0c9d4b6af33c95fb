//! Actions in quarantine, and their reviews.

use async_trait::async_trait;
use common::decision::{NotReviewed, decide_review};
use common::ports::{AUDIT_LIMIT, HeldAction, ReviewOrder, Reviewed, Reviews, StoreError};
use common::score_update::ScoreUpdate;

use super::audit::audit_row;
use super::facts::{LedgerSchema, begin_and_read};
use super::lease::Lease;
use super::ledger::{prepare_writes, write_and_commit};
use super::{PgStore, statements};

#[async_trait]
impl Reviews for PgStore {
    async fn held(&self, limit: usize) -> Result<Vec<HeldAction>, StoreError> {
        let limit = i64::try_from(limit.min(AUDIT_LIMIT)).unwrap_or(i64::MAX);
        self.rows(statements::HELD, &[&limit]).await?.iter().map(audit_row).collect()
    }

    async fn review(&self, order: &ReviewOrder) -> Result<Result<Reviewed, NotReviewed>, StoreError> {
        let found = self.rows(statements::HELD_ONE, &[&order.held.0]).await?;
        let Some(held) = found.first().map(audit_row).transpose()? else { return Ok(Err(NotReviewed::NotHeld)) };
        let action = ScoreUpdate { submission: order.submission, ..held.update };
        let lease = self.lease().await?;
        let reviewed = review_and_commit(&lease, &action, order).await;
        if !matches!(reviewed, Ok(Ok(_))) {
            lease.rollback().await;
        }
        self.counted(reviewed)
    }
}

/// As a batch of one is decided: under the board's lock, from facts read behind it.
async fn review_and_commit(
    lease: &Lease,
    action: &ScoreUpdate,
    order: &ReviewOrder,
) -> Result<Result<Reviewed, NotReviewed>, StoreError> {
    let (updates, schema) = (std::slice::from_ref(action), LedgerSchema::Two);
    let writes = prepare_writes(lease, schema).await?;
    let facts = begin_and_read(lease, updates, schema, order.now).await?;
    let plan = match decide_review(action, facts, order.verdict, &order.reviewer, order.now) {
        Ok(plan) => plan,
        Err(why) => return Ok(Err(why)),
    };
    write_and_commit(lease, &writes, updates, &plan, schema, order.now).await?;
    lease.transaction_ended();
    let Some(row) = plan.ledger.into_iter().next() else { return Ok(Err(NotReviewed::NotHeld)) };
    Ok(Ok(Reviewed { receipt: row.receipt, change: plan.changes.into_iter().next() }))
}
