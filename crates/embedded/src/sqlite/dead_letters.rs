//! Updates that no transaction takes, kept for a person to look at.

use common::clock::Timestamp;
use common::ports::StoreError;
use common::score_update::{ScoreUpdate, TraceContext};
use rusqlite::{Connection, Row, params};

use super::columns;
use super::failure::Failure;
use super::store::SqliteStore;

/// An update that was put aside.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Names it in the store.
    pub id: i64,
    /// What was put aside.
    pub update: ScoreUpdate,
    /// Why.
    pub reason: String,
    /// When.
    pub put_aside_at: Timestamp,
}

impl SqliteStore {
    /// Puts an update aside, durably.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_aside(&self, update: &ScoreUpdate, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        let (update, reason) = (update.clone(), reason.to_owned());
        self.writer.run(move |connection| insert(connection, &update, &reason, now)).await
    }

    /// Up to `limit` updates that were put aside after the letter `after` (0 for the first), oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn dead_letters(&self, after: i64, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.readers.run(move |connection| list(connection, after, limit)).await
    }
}

fn insert(connection: &Connection, update: &ScoreUpdate, reason: &str, now: Timestamp) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "INSERT INTO dead_letters (submission, board, user, action_id, action_type, points, proof, idempotency_key,
                                       content_hash, accepted_at, request_id, traceparent, tracestate, reason,
                                       put_aside_at, address_hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )?
        .execute(params![
            update.submission.0,
            update.board.as_str(),
            update.user.0,
            update.action_id.as_str(),
            update.action_type.as_str(),
            update.points,
            update.proof.as_str(),
            update.idempotency_key.as_ref().map(AsRef::<str>::as_ref),
            update.content_hash.0,
            update.accepted_at.as_millis(),
            update.request_id,
            update.trace.traceparent,
            update.trace.tracestate,
            reason,
            now.as_millis(),
            update.address_hash.map(|hash| hash.0),
        ])?;
    Ok(())
}

fn list(connection: &Connection, after: i64, limit: usize) -> Result<Vec<DeadLetter>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT id, submission, board, user, action_id, action_type, points, proof, idempotency_key, content_hash,
                accepted_at, request_id, traceparent, tracestate, reason, put_aside_at, address_hash
         FROM dead_letters WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let letters = statement.query_and_then(params![after, columns::limit(limit)], letter_of)?;
    letters.collect()
}

fn letter_of(row: &Row<'_>) -> Result<DeadLetter, Failure> {
    let update = ScoreUpdate {
        submission: columns::submission(row, 1)?,
        board: columns::board(row, 2)?,
        user: columns::user(row, 3)?,
        action_id: columns::action_id(row, 4)?,
        action_type: columns::action_type(row, 5)?,
        points: row.get(6)?,
        proof: columns::proof(row, 7)?,
        idempotency_key: columns::idempotency_key(row, 8)?,
        content_hash: columns::content_hash(row, 9)?,
        accepted_at: columns::time(row, 10)?,
        request_id: row.get(11)?,
        address_hash: columns::address_hash(row, 16)?,
        trace: TraceContext { traceparent: row.get(12)?, tracestate: row.get(13)? },
    };
    Ok(DeadLetter { id: row.get(0)?, update, reason: row.get(14)?, put_aside_at: columns::time(row, 15)? })
}
