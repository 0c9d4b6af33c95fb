//! Actions in quarantine, and their reviews.

use async_trait::async_trait;
use common::decision::{NotReviewed, decide_review};
use common::ports::{AUDIT_LIMIT, HeldAction, ReviewOrder, Reviewed, Reviews, StoreError};
use common::score_update::ScoreUpdate;
use rusqlite::{Connection, params};

use super::audit::audit_rows;
use super::columns;
use super::failure::Failure;
use super::ledger::{read_facts, write_plan};
use super::store::SqliteStore;

#[async_trait]
impl Reviews for SqliteStore {
    async fn held(&self, limit: usize) -> Result<Vec<HeldAction>, StoreError> {
        self.readers.run(move |connection| held(connection, limit)).await
    }

    async fn review(&self, order: &ReviewOrder) -> Result<Result<Reviewed, NotReviewed>, StoreError> {
        let order = order.clone();
        self.writer.run(move |connection| review(connection, &order)).await
    }
}

fn held(connection: &Connection, limit: usize) -> Result<Vec<HeldAction>, Failure> {
    audit_rows(
        connection,
        "WHERE outcome = 'quarantined' AND outcome IN ('quarantined', 'forbidden')
             AND NOT EXISTS (SELECT 1 FROM actions AS r WHERE r.board = q.board AND r.user = q.user
                 AND r.action_id = q.action_id AND r.outcome = 'applied')
             AND NOT EXISTS (SELECT 1 FROM actions AS r WHERE r.board = q.board AND r.user = q.user
                 AND r.action_id = q.action_id AND r.outcome = 'forbidden'
                 AND r.outcome IN ('quarantined', 'forbidden'))
         ORDER BY id LIMIT ?1",
        params![columns::limit(limit.min(AUDIT_LIMIT))],
    )
}

/// As a batch of one is decided, inside one savepoint.
fn review(connection: &Connection, order: &ReviewOrder) -> Result<Result<Reviewed, NotReviewed>, Failure> {
    let found = audit_rows(connection, "WHERE submission = ?1 AND outcome = 'quarantined'", params![order.held.0])?;
    let Some(held) = found.into_iter().next() else { return Ok(Err(NotReviewed::NotHeld)) };
    let updates = [ScoreUpdate { submission: order.submission, ..held.update }];
    let facts = read_facts(connection, &updates, order.now)?;
    let plan = match decide_review(&updates[0], facts, order.verdict, &order.reviewer, order.now) {
        Ok(plan) => plan,
        Err(why) => return Ok(Err(why)),
    };
    write_plan(connection, &updates, &plan, order.now)?;
    let Some(row) = plan.ledger.into_iter().next() else { return Ok(Err(NotReviewed::NotHeld)) };
    Ok(Ok(Reviewed { receipt: row.receipt, change: plan.changes.into_iter().next() }))
}
