//! The ledger as an audit.

use std::time::Duration;

use async_trait::async_trait;
use common::board::Proof;
use common::ids::{ActionId, ActionType, BoardId, IdempotencyKey, SubmissionId, UserId};
use common::ports::{AUDIT_LIMIT, Audit, AuditQuery, AuditRow, Deviation, StoreError};
use common::score_update::{AddressHash, ContentHash, ScoreUpdate, TraceContext};
use common::state::Version;
use tokio_postgres::Row;

use super::error::unreadable;
use super::lease::{Lease, Params};
use super::truth::sum;
use super::values::{column, parsed, receipt, time};
use super::{PgStore, statements};

/// How long a search through the whole ledger may take.
const SEARCH_PATIENCE: Duration = Duration::from_secs(120);

#[async_trait]
impl Audit for PgStore {
    async fn story(&self, query: &AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
        let board = query.board.as_ref().map(BoardId::as_str);
        let action = query.action.as_ref().map(ActionId::as_str);
        let limit = i64::try_from(query.limit.min(AUDIT_LIMIT)).unwrap_or(i64::MAX);
        let rows = match (query.user, action) {
            (Some(user), action) => self.rows(statements::AUDIT_USER, &[&user.0, &board, &action, &limit]).await?,
            (None, Some(action)) => {
                let lease = self.lease().await?.with_patience(SEARCH_PATIENCE);
                self.counted(search(lease, statements::AUDIT_ACTION, &[&action, &board, &limit]).await)?
            }
            (None, None) => Vec::new(),
        };
        let mut story: Vec<AuditRow> = rows.iter().map(audit_row).collect::<Result<_, _>>()?;
        story.reverse();
        Ok(story)
    }

    async fn deviations(&self, board: &BoardId, limit: usize) -> Result<Vec<Deviation>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let lease = self.lease().await?.with_patience(SEARCH_PATIENCE);
        let rows = self.counted(search(lease, statements::DEVIATIONS, &[&board.as_str(), &limit]).await)?;
        rows.iter().map(deviation).collect()
    }
}

fn deviation(row: &Row) -> Result<Deviation, StoreError> {
    let version = |index: usize| -> Result<Option<Version>, StoreError> {
        let version = column::<Option<i64>>(row, index)?.map(u64::try_from).transpose();
        Ok(version.map_err(|error| unreadable(error.into()))?.map(Version))
    };
    let score = column::<Option<i64>>(row, 1)?;
    let ledger = match version(3)? {
        Some(version) => Some((sum(row, 4)?, version)),
        None => None,
    };
    Ok(Deviation { user: UserId(column(row, 0)?), held: version(2)?.map(|version| (score, version)), ledger })
}

/// Reads the whole ledger: has time of its own, and sequential scans back.
async fn search(lease: Lease, statement: &'static str, params: &Params<'_>) -> Result<Vec<Row>, StoreError> {
    lease.transaction_begins();
    let begin = format!(
        "BEGIN READ ONLY; SET LOCAL enable_seqscan = on; SET LOCAL statement_timeout = {}",
        SEARCH_PATIENCE.as_millis()
    );
    lease.exchange(lease.client()?.batch_execute(&begin)).await?;
    let rows = lease.query(statement, params).await?;
    lease.exchange(lease.client()?.batch_execute("COMMIT")).await?;
    lease.transaction_ended();
    Ok(rows)
}

/// A whole row of the ledger, as the statements of the audit list its columns.
pub(super) fn audit_row(row: &Row) -> Result<AuditRow, StoreError> {
    let damaged = |what: &'static str| unreadable(what.into());
    let content: &[u8] = column(row, 8)?;
    let address = column::<Option<&[u8]>>(row, 11)?.map(<[u8; 16]>::try_from).transpose();
    let key = column::<Option<&str>>(row, 7)?.map(IdempotencyKey::parse).transpose();
    let update = ScoreUpdate {
        submission: SubmissionId(column(row, 0)?),
        board: parsed(row, 1, BoardId::parse)?,
        user: UserId(column(row, 2)?),
        action_id: parsed(row, 3, ActionId::parse)?,
        action_type: parsed(row, 4, ActionType::parse)?,
        points: column(row, 5)?,
        proof: Proof::parse(column(row, 6)?).ok_or_else(|| damaged("unknown proof"))?,
        idempotency_key: key.map_err(|error| unreadable(error.into()))?,
        content_hash: ContentHash(content.try_into().map_err(|_| damaged("a content hash is not 32 bytes"))?),
        accepted_at: time(row, 9)?,
        request_id: column(row, 10)?,
        address_hash: address.map_err(|_| damaged("an address hash is not 16 bytes"))?.map(AddressHash),
        trace: TraceContext::default(),
    };
    Ok(AuditRow { update, receipt: receipt(row, 13)?, reviewer: column(row, 12)? })
}
