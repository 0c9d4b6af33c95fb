//! The read side of the truth, and the names of users.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use common::board::Board;
use common::ids::{ActionId, BoardId, UserId};
use common::ports::{BoardDigest, Profiles, RowPage, StoreError, Truth};
use common::receipt::Receipt;
use common::standing::{Entry, Neighborhood, RankKey, ScoreRow, TopList};
use common::state::{BoardHead, StatePoint, Version};
use rusqlite::types::Value;
use rusqlite::vtab::array::Array;
use rusqlite::{Connection, OptionalExtension, Params, params};

use super::columns;
use super::failure::Failure;
use super::ledger::{RECEIPT_COLUMNS, read_rules, receipt_of};
use super::store::SqliteStore;

/// The columns of a score row and where they come from; see [`columns::score_row`]. A CROSS JOIN keeps the order of
/// the tables: the board's index first, then the name of each line.
const SCORE_ROWS: &str = "SELECT s.user, u.username, s.score, s.version, s.updated_at
     FROM scores AS s CROSS JOIN users AS u ON u.id = s.user";

#[async_trait]
impl Truth for SqliteStore {
    async fn boards(&self) -> Result<Vec<Board>, StoreError> {
        self.readers.run(boards).await
    }

    async fn heads(&self) -> Result<Vec<BoardHead>, StoreError> {
        self.readers.run(heads).await
    }

    async fn top(&self, board: &BoardId, limit: usize) -> Result<Option<TopList>, StoreError> {
        let board = board.clone();
        self.readers.run(move |connection| top(connection, &board, limit)).await
    }

    async fn neighborhood(
        &self,
        board: &BoardId,
        user: UserId,
        around: usize,
    ) -> Result<Option<Neighborhood<Entry>>, StoreError> {
        let board = board.clone();
        self.readers.run(move |connection| neighborhood(connection, &board, user, around)).await
    }

    async fn rows_above(&self, board: &BoardId, after: Version, limit: usize) -> Result<Option<RowPage>, StoreError> {
        let board = board.clone();
        self.readers.run(move |connection| rows_above(connection, &board, after, limit)).await
    }

    async fn rows_by_user(
        &self,
        board: &BoardId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Option<RowPage>, StoreError> {
        let board = board.clone();
        self.readers.run(move |connection| rows_by_user(connection, &board, after, limit)).await
    }

    async fn receipt(&self, user: UserId, board: &BoardId, action: &ActionId) -> Result<Option<Receipt>, StoreError> {
        let (board, action) = (board.clone(), action.clone());
        self.readers.run(move |connection| receipt(connection, user, &board, &action)).await
    }

    async fn digest(&self, board: &BoardId) -> Result<Option<BoardDigest>, StoreError> {
        let board = board.clone();
        self.readers.run(move |connection| digest(connection, &board)).await
    }
}

#[async_trait]
impl Profiles for SqliteStore {
    async fn usernames(&self, users: &[UserId]) -> Result<HashMap<UserId, Arc<str>>, StoreError> {
        let users = users.to_vec();
        self.readers.run(move |connection| usernames(connection, &users)).await
    }
}

fn heads(connection: &Connection) -> Result<Vec<BoardHead>, Failure> {
    let mut statement = connection.prepare_cached("SELECT id, epoch, version FROM boards ORDER BY id")?;
    let heads = statement.query_and_then([], |row| {
        let state = StatePoint { epoch: columns::epoch(row, 1)?, version: columns::version(row, 2)? };
        Ok(BoardHead { board: columns::board(row, 0)?, state })
    })?;
    heads.collect()
}

fn boards(connection: &Connection) -> Result<Vec<Board>, Failure> {
    let mut demand = connection.prepare_cached("SELECT stream_token FROM boards WHERE id = ?1")?;
    let mut with_rules = |head: BoardHead| {
        let stream_token = demand.query_row([head.board.as_str()], |row| row.get(0))?;
        Ok(Board { rules: read_rules(connection, &head.board)?, stream_token, head })
    };
    heads(connection)?.into_iter().map(&mut with_rules).collect()
}

fn head(connection: &Connection, board: &BoardId) -> Result<Option<StatePoint>, Failure> {
    let mut statement = connection.prepare_cached("SELECT epoch, version FROM boards WHERE id = ?1")?;
    let mut rows = statement.query([board.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(StatePoint { epoch: columns::epoch(row, 0)?, version: columns::version(row, 1)? }))
}

fn score_rows(connection: &Connection, filter: &str, params: impl Params) -> Result<Vec<ScoreRow>, Failure> {
    let mut statement = connection.prepare_cached(&format!("{SCORE_ROWS} {filter}"))?;
    let rows = statement.query_and_then(params, |row| columns::score_row(row, 0))?;
    rows.collect()
}

/// Lines with their ranks, which count from `first`.
fn entries(rows: Vec<ScoreRow>, first: u64) -> Result<Vec<Entry>, Failure> {
    let entry = |(row, rank): (ScoreRow, u64)| {
        Ok(Entry {
            user: row.user,
            username: row.username,
            score: row.score.ok_or(Failure::Damaged("score"))?,
            rank,
            updated_at: row.updated_at,
            version: row.version,
        })
    };
    rows.into_iter().zip(first..).map(entry).collect()
}

fn top(connection: &Connection, board: &BoardId, limit: usize) -> Result<Option<TopList>, Failure> {
    let Some(state) = head(connection, board)? else { return Ok(None) };
    let rows = score_rows(
        connection,
        "WHERE s.board = ?1 AND s.score IS NOT NULL ORDER BY s.score DESC, s.version LIMIT ?2",
        params![board.as_str(), columns::limit(limit)],
    )?;
    Ok(Some(TopList { state, entries: entries(rows, 1)? }))
}

fn neighborhood(
    connection: &Connection,
    board: &BoardId,
    user: UserId,
    around: usize,
) -> Result<Option<Neighborhood<Entry>>, Failure> {
    let Some(state) = head(connection, board)? else { return Ok(None) };
    let own = score_rows(connection, "WHERE s.board = ?1 AND s.user = ?2", params![board.as_str(), user.0])?;
    let Some(own) = own.into_iter().next() else { return Ok(None) };
    let Some(key) = own.key() else { return Ok(None) };
    let better = count_better(connection, board, key)?;
    let mut lines = lines_above(connection, board, key, around)?;
    let above = lines.len();
    lines.push(own);
    lines.extend(lines_below(connection, board, key, around)?);
    let lines = entries(lines, better + 1 - above as u64)?;
    Ok(Some(Neighborhood { state, lines, own: above }))
}

/// How many lines rank better: a walk over the index, so linear in the answer.
fn count_better(connection: &Connection, board: &BoardId, key: RankKey) -> Result<u64, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT (SELECT count(*) FROM scores WHERE board = ?1 AND score > ?2 AND score IS NOT NULL)
              + (SELECT count(*) FROM scores WHERE board = ?1 AND score = ?2 AND version < ?3 AND score IS NOT NULL)",
    )?;
    let params = params![board.as_str(), key.score, columns::stored(key.version)?];
    statement.query_row(params, |row| Ok(columns::count(row, 0)))?
}

