//! The ledger as an audit.

use async_trait::async_trait;
use common::ids::{ActionId, BoardId};
use common::ports::{AUDIT_LIMIT, Audit, AuditQuery, AuditRow, Deviation, StoreError};
use common::score_update::{ScoreUpdate, TraceContext};
use rusqlite::{Connection, Row, params};

use super::columns;
use super::failure::Failure;
use super::ledger::{RECEIPT_COLUMNS, receipt_of};
use super::store::SqliteStore;

/// The columns of an update and its reviewer, before those of the receipt; see [`audit_row`].
const UPDATE_COLUMNS: &str = "submission, board, user, action_id, action_type, points, proof, idempotency_key,
    content_hash, accepted_at, request_id, address_hash, reviewer";

#[async_trait]
impl Audit for SqliteStore {
    async fn story(&self, query: &AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
        if query.user.is_none() && query.action.is_none() {
            return Ok(Vec::new());
        }
        let query = query.clone();
        self.readers.run(move |connection| story(connection, &query)).await
    }

    async fn deviations(&self, board: &BoardId, limit: usize) -> Result<Vec<Deviation>, StoreError> {
        let board = board.clone();
        self.readers.run(move |connection| deviations(connection, &board, limit)).await
    }
}

fn deviations(connection: &Connection, board: &BoardId, limit: usize) -> Result<Vec<Deviation>, Failure> {
    // Sums of high and low halves: actions that are missing can leave a sum that 64 bits do not hold.
    let mut statement = connection.prepare_cached(
        "SELECT coalesce(s.user, l.user), s.score, s.version, l.version, l.high, l.low
         FROM (SELECT user, score, version FROM scores WHERE board = ?1) AS s
         FULL JOIN (SELECT user, max(version) AS version, sum(points >> 32) AS high, sum(points & 4294967295) AS low
                    FROM actions WHERE board = ?1 AND version IS NOT NULL GROUP BY user) AS l ON l.user = s.user
         WHERE s.version IS NOT l.version OR s.score IS NOT (l.high << 32) + l.low
         ORDER BY 1 LIMIT ?2",
    )?;
    let found = statement.query_and_then(params![board.as_str(), columns::limit(limit)], |row| {
        let held = columns::optional_version(row, 2)?;
        let ledger = columns::optional_version(row, 3)?;
        Ok(Deviation {
            user: columns::user(row, 0)?,
            held: held.map(|version| Ok::<_, Failure>((row.get(1)?, version))).transpose()?,
            ledger: ledger.map(|version| Ok::<_, Failure>((columns::wide_sum(row, 4, 5)?, version))).transpose()?,
        })
    })?;
    found.collect()
}

/// Walks back from the newest row.
fn story(connection: &Connection, query: &AuditQuery) -> Result<Vec<AuditRow>, Failure> {
    let mut story = audit_rows(
        connection,
        "WHERE (?1 IS NULL OR user = ?1) AND (?2 IS NULL OR action_id = ?2) AND (?3 IS NULL OR board = ?3)
         ORDER BY id DESC LIMIT ?4",
        params![
            query.user.map(|user| user.0),
            query.action.as_ref().map(ActionId::as_str),
            query.board.as_ref().map(BoardId::as_str),
            columns::limit(query.limit.min(AUDIT_LIMIT)),
        ],
    )?;
    story.reverse();
    Ok(story)
}

/// Whole rows of the ledger, named `q` in the filter.
pub(super) fn audit_rows(
    connection: &Connection,
    filter: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<AuditRow>, Failure> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {UPDATE_COLUMNS}, {RECEIPT_COLUMNS} FROM actions AS q {filter}"))?;
    let rows = statement.query_and_then(params, audit_row)?;
    rows.collect()
}

fn audit_row(row: &Row<'_>) -> Result<AuditRow, Failure> {
    let update = ScoreUpdate {
        submission: columns::submission(row, 0)?,
        board: columns::board(row, 1)?,
        user: columns::user(row, 2)?,
        action_id: columns::action_id(row, 3)?,
        action_type: columns::action_type(row, 4)?,
        points: row.get(5)?,
        proof: columns::proof(row, 6)?,
        idempotency_key: columns::idempotency_key(row, 7)?,
        content_hash: columns::content_hash(row, 8)?,
        accepted_at: columns::time(row, 9)?,
        request_id: row.get(10)?,
        address_hash: columns::address_hash(row, 11)?,
        trace: TraceContext::default(),
    };
    Ok(AuditRow { update, receipt: receipt_of(row, 13)?, reviewer: row.get(12)? })
}
