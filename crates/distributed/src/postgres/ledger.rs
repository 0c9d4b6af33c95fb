//! The write side of the truth: one transaction of two round trips per batch.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use common::clock::Timestamp;
use common::decision::{LedgerRow, Plan, Watch, decide, decide_refusal};
use common::error_code::ErrorCode;
use common::ids::{BoardId, IdempotencyKey, UserId};
use common::ports::{AppliedBatch, Gain, Ledger, StoreError};
use common::score_update::ScoreUpdate;
use futures_util::join;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

use super::PgStore;
use super::error::in_one_line;
use super::facts::{LedgerSchema, begin_and_read};
use super::lease::{Lease, Params};
use super::statements::{
    GAINS, SCHEMA, WRITE_DAILY_POINTS, WRITE_LEDGER, WRITE_LEDGER_V1, WRITE_SCORES, WRITE_VERSIONS,
};
use super::values::{PgDay, PgTime, column, parsed, version_column};

/// How long the sums of a window may take.
const GAINS_PATIENCE: Duration = Duration::from_secs(10);

#[async_trait]
impl Ledger for PgStore {
    async fn apply_watched(
        &self,
        updates: &[ScoreUpdate],
        watch: &Watch,
        now: Timestamp,
    ) -> Result<AppliedBatch, StoreError> {
        if updates.is_empty() {
            return Ok(AppliedBatch::default());
        }
        let began = Instant::now();
        let mut result = self.apply_once(updates, watch, now).await;
        if let Err(StoreError::Conflict { source, .. }) = &result {
            // The rows that stood in the way are committed now, so the second look finds them.
            self.metrics.conflicted();
            tracing::debug!(
                error = in_one_line(&**source),
                updates = updates.len(),
                "batch lost a race and is decided again"
            );
            result = self.apply_once(updates, watch, now).await;
        }
        let result = self.counted(result);
        if result.is_ok() {
            self.metrics.committed(updates.len(), began.elapsed());
        }
        result
    }

    async fn gains(&self, after: Timestamp, until: Timestamp, slot_ms: i64) -> Result<Vec<Gain>, StoreError> {
        let lease = self.lease().await?;
        if self.ledger_schema(&lease).await? == LedgerSchema::One {
            return Ok(Vec::new());
        }
        let lease = lease.with_patience(GAINS_PATIENCE);
        let params: &Params<'_> = &[&PgTime(after), &PgTime(until), &slot_ms.max(1)];
        let rows = self.counted(lease.query(GAINS, params).await)?;
        let gain = |row: &Row| {
            Ok(Gain {
                board: parsed(row, 0, BoardId::parse)?,
                user: UserId(column(row, 1)?),
                slot: Timestamp::from_millis(column(row, 2)?),
                points: column(row, 3)?,
            })
        };
        rows.iter().map(gain).collect()
    }

    async fn record_refusal(&self, update: &ScoreUpdate, code: ErrorCode, now: Timestamp) -> Result<(), StoreError> {
        let lease = self.lease().await?;
        let recorded = record_and_commit(&lease, update, code, self.ledger_schema(&lease).await?, now).await;
        if recorded.is_err() {
            lease.rollback().await;
        }
        self.counted(recorded)
    }
}

impl PgStore {
    /// What the ledger's table can hold. Asked until it is our own schema, which no later one takes back.
    pub(super) async fn ledger_schema(&self, lease: &Lease) -> Result<LedgerSchema, StoreError> {
        if self.schema_is_own.load(Ordering::Relaxed) {
            return Ok(LedgerSchema::Two);
        }
        let newest: Option<i32> = lease.query_opt(SCHEMA, &[]).await?.map_or(Ok(None), |row| column(&row, 0))?;
        if newest < Some(2) {
            return Ok(LedgerSchema::One);
        }
        self.schema_is_own.store(true, Ordering::Relaxed);
        Ok(LedgerSchema::Two)
    }

    async fn apply_once(
        &self,
        updates: &[ScoreUpdate],
        watch: &Watch,
        now: Timestamp,
    ) -> Result<AppliedBatch, StoreError> {
        let lease = self.lease().await?;
        let schema = self.ledger_schema(&lease).await?;
        match decide_and_commit(&lease, updates, watch, schema, now).await {
            Ok(plan) => Ok(AppliedBatch { outcomes: plan.outcomes, changes: plan.changes }),
            Err(error) => {
                lease.rollback().await;
                Err(error)
            }
        }
    }
}

