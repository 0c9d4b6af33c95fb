//! A connection on loan from the pool. Whatever happens to its holder (an error, a deadline, a dropped future), a
//! connection that is inside a transaction or no longer trusted is closed and never goes back to the pool. One on which
//! the server kept silent takes those along that lie idle: they may be half open as well, and each would cost the same
//! silence again.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::ports::StoreError;
use deadpool_postgres::{Object, Pool};
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::error::{NoAnswer, spoils_connection, store_error, unavailable, unreadable};

/// Parameters of a statement.
pub(super) type Params<'a> = [&'a (dyn ToSql + Sync)];

/// A connection on loan.
pub(super) struct Lease {
    /// `None` only while dropping.
    connection: Option<Object>,
    /// How long one exchange with the server may take.
    patience: Duration,
    /// The server may be inside a transaction of ours.
    in_transaction: AtomicBool,
    /// An error or a deadline showed that the connection is not to be trusted.
    spoiled: AtomicBool,
    /// Since when an answer is awaited.
    asked_at: Mutex<Option<Instant>>,
}

impl Lease {
    pub(super) fn new(connection: Object, patience: Duration) -> Self {
        let (in_transaction, spoiled) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { connection: Some(connection), patience, in_transaction, spoiled, asked_at: Mutex::default() }
    }

    /// The same loan with more patience, for work that is known to be slow.
    pub(super) fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn connection(&self) -> Result<&Object, StoreError> {
        self.connection.as_ref().ok_or_else(|| unavailable("the connection was given back".into()))
    }

    /// The driver's client, to send several statements at once inside [`Self::exchange`].
    pub(super) fn client(&self) -> Result<&Client, StoreError> {
        self.connection().map(|connection| &***connection)
    }

    /// Waits for an answer, not for ever.
    pub(super) async fn exchange<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>> + Send,
    ) -> Result<T, StoreError> {
        *self.asked_at.lock() = Some(Instant::now());
        let ended = tokio::time::timeout(self.patience, work).await;
        if ended.is_ok() {
            *self.asked_at.lock() = None;
        }
        match ended {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                if spoils_connection(&error) {
                    self.spoiled.store(true, Ordering::Relaxed);
                }
                Err(store_error(error))
            }
            Err(_) => {
                self.spoiled.store(true, Ordering::Relaxed);
                Err(unavailable(NoAnswer(self.patience).into()))
            }
        }
    }

    /// Prepares statements, those that the connection does not know yet in one round trip.
    pub(super) async fn prepare<const N: usize>(&self, sql: [&'static str; N]) -> Result<[Statement; N], StoreError> {
        let connection = self.connection()?;
        let statements = self.exchange(try_join_all(sql.map(|sql| connection.prepare_cached(sql)))).await?;
        statements.try_into().map_err(|_| unreadable("a statement got lost".into()))
    }

    /// Runs a statement that answers with rows.
    pub(super) async fn query(&self, sql: &'static str, params: &Params<'_>) -> Result<Vec<Row>, StoreError> {
        let [statement] = self.prepare([sql]).await?;
        self.exchange(self.client()?.query(&statement, params)).await
    }

    /// Runs a statement that answers with one row or none.
    pub(super) async fn query_opt(&self, sql: &'static str, params: &Params<'_>) -> Result<Option<Row>, StoreError> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// Runs a statement that changes rows; how many.
    pub(super) async fn execute(&self, sql: &'static str, params: &Params<'_>) -> Result<u64, StoreError> {
        let [statement] = self.prepare([sql]).await?;
        self.exchange(self.client()?.execute(&statement, params)).await
    }

    /// From here on the connection goes back to the pool only after [`Self::transaction_ended`].
    pub(super) fn transaction_begins(&self) {
        self.in_transaction.store(true, Ordering::Relaxed);
    }

    /// The server has confirmed COMMIT or ROLLBACK.
    pub(super) fn transaction_ended(&self) {
        self.in_transaction.store(false, Ordering::Relaxed);
    }

    /// Tries to leave the transaction so that the connection can go on; closes it if that fails.
    pub(super) async fn rollback(self) {
        if !self.spoiled.load(Ordering::Relaxed)
            && let Ok(client) = self.client()
            && self.exchange(client.batch_execute("ROLLBACK")).await.is_ok()
        {
            self.transaction_ended();
        }
    }
}

/// Closes the connections that lie idle since before `asked_at`.
fn doubt_idle(pool: &Pool, asked_at: Instant) {
    let silence = asked_at.elapsed();
    let closed = pool.retain(|_, connection| connection.last_used() < silence).removed.len();
    tracing::warn!(silence_ms = silence.as_millis(), closed, "the database says nothing; idle connections are closed");
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Half of the patience: a holder may have less than we do. The server's own limit for a lock strikes before.
        if let Some(asked_at) = self.asked_at.get_mut().take()
            && asked_at.elapsed() >= self.patience / 2
            && let Some(pool) = self.connection.as_ref().and_then(Object::pool)
        {
            doubt_idle(&pool, asked_at);
            self.spoiled.store(true, Ordering::Relaxed);
        }
        if (self.in_transaction.load(Ordering::Relaxed) || self.spoiled.load(Ordering::Relaxed))
            && let Some(connection) = self.connection.take()
        {
            // Out of the pool, which opens another when needed; dropping the client closes the session, and the
            // server rolls back.
            drop(Object::take(connection));
        }
    }
}
