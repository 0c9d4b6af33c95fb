//! The write side of the truth: one transaction of two round trips per batch.

use std::time::Instant;

use async_trait::async_trait;
use common::clock::Timestamp;
use common::decision::{LedgerRow, Plan, decide};
use common::error_code::ErrorCode;
use common::ids::IdempotencyKey;
use common::ports::{AppliedBatch, Ledger, StoreError};
use common::score_update::ScoreUpdate;
use futures_util::try_join;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::PgStore;
use super::error::in_one_line;
use super::facts::begin_and_read;
use super::lease::{Lease, Params};
use super::statements::{WRITE_DAILY_POINTS, WRITE_LEDGER, WRITE_SCORES, WRITE_VERSIONS};
use super::values::{PgDay, PgTime, outcome_column, version_column};

#[async_trait]
impl Ledger for PgStore {
    async fn apply_batch(&self, updates: &[ScoreUpdate], now: Timestamp) -> Result<AppliedBatch, StoreError> {
        if updates.is_empty() {
            return Ok(AppliedBatch::default());
        }
        let began = Instant::now();
        let mut result = self.apply_once(updates, now).await;
        if let Err(StoreError::Conflict { source, .. }) = &result {
            // The rows that stood in the way are committed now, so the second look finds them.
            self.metrics.conflicted();
            tracing::debug!(
                error = in_one_line(&**source),
                updates = updates.len(),
                "batch lost a race and is decided again"
            );
            result = self.apply_once(updates, now).await;
        }
        let result = self.counted(result);
        if result.is_ok() {
            self.metrics.committed(updates.len(), began.elapsed());
        }
        result
    }

    async fn record_refusal(&self, update: &ScoreUpdate, code: ErrorCode, now: Timestamp) -> Result<(), StoreError> {
        self.write_refusal(update, code, now).await
    }
}

impl PgStore {
    async fn apply_once(&self, updates: &[ScoreUpdate], now: Timestamp) -> Result<AppliedBatch, StoreError> {
        let lease = self.lease().await?;
        match decide_and_commit(&lease, updates, now).await {
            Ok(plan) => Ok(AppliedBatch { outcomes: plan.outcomes, changes: plan.changes }),
            Err(error) => {
                lease.rollback().await;
                Err(error)
            }
        }
    }
}

async fn decide_and_commit(lease: &Lease, updates: &[ScoreUpdate], now: Timestamp) -> Result<Plan, StoreError> {
    // Before the boards are locked: a connection that is new has to ask the server about the statements.
    let writes = lease.prepare([WRITE_LEDGER, WRITE_SCORES, WRITE_DAILY_POINTS, WRITE_VERSIONS]).await?;
    let facts = begin_and_read(lease, updates, now).await?;
    let plan = decide(updates, facts, now);
    write_and_commit(lease, &writes, updates, &plan, now).await?;
    lease.transaction_ended();
    Ok(plan)
}

/// Writes the plan and commits in one round trip. Should a statement fail, the server turns the COMMIT behind it into
/// a rollback, and the statement's error is the answer.
async fn write_and_commit(
    lease: &Lease,
    [ledger, scores, daily, versions]: &[Statement; 4],
    updates: &[ScoreUpdate],
    plan: &Plan,
    now: Timestamp,
) -> Result<(), StoreError> {
    let client = lease.client()?;
    if plan.ledger.is_empty() {
        // Repeats only: nothing to write.
        return lease.exchange(client.batch_execute("COMMIT")).await;
    }
    let (l, s, d) = (LedgerColumns::of(updates, plan), ScoreColumns::of(plan), DailyColumns::of(plan));
    let (decided_at, today) = (PgTime(now), PgDay(now.utc_day()));
    let ledger_params = l.params(&decided_at);
    let score_params: &Params<'_> = &[&s.boards, &s.users, &s.scores, &s.versions, &decided_at];
    let daily_params: &Params<'_> = &[&d.boards, &d.users, &d.types, &d.points, &today];
    let version_params: &Params<'_> = &[&s.moved_boards, &s.heads];
    let moved = !plan.changes.is_empty();
    // Each future sends when it is first polled, and they are polled in this order.
    let answers = async {
        try_join!(
            client.execute(ledger, &ledger_params),
            only_if(moved, client.execute(scores, score_params)),
            only_if(moved, client.execute(daily, daily_params)),
            only_if(moved, client.execute(versions, version_params)),
            client.batch_execute("COMMIT"),
        )
    };
    lease.exchange(Box::pin(answers)).await.map(|_| ())
}