async fn decide_and_commit(
    lease: &Lease,
    updates: &[ScoreUpdate],
    watch: &Watch,
    schema: LedgerSchema,
    now: Timestamp,
) -> Result<Plan, StoreError> {
    // Before the boards are locked: a connection that is new has to ask the server about the statements.
    let writes = prepare_writes(lease, schema).await?;
    let facts = begin_and_read(lease, updates, schema, now).await?;
    let plan = match schema {
        LedgerSchema::One => decide(updates, facts, &Watch::default(), now),
        LedgerSchema::Two => decide(updates, facts, watch, now),
    };
    write_and_commit(lease, &writes, updates, &plan, schema, now).await?;
    lease.transaction_ended();
    Ok(plan)
}

/// As a batch of one is decided: under the board's lock, from facts read behind it.
async fn record_and_commit(
    lease: &Lease,
    update: &ScoreUpdate,
    code: ErrorCode,
    schema: LedgerSchema,
    now: Timestamp,
) -> Result<(), StoreError> {
    let updates = std::slice::from_ref(update);
    let writes = prepare_writes(lease, schema).await?;
    let facts = begin_and_read(lease, updates, schema, now).await?;
    let plan = decide_refusal(update, &facts, code, now);
    write_and_commit(lease, &writes, updates, &plan, schema, now).await?;
    lease.transaction_ended();
    Ok(())
}

/// The statements that write a plan.
pub(super) async fn prepare_writes(lease: &Lease, schema: LedgerSchema) -> Result<[Statement; 4], StoreError> {
    let ledger = match schema {
        LedgerSchema::One => WRITE_LEDGER_V1,
        LedgerSchema::Two => WRITE_LEDGER,
    };
    lease.prepare([ledger, WRITE_SCORES, WRITE_DAILY_POINTS, WRITE_VERSIONS]).await
}

/// Writes the plan and commits in one round trip. Should a statement fail, the server turns the COMMIT behind it into
/// a rollback, and the statement's error is the answer.
pub(super) async fn write_and_commit(
    lease: &Lease,
    [ledger, scores, daily, versions]: &[Statement; 4],
    updates: &[ScoreUpdate],
    plan: &Plan,
    schema: LedgerSchema,
    now: Timestamp,
) -> Result<(), StoreError> {
    let client = lease.client()?;
    if plan.ledger.is_empty() {
        // Repeats only: nothing to write.
        return lease.exchange(client.batch_execute("COMMIT")).await;
    }
    let (l, s, d) = (LedgerColumns::of(updates, plan), ScoreColumns::of(plan), DailyColumns::of(plan));
    let (decided_at, today) = (PgTime(now), PgDay(now.utc_day()));
    let ledger_params = l.params(schema, &decided_at);
    let score_params: &Params<'_> = &[&s.boards, &s.users, &s.scores, &s.versions, &decided_at];
    let daily_params: &Params<'_> = &[&d.boards, &d.users, &d.types, &d.points, &today];
    let version_params: &Params<'_> = &[&s.moved_boards, &s.heads];
    let moved = !plan.changes.is_empty();
    // Each future sends when it is first polled, and they are polled in this order. All are waited for: those behind a
    // statement that failed only say that the transaction is lost, and may be heard before the one that says why.
    let answers = async {
        let (ledger, scores, daily, versions, committed) = join!(
            client.execute(ledger, ledger_params.as_slice()),
            only_if(moved, client.execute(scores, score_params)),
            only_if(moved, client.execute(daily, daily_params)),
            only_if(moved, client.execute(versions, version_params)),
            client.batch_execute("COMMIT"),
        );
        ledger.and(scores).and(daily).and(versions).and(committed)
    };
    lease.exchange(Box::pin(answers)).await
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
    addresses: Vec<Option<&'a [u8]>>,
    reviewers: Vec<Option<&'a str>>,
}

impl<'a> LedgerColumns<'a> {
    fn of(updates: &'a [ScoreUpdate], plan: &'a Plan) -> Self {
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
            columns.outcomes.push(row.receipt.status.ledger_outcome());
            columns.versions.push(row.receipt.version.map(version_column));
            columns.scores.push(row.receipt.new_score);
            columns.accepted.push(PgTime(update.accepted_at));
            columns.requests.push(&update.request_id);
            columns.addresses.push(update.address_hash.as_ref().map(|hash| hash.0.as_slice()));
            columns.reviewers.push(row.reviewer.as_deref());
        }
        columns
    }

    /// In the order of the statement's parameters.
    fn params<'p>(&'p self, schema: LedgerSchema, decided_at: &'p PgTime) -> Vec<&'p (dyn ToSql + Sync)> {
        let mut params: Vec<&'p (dyn ToSql + Sync)> = vec![
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
        ];
        if schema == LedgerSchema::Two {
            params.extend([&self.addresses as &(dyn ToSql + Sync), &self.reviewers]);
        }
        params.push(decided_at);
        params
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
