//! The read side of the truth.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::board::Board;
use common::ids::{ActionId, BoardId, UserId};
use common::ports::{BoardDigest, Profiles, RowPage, StoreError, Truth};
use common::receipt::Receipt;
use common::standing::{Entry, Neighborhood, ScoreRow, TopList};
use common::state::{BoardHead, Version};
use tokio_postgres::Row;
use uuid::Uuid;

use super::error::unreadable;
use super::lease::{Lease, Params};
use super::values::{column, parsed, receipt, rule, score_row, state_point, unsigned, version_column};
use super::{PgStore, statements};

/// How long sums over a whole board may take.
const DIGEST_PATIENCE: Duration = Duration::from_secs(120);

#[async_trait]
impl Truth for PgStore {
    async fn boards(&self) -> Result<Vec<Board>, StoreError> {
        let mut boards: Vec<Board> = Vec::new();
        for row in &self.rows(statements::BOARDS, &[]).await? {
            let head = head(row)?;
            if boards.last().is_none_or(|board| *board.id() != head.board) {
                boards.push(Board { head, stream_token: column(row, 3)?, rules: Vec::new() });
            }
            if let (Some(board), Some(_)) = (boards.last_mut(), column::<Option<&str>>(row, 4)?) {
                board.rules.push(rule(row, 4)?);
            }
        }
        Ok(boards)
    }

    async fn heads(&self) -> Result<Vec<BoardHead>, StoreError> {
        self.rows(statements::HEADS, &[]).await?.iter().map(head).collect()
    }

    async fn top(&self, board: &BoardId, limit: usize) -> Result<Option<TopList>, StoreError> {
        let rows = self.rows(statements::TOP, &[&board.as_str(), &bigint(limit)]).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let state = state_point(first, 0)?;
        let mut entries = Vec::with_capacity(rows.len());
        for (row, rank) in rows.iter().zip(1..) {
            entries.extend(score_row(row, 2)?.and_then(|row| entry(row, rank)));
        }
        Ok(Some(TopList { state, entries }))
    }

    async fn neighborhood(
        &self,
        board: &BoardId,
        user: UserId,
        around: usize,
    ) -> Result<Option<Neighborhood<Entry>>, StoreError> {
        let rows = self.rows(statements::NEIGHBORHOOD, &[&board.as_str(), &user.0, &bigint(around)]).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let (state, own_rank) = (state_point(first, 0)?, unsigned(first, 7)?);
        let scores: Vec<ScoreRow> =
            rows.iter().map(|row| score_row(row, 2)).filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let own =
            scores.iter().position(|row| row.user == user).ok_or_else(|| unreadable("own line missing".into()))?;
        // The lines follow each other without a gap, so one rank gives all.
        let best = own_rank.saturating_sub(own as u64);
        let lines = scores.into_iter().zip(best..).filter_map(|(row, rank)| entry(row, rank)).collect();
        Ok(Some(Neighborhood { state, lines, own }))
    }

    async fn rows_above(&self, board: &BoardId, after: Version, limit: usize) -> Result<Option<RowPage>, StoreError> {
        let params: &Params<'_> = &[&board.as_str(), &version_column(after), &bigint(limit.saturating_add(1))];
        page(board, &self.rows(statements::ROWS_ABOVE, params).await?, limit)
    }

    async fn rows_by_user(
        &self,
        board: &BoardId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Option<RowPage>, StoreError> {
        let after = after.map(|user| user.0);
        let params: &Params<'_> = &[&board.as_str(), &after, &bigint(limit.saturating_add(1))];
        page(board, &self.rows(statements::ROWS_BY_USER, params).await?, limit)
    }

    async fn receipt(&self, user: UserId, board: &BoardId, action: &ActionId) -> Result<Option<Receipt>, StoreError> {
        let rows = self.rows(statements::RECEIPT, &[&user.0, &board.as_str(), &action.as_str()]).await?;
        rows.first().map(|row| receipt(row, 0)).transpose()
    }

    async fn digest(&self, board: &BoardId) -> Result<Option<BoardDigest>, StoreError> {
        let row = self.counted(match self.lease().await {
            Ok(lease) => digest_row(lease.with_patience(DIGEST_PATIENCE), board).await,
            Err(error) => Err(error),
        })?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(BoardDigest {
            players: unsigned(&row, 0)?,
            score_sum: sum(&row, 1)?,
            ledger_points: sum(&row, 2)?,
            ledger_actions: unsigned(&row, 3)?,
        }))
    }
}

/// One row more than asked for tells whether the page is the last one.
fn page(board: &BoardId, rows: &[Row], limit: usize) -> Result<Option<RowPage>, StoreError> {
    let Some(first) = rows.first() else { return Ok(None) };
    let head = BoardHead { board: board.clone(), state: state_point(first, 0)? };
    let mut rows: Vec<ScoreRow> =
        rows.iter().map(|row| score_row(row, 2)).filter_map(Result::transpose).collect::<Result<_, _>>()?;
    let complete = rows.len() <= limit;
    rows.truncate(limit);
    Ok(Some(RowPage { head, rows, complete }))
}

#[async_trait]
impl Profiles for PgStore {
    async fn usernames(&self, users: &[UserId]) -> Result<HashMap<UserId, Arc<str>>, StoreError> {
        if users.is_empty() {
            return Ok(HashMap::new());
        }
        let users: Vec<Uuid> = users.iter().map(|user| user.0).collect();
        let rows = self.rows(statements::FACT_USERNAMES, &[&users]).await?;
        rows.iter().map(|row| Ok((UserId(column(row, 0)?), Arc::from(column::<&str>(row, 1)?)))).collect()
    }
}

impl PgStore {
    /// One statement, one snapshot.
    pub(super) async fn rows(&self, sql: &'static str, params: &Params<'_>) -> Result<Vec<Row>, StoreError> {
        self.counted(match self.lease().await {
            Ok(lease) => lease.query(sql, params).await,
            Err(error) => Err(error),
        })
    }
}

/// The one reader of whole tables: has time of its own, and sequential scans back.
async fn digest_row(lease: Lease, board: &BoardId) -> Result<Option<Row>, StoreError> {
    lease.transaction_begins();
    let begin = format!(
        "BEGIN READ ONLY; SET LOCAL enable_seqscan = on; SET LOCAL statement_timeout = {}",
        DIGEST_PATIENCE.as_millis()
    );
    lease.exchange(lease.client()?.batch_execute(&begin)).await?;
    let row = lease.query_opt(statements::DIGEST, &[&board.as_str()]).await?;
    lease.exchange(lease.client()?.batch_execute("COMMIT")).await?;
    lease.transaction_ended();
    Ok(row)
}

/// Columns `board, epoch, version`.
fn head(row: &Row) -> Result<BoardHead, StoreError> {
    Ok(BoardHead { board: parsed(row, 0, BoardId::parse)?, state: state_point(row, 1)? })
}

fn entry(row: ScoreRow, rank: u64) -> Option<Entry> {
    let ScoreRow { user, username, score, version, updated_at } = row;
    score.map(|score| Entry { user, username, score, rank, updated_at, version })
}

fn bigint(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A sum as a text, for it may be wider than 64 bits.
pub(super) fn sum(row: &Row, index: usize) -> Result<i128, StoreError> {
    column::<&str>(row, index)?.parse().map_err(|error: std::num::ParseIntError| unreadable(error.into()))
}