async fn only_if<E>(wanted: bool, work: impl Future<Output = Result<u64, E>>) -> Result<u64, E> {
    if wanted { work.await } else { Ok(0) }
}

/// New rows of the ledger, as columns.
#[derive(Default)]
struct LedgerColumns<'a> {
    users: Vec<Uuid>,
    submissions: Vec<Uuid>,
    boards: Vec<&'a str>,
    actions: Vec<&'a str>,
    types: Vec<&'a str>,
    points: Vec<i64>,
    proofs: Vec<&'static str>,
    keys: Vec<Option<&'a str>>,
    hashes: Vec<&'a [u8]>,
    outcomes: Vec<&'static str>,
    versions: Vec<Option<i64>>,
    scores: Vec<Option<i64>>,
    accepted: Vec<PgTime>,
    requests: Vec<&'a str>,
}

impl<'a> LedgerColumns<'a> {
    fn of(updates: &'a [ScoreUpdate], plan: &Plan) -> Self {
        let key_of = |row: &LedgerRow| updates[row.update].idempotency_key.as_ref().map(IdempotencyKey::as_str);
        // Writers on different boards meet only in a user's keys: adding those in one order keeps them from waiting
        // for each other in a circle.
        let mut rows: Vec<&LedgerRow> = plan.ledger.iter().collect();
        rows.sort_by_key(|row| (updates[row.update].user, key_of(row)));
        let mut columns = Self::default();
        for row in rows {
            let update = &updates[row.update];
            columns.users.push(update.user.0);
            columns.submissions.push(update.submission.0);
            columns.boards.push(update.board.as_str());
            columns.actions.push(update.action_id.as_str());
            columns.types.push(update.action_type.as_str());
            columns.points.push(update.points);
            columns.proofs.push(update.proof.as_str());
            columns.keys.push(key_of(row));
            columns.hashes.push(&update.content_hash.0);
            columns.outcomes.push(outcome_column(row.receipt.status));
            columns.versions.push(row.receipt.version.map(version_column));
            columns.scores.push(row.receipt.new_score);
            columns.accepted.push(PgTime(update.accepted_at));
            columns.requests.push(&update.request_id);
        }
        columns
    }

    /// In the order of the statement's parameters.
    fn params<'p>(&'p self, decided_at: &'p PgTime) -> [&'p (dyn ToSql + Sync); 15] {
        [
            &self.users,
            &self.submissions,
            &self.boards,
            &self.actions,
            &self.types,
            &self.points,
            &self.proofs,
            &self.keys,
            &self.hashes,
            &self.outcomes,
            &self.versions,
            &self.scores,
            &self.accepted,
            &self.requests,
            decided_at,
        ]
    }
}

/// New scores, and where their boards stand after them, as columns.
#[derive(Default)]
struct ScoreColumns<'a> {
    boards: Vec<&'a str>,
    users: Vec<Uuid>,
    scores: Vec<Option<i64>>,
    versions: Vec<i64>,
    moved_boards: Vec<&'a str>,
    heads: Vec<i64>,
}

impl<'a> ScoreColumns<'a> {
    fn of(plan: &'a Plan) -> Self {
        let mut columns = Self::default();
        for change in &plan.changes {
            columns.moved_boards.push(change.board.as_str());
            columns.heads.push(version_column(change.to));
            for row in &change.rows {
                columns.boards.push(change.board.as_str());
                columns.users.push(row.user.0);
                columns.scores.push(row.score);
                columns.versions.push(version_column(row.version));
            }
        }
        columns
    }
}

/// New sums of the day, as columns.
#[derive(Default)]
struct DailyColumns<'a> {
    boards: Vec<&'a str>,
    users: Vec<Uuid>,
    types: Vec<&'a str>,
    points: Vec<i64>,
}

impl<'a> DailyColumns<'a> {
    fn of(plan: &'a Plan) -> Self {
        let mut columns = Self::default();
        for sum in &plan.daily {
            columns.boards.push(sum.board.as_str());
            columns.users.push(sum.user.0);
            columns.types.push(sum.action_type.as_str());
            columns.points.push(sum.points);
        }
        columns
    }
}
