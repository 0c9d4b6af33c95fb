//! Updates that no transaction takes, kept for a person to look at.

use std::sync::Arc;

use async_trait::async_trait;
use common::clock::{Clock, Timestamp};
use common::ids::SubmissionId;
use common::ports::{DeadContent, DeadLetters, Ledger as _, QueueError, StoreError};
use common::score_update::{ScoreUpdate, TraceContext};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

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

/// Dead letters beside the process that serves, if there is one.
///
/// The queue is in that process's memory, so a letter that is tried again is decided right here, in the same
/// transaction as any other update; a running process hears of it when it compares itself with the truth.
pub struct SqliteDeadLetters {
    store: Arc<SqliteStore>,
    clock: Arc<dyn Clock>,
}

impl SqliteDeadLetters {
    /// On a store that is shared with others.
    #[must_use]
    pub fn new(store: Arc<SqliteStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    async fn one(&self, id: &str) -> Result<Option<DeadLetter>, StoreError> {
        let Ok(id) = id.parse::<i64>() else { return Ok(None) };
        let found = self.store.dead_letters(id.saturating_sub(1), 1).await?;
        Ok(found.into_iter().find(|letter| letter.id == id))
    }

    async fn remove(&self, id: i64) -> Result<bool, StoreError> {
        let remove = move |connection: &Connection| {
            Ok::<_, Failure>(connection.execute("DELETE FROM dead_letters WHERE id = ?1", [id])? == 1)
        };
        self.store.writer.run(remove).await
    }

    async fn decide_again(&self, letter: DeadLetter) -> Result<(), StoreError> {
        // The ledger knows the refusal of the old submission.
        let update = ScoreUpdate { submission: SubmissionId(Uuid::now_v7()), ..letter.update };
        self.store.apply_batch(&[update], self.clock.now()).await?;
        // Should this be lost, another try finds that the action was used.
        self.remove(letter.id).await?;
        Ok(())
    }
}

#[async_trait]
impl DeadLetters for SqliteDeadLetters {
    async fn list(&self, limit: usize) -> Result<Vec<common::ports::DeadLetter>, QueueError> {
        let letters = self.store.dead_letters(0, limit).await.map_err(|error| at("list", error))?;
        Ok(letters.into_iter().map(Into::into).collect())
    }

    async fn find(&self, id: &str) -> Result<Option<common::ports::DeadLetter>, QueueError> {
        Ok(self.one(id).await.map_err(|error| at("show a letter", error))?.map(Into::into))
    }

    async fn retry(&self, ids: &[String]) -> Result<Vec<String>, QueueError> {
        let mut settled = Vec::new();
        for id in ids {
            let failed = |error| at("decide a letter again", error);
            if let Some(letter) = self.one(id).await.map_err(failed)? {
                self.decide_again(letter).await.map_err(failed)?;
                settled.push(id.clone());
            }
        }
        Ok(settled)
    }

    async fn discard(&self, ids: &[String]) -> Result<Vec<String>, QueueError> {
        let mut settled = Vec::new();
        for id in ids {
            if let Ok(number) = id.parse()
                && self.remove(number).await.map_err(|error| at("drop a letter", error))?
            {
                settled.push(id.clone());
            }
        }
        Ok(settled)
    }
}

fn at(operation: &'static str, error: StoreError) -> QueueError {
    QueueError { queue: "score.updates.dead", operation, source: Box::new(error) }
}

impl From<DeadLetter> for common::ports::DeadLetter {
    fn from(letter: DeadLetter) -> Self {
        Self {
            id: letter.id.to_string(),
            reason: letter.reason,
            first_failed_at: Some(letter.put_aside_at),
            attempts: 1,
            traceparent: letter.update.trace.traceparent.clone(),
            content: DeadContent::Update(Box::new(letter.update)),
        }
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
