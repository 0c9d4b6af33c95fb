//! The write side of the truth: facts are read, `common::decision` decides, the plan is written, all in one savepoint.
//!
//! There is no round trip to save here, so what a batch shares (boards, rules, users, scores, sums of the day) is read
//! with a list as a parameter, and what is found by several keys at once (the ledger) with one prepared statement per
//! update, which is the cheapest form in process.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use async_trait::async_trait;
use common::board::ActionRule;
use common::clock::Timestamp;
use common::decision::{BoardFacts, DailyPoints, DecidedAction, Facts, LedgerRow, Plan, Watch, decide, decide_refusal};
use common::error_code::ErrorCode;
use common::ids::{BoardId, UserId};
use common::ports::{AppliedBatch, Gain, Ledger, StoreError};
use common::receipt::Receipt;
use common::score_update::ScoreUpdate;
use common::standing::BoardChange;
use rusqlite::types::Value;
use rusqlite::vtab::array::Array;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::columns;
use super::failure::Failure;
use super::store::SqliteStore;

/// The columns of a receipt; see [`receipt_of`].
pub(super) const RECEIPT_COLUMNS: &str =
    "outcome, action_id, board, action_type, points, score_after, version, decided_at";

#[async_trait]
impl Ledger for SqliteStore {
    async fn apply_watched(
        &self,
        updates: &[ScoreUpdate],
        watch: &Watch,
        now: Timestamp,
    ) -> Result<AppliedBatch, StoreError> {
        let (updates, watch) = (updates.to_vec(), watch.clone());
        self.writer.run(move |connection| apply(connection, &updates, &watch, now)).await
    }

    async fn gains(&self, after: Timestamp, until: Timestamp, slot_ms: i64) -> Result<Vec<Gain>, StoreError> {
        self.readers.run(move |connection| gains(connection, after, until, slot_ms.max(1))).await
    }

    async fn record_refusal(&self, update: &ScoreUpdate, code: ErrorCode, now: Timestamp) -> Result<(), StoreError> {
        let updates = [update.clone()];
        let record = move |connection: &Connection| {
            let facts = read_facts(connection, &updates, now)?;
            write_plan(connection, &updates, &decide_refusal(&updates[0], &facts, code, now), now)
        };
        self.writer.run(record).await
    }
}

fn apply(
    connection: &Connection,
    updates: &[ScoreUpdate],
    watch: &Watch,
    now: Timestamp,
) -> Result<AppliedBatch, Failure> {
    let facts = read_facts(connection, updates, now)?;
    let plan = decide(updates, facts, watch, now);
    write_plan(connection, updates, &plan, now)?;
    Ok(AppliedBatch { outcomes: plan.outcomes, changes: plan.changes })
}

/// Writes a plan inside the caller's savepoint.
pub(super) fn write_plan(
    connection: &Connection,
    updates: &[ScoreUpdate],
    plan: &Plan,
    now: Timestamp,
) -> Result<(), Failure> {
    write_ledger(connection, updates, &plan.ledger)?;
    write_daily_points(connection, &plan.daily, now)?;
    plan.changes.iter().try_for_each(|change| write_change(connection, change))
}

/// Rows that are older than their successors by more than this are not looked for: clocks of one machine that is set
/// back are rare, and what is missed is a part of one window.
const DISORDER_MS: i64 = 60_000;

/// Walks back from the newest row, so that the cost is that of the window.
fn gains(connection: &Connection, after: Timestamp, until: Timestamp, slot_ms: i64) -> Result<Vec<Gain>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT decided_at, board, user, points, version IS NOT NULL AND points > 0 AND reviewer IS NULL
         FROM actions ORDER BY id DESC",
    )?;
    let mut sums: BTreeMap<(BoardId, UserId, i64), i64> = BTreeMap::new();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let decided_at = columns::time(row, 0)?;
        if decided_at.plus_millis(DISORDER_MS) <= after {
            break;
        }
        if decided_at > after && decided_at <= until && row.get(4)? {
            let slot = decided_at.as_millis().div_euclid(slot_ms) * slot_ms;
            let sum = sums.entry((columns::board(row, 1)?, columns::user(row, 2)?, slot)).or_default();
            *sum = sum.saturating_add(row.get(3)?);
        }
    }
    let gain = |((board, user, slot), points)| Gain { board, user, slot: Timestamp::from_millis(slot), points };
    Ok(sums.into_iter().map(gain).collect())
}