/// Up to `limit` lines directly above, best first. Two statements, because one condition over both directions of the
/// index (score descending, version ascending) would have to walk over every tie.
fn lines_above(connection: &Connection, board: &BoardId, key: RankKey, limit: usize) -> Result<Vec<ScoreRow>, Failure> {
    let mut lines = score_rows(
        connection,
        "WHERE s.board = ?1 AND s.score = ?2 AND s.version < ?3 AND s.score IS NOT NULL
         ORDER BY s.version DESC LIMIT ?4",
        params![board.as_str(), key.score, columns::stored(key.version)?, columns::limit(limit)],
    )?;
    lines.extend(score_rows(
        connection,
        "WHERE s.board = ?1 AND s.score > ?2 AND s.score IS NOT NULL
         ORDER BY s.score, s.version DESC LIMIT ?3",
        params![board.as_str(), key.score, columns::limit(limit - lines.len())],
    )?);
    lines.reverse();
    Ok(lines)
}

/// Up to `limit` lines directly below, best first.
fn lines_below(connection: &Connection, board: &BoardId, key: RankKey, limit: usize) -> Result<Vec<ScoreRow>, Failure> {
    let mut lines = score_rows(
        connection,
        "WHERE s.board = ?1 AND s.score = ?2 AND s.version > ?3 AND s.score IS NOT NULL
         ORDER BY s.version LIMIT ?4",
        params![board.as_str(), key.score, columns::stored(key.version)?, columns::limit(limit)],
    )?;
    lines.extend(score_rows(
        connection,
        "WHERE s.board = ?1 AND s.score < ?2 AND s.score IS NOT NULL
         ORDER BY s.score DESC, s.version LIMIT ?3",
        params![board.as_str(), key.score, columns::limit(limit - lines.len())],
    )?);
    Ok(lines)
}

fn rows_above(
    connection: &Connection,
    board: &BoardId,
    after: Version,
    limit: usize,
) -> Result<Option<RowPage>, Failure> {
    let Some(state) = head(connection, board)? else { return Ok(None) };
    // A version too large to be stored has nothing above it.
    let after = i64::try_from(after.0).unwrap_or(i64::MAX);
    let rows = score_rows(
        connection,
        "WHERE s.board = ?1 AND s.version > ?2 ORDER BY s.version LIMIT ?3",
        params![board.as_str(), after, columns::limit(limit.saturating_add(1))],
    )?;
    Ok(Some(page(board, state, rows, limit)))
}

fn rows_by_user(
    connection: &Connection,
    board: &BoardId,
    after: Option<UserId>,
    limit: usize,
) -> Result<Option<RowPage>, Failure> {
    let Some(state) = head(connection, board)? else { return Ok(None) };
    // No id is shorter.
    let after = after.map_or_else(Vec::new, |user| user.0.as_bytes().to_vec());
    let rows = score_rows(
        connection,
        "WHERE s.board = ?1 AND s.user > ?2 ORDER BY s.user LIMIT ?3",
        params![board.as_str(), after, columns::limit(limit.saturating_add(1))],
    )?;
    Ok(Some(page(board, state, rows, limit)))
}