pub(super) fn read_facts(connection: &Connection, updates: &[ScoreUpdate], now: Timestamp) -> Result<Facts, Failure> {
    let mut users_of: BTreeMap<&BoardId, BTreeSet<UserId>> = BTreeMap::new();
    for update in updates {
        users_of.entry(&update.board).or_default().insert(update.user);
    }
    let mut facts = Facts::default();
    for (board, users) in users_of {
        let users = list_of(users);
        // A user of an unknown board needs no facts: the update is refused whoever sent it.
        if let Some(found) = read_board(connection, board)? {
            facts.boards.insert(board.clone(), found);
            read_users(connection, board, &users, &mut facts)?;
            read_daily_points(connection, board, &users, now, &mut facts)?;
        }
    }
    read_decided(connection, updates, &mut facts)?;
    Ok(facts)
}

fn list_of(users: impl IntoIterator<Item = UserId>) -> Array {
    Rc::new(users.into_iter().map(|user| Value::Blob(user.0.as_bytes().to_vec())).collect())
}

fn read_board(connection: &Connection, board: &BoardId) -> Result<Option<BoardFacts>, Failure> {
    let mut statement = connection.prepare_cached("SELECT epoch, version FROM boards WHERE id = ?1")?;
    let head = statement
        .query_row([board.as_str()], |row| Ok(columns::epoch(row, 0).and_then(|e| Ok((e, columns::version(row, 1)?)))))
        .optional()?
        .transpose()?;
    let Some((epoch, version)) = head else { return Ok(None) };
    let rules = read_rules(connection, board)?.into_iter().map(|rule| (rule.action_type.clone(), rule)).collect();
    Ok(Some(BoardFacts { epoch, version, rules }))
}

/// The rules of a board, by name.
pub(super) fn read_rules(connection: &Connection, board: &BoardId) -> Result<Vec<ActionRule>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT action_type, proof, min_points, max_points, default_points, daily_cap
         FROM action_types WHERE board = ?1 ORDER BY action_type",
    )?;
    let rules = statement.query_and_then([board.as_str()], |row| {
        Ok(ActionRule {
            action_type: columns::action_type(row, 0)?,
            proof: columns::proof(row, 1)?,
            min_points: row.get(2)?,
            max_points: row.get(3)?,
            default_points: row.get(4)?,
            daily_cap: row.get(5)?,
        })
    })?;
    rules.collect()
}

/// The names and scores of users; a tombstone counts as no score.
fn read_users(connection: &Connection, board: &BoardId, users: &Array, facts: &mut Facts) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT u.id, u.username, s.score
         FROM users AS u LEFT JOIN scores AS s ON s.board = ?1 AND s.user = u.id
         WHERE u.id IN rarray(?2)",
    )?;
    let mut rows = statement.query(params![board.as_str(), users])?;
    while let Some(row) = rows.next()? {
        let user = columns::user(row, 0)?;
        facts.usernames.insert(user, columns::name(row, 1)?);
        if let Some(score) = row.get(2)? {
            facts.scores.insert((board.clone(), user), score);
        }
    }
    Ok(())
}

fn read_daily_points(
    connection: &Connection,
    board: &BoardId,
    users: &Array,
    now: Timestamp,
    facts: &mut Facts,
) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT user, action_type, points FROM daily_points WHERE board = ?1 AND user IN rarray(?2) AND day = ?3",
    )?;
    let mut rows = statement.query(params![board.as_str(), users, now.utc_day().0])?;
    while let Some(row) = rows.next()? {
        let key = (board.clone(), columns::user(row, 0)?, columns::action_type(row, 1)?);
        facts.daily_points.insert(key, row.get(2)?);
    }
    Ok(())
}

/// Every decided action that shares its submission, its action or its key with an update.
fn read_decided(connection: &Connection, updates: &[ScoreUpdate], facts: &mut Facts) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached(&decided_sql())?;
    for update in updates {
        let key = update.idempotency_key.as_ref().map(AsRef::as_ref);
        let (board, action) = (update.board.as_str(), update.action_id.as_str());
        let mut rows = statement.query(params![update.submission.0, board, update.user.0, action, key])?;
        while let Some(row) = rows.next()? {
            facts.decided.push(DecidedAction {
                submission: columns::submission(row, 0)?,
                user: columns::user(row, 1)?,
                idempotency_key: columns::idempotency_key(row, 2)?,
                content_hash: columns::content_hash(row, 3)?,
                receipt: receipt_of(row, 4)?,
            });
        }
    }
    Ok(())
}