/// One more than asked for tells whether there is more.
fn page(board: &BoardId, state: StatePoint, mut rows: Vec<ScoreRow>, limit: usize) -> RowPage {
    let complete = rows.len() <= limit;
    rows.truncate(limit);
    RowPage { head: BoardHead { board: board.clone(), state }, rows, complete }
}

fn receipt(
    connection: &Connection,
    user: UserId,
    board: &BoardId,
    action: &ActionId,
) -> Result<Option<Receipt>, Failure> {
    // The applied row, else what a review or the quarantine says, else the last refusal.
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {RECEIPT_COLUMNS} FROM (
             SELECT * FROM (SELECT 0 AS place, {RECEIPT_COLUMNS} FROM actions
                            WHERE board = ?1 AND user = ?2 AND action_id = ?3 AND outcome = 'applied')
             UNION ALL
             SELECT * FROM (SELECT CASE outcome WHEN 'forbidden' THEN 1 ELSE 2 END, {RECEIPT_COLUMNS} FROM actions
                            WHERE board = ?1 AND user = ?2 AND action_id = ?3
                                AND outcome IN ('quarantined', 'forbidden'))
             UNION ALL
             SELECT * FROM (SELECT 3, {RECEIPT_COLUMNS} FROM actions
                            WHERE board = ?1 AND user = ?2 AND action_id = ?3 AND outcome <> 'applied'
                            ORDER BY id DESC LIMIT 1))
         ORDER BY place LIMIT 1"
    ))?;
    let found = statement
        .query_row(params![board.as_str(), user.0, action.as_str()], |row| Ok(receipt_of(row, 0)))
        .optional()?;
    found.transpose()
}

fn digest(connection: &Connection, board: &BoardId) -> Result<Option<BoardDigest>, Failure> {
    if head(connection, board)?.is_none() {
        return Ok(None);
    }
    // Sums of high and low halves: SQLite's own sum fails beyond 64 bits.
    let mut scores = connection.prepare_cached(
        "SELECT count(*), coalesce(sum(score >> 32), 0), coalesce(sum(score & 4294967295), 0)
         FROM scores WHERE board = ?1 AND score IS NOT NULL",
    )?;
    let (players, score_sum) = scores.query_row([board.as_str()], |row| {
        Ok(columns::count(row, 0).and_then(|players| Ok((players, columns::wide_sum(row, 1, 2)?))))
    })??;
    let mut ledger = connection.prepare_cached(
        "SELECT count(*), coalesce(sum(points >> 32), 0), coalesce(sum(points & 4294967295), 0)
         FROM actions WHERE board = ?1 AND outcome = 'applied'",
    )?;
    let (ledger_actions, ledger_points) = ledger.query_row([board.as_str()], |row| {
        Ok(columns::count(row, 0).and_then(|actions| Ok((actions, columns::wide_sum(row, 1, 2)?))))
    })??;
    Ok(Some(BoardDigest { players, score_sum, ledger_points, ledger_actions }))
}

fn usernames(connection: &Connection, users: &[UserId]) -> Result<HashMap<UserId, Arc<str>>, Failure> {
    let list: Array = Rc::new(users.iter().map(|user| Value::Blob(user.0.as_bytes().to_vec())).collect());
    let mut statement = connection.prepare_cached("SELECT id, username FROM users WHERE id IN rarray(?1)")?;
    let names = statement.query_and_then([list], |row| Ok((columns::user(row, 0)?, columns::name(row, 1)?)))?;
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_dir::DataDir;
    use crate::sqlite::connection::open_reader;

    #[test]
    fn reads_of_a_board_walk_its_indexes() {
        let dir = tempfile::tempdir().unwrap();
        crate::SqliteStore::migrate(dir.path()).unwrap();
        let connection = open_reader(&DataDir::prepare(dir.path()).unwrap().database()).unwrap();
        for filter in [
            "WHERE s.board = ?1 AND s.score IS NOT NULL ORDER BY s.score DESC, s.version LIMIT ?2",
            "WHERE s.board = ?1 AND s.user = ?2",
            "WHERE s.board = ?1 AND s.score = ?2 AND s.version < ?3 AND s.score IS NOT NULL ORDER BY s.version DESC",
            "WHERE s.board = ?1 AND s.score > ?2 AND s.score IS NOT NULL ORDER BY s.score, s.version DESC LIMIT ?3",
            "WHERE s.board = ?1 AND s.score < ?2 AND s.score IS NOT NULL ORDER BY s.score DESC, s.version LIMIT ?3",
            "WHERE s.board = ?1 AND s.version > ?2 ORDER BY s.version LIMIT ?3",
        ] {
            let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {SCORE_ROWS} {filter}")).unwrap();
            let nulls = rusqlite::params_from_iter((0..explain.parameter_count()).map(|_| 1));
            let plan: Vec<String> = explain.query_map(nulls, |row| row.get(3)).unwrap().map(Result::unwrap).collect();
            assert!(plan.iter().all(|step| step.starts_with("SEARCH ")), "{filter}: {plan:?}");
        }
    }
}