/// Looks into five indexes; a row that is found more than once does no harm.
fn decided_sql() -> String {
    let columns = format!("submission, user, idempotency_key, content_hash, {RECEIPT_COLUMNS}");
    format!(
        "SELECT {columns} FROM actions WHERE submission = ?1
         UNION ALL
         SELECT {columns} FROM actions WHERE board = ?2 AND user = ?3 AND action_id = ?4 AND outcome = 'applied'
         UNION ALL
         SELECT {columns} FROM actions WHERE user = ?3 AND idempotency_key = ?5 AND outcome = 'applied'
         UNION ALL
         SELECT {columns} FROM actions
         WHERE board = ?2 AND user = ?3 AND action_id = ?4 AND outcome IN ('quarantined', 'forbidden')
         UNION ALL
         SELECT {columns} FROM actions WHERE user = ?3 AND idempotency_key = ?5 AND outcome = 'quarantined'"
    )
}

/// Reads [`RECEIPT_COLUMNS`] from `first` on.
pub(super) fn receipt_of(row: &Row<'_>, first: usize) -> Result<Receipt, Failure> {
    Ok(Receipt {
        status: columns::status(row, first)?,
        action_id: columns::action_id(row, first + 1)?,
        board: columns::board(row, first + 2)?,
        action_type: columns::action_type(row, first + 3)?,
        points: row.get(first + 4)?,
        new_score: row.get(first + 5)?,
        version: columns::optional_version(row, first + 6)?,
        decided_at: Some(columns::time(row, first + 7)?),
    })
}

fn write_ledger(connection: &Connection, updates: &[ScoreUpdate], rows: &[LedgerRow]) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO actions (submission, board, user, action_id, action_type, points, score_after, version, proof,
                              idempotency_key, content_hash, outcome, request_id, accepted_at, decided_at, address_hash,
                              reviewer)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?;
    for LedgerRow { update, receipt, reviewer } in rows {
        let update = &updates[*update];
        statement.execute(params![
            update.submission.0,
            update.board.as_str(),
            update.user.0,
            update.action_id.as_str(),
            update.action_type.as_str(),
            update.points,
            receipt.new_score,
            receipt.version.map(columns::stored).transpose()?,
            update.proof.as_str(),
            update.idempotency_key.as_ref().map(AsRef::<str>::as_ref),
            update.content_hash.0,
            receipt.status.ledger_outcome(),
            update.request_id,
            update.accepted_at.as_millis(),
            receipt.decided_at.map(Timestamp::as_millis),
            update.address_hash.map(|hash| hash.0),
            reviewer,
        ])?;
    }
    Ok(())
}

fn write_daily_points(connection: &Connection, sums: &[DailyPoints], now: Timestamp) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO daily_points (board, user, day, action_type, points) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET points = excluded.points",
    )?;
    let day = now.utc_day().0;
    for sum in sums {
        let (board, action_type) = (sum.board.as_str(), sum.action_type.as_str());
        statement.execute(params![board, sum.user.0, day, action_type, sum.points])?;
    }
    Ok(())
}

fn write_change(connection: &Connection, change: &BoardChange) -> Result<(), Failure> {
    let board = change.board.as_str();
    let moved = connection
        .prepare_cached("UPDATE boards SET version = ?3 WHERE id = ?1 AND version = ?2 AND epoch = ?4")?
        .execute(params![board, columns::stored(change.from)?, columns::stored(change.to)?, change.epoch.as_str()])?;
    if moved != 1 {
        return Err(Failure::Moved);
    }
    let mut statement = connection.prepare_cached(
        "INSERT INTO scores (board, user, score, version, updated_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET score = excluded.score, version = excluded.version, updated_at = excluded.updated_at",
    )?;
    for row in &change.rows {
        let version = columns::stored(row.version)?;
        statement.execute(params![board, row.user.0, row.score, version, row.updated_at.as_millis()])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_dir::DataDir;
    use crate::sqlite::connection::open_reader;

    #[test]
    fn what_was_decided_is_found_by_index() {
        let dir = tempfile::tempdir().unwrap();
        SqliteStore::migrate(dir.path()).unwrap();
        let connection = open_reader(&DataDir::prepare(dir.path()).unwrap().database()).unwrap();
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", decided_sql())).unwrap();
        let plan: Vec<String> = explain.query_map([1; 5], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
        for index in
            ["sqlite_autoindex_actions_1", "actions_applied", "actions_key", "actions_held", "actions_held_key"]
        {
            assert!(plan.iter().any(|step| step.contains(&format!("INDEX {index} "))), "{index}: {plan:?}");
        }
        assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{plan:?}");
    }
}
