//! Rows that nobody needs any more.

use std::time::Duration;

use async_trait::async_trait;
use common::clock::{Timestamp, UtcDay};
use common::ports::{Housekeeping, StoreError};

use super::lease::{Lease, Params};
use super::values::{PgDay, PgTime};
use super::{PgStore, statements};

/// How long a batch may take: finding its rows reads a table.
const PATIENCE: Duration = Duration::from_secs(30);

#[async_trait]
impl Housekeeping for PgStore {
    async fn forget_sessions(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.forget(statements::FORGET_SESSIONS, &[&PgTime(before), &rows(limit)]).await
    }

    async fn forget_daily_sums(&self, before: UtcDay, limit: usize) -> Result<usize, StoreError> {
        self.forget(statements::FORGET_DAILY_SUMS, &[&PgDay(before), &rows(limit)]).await
    }
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl PgStore {
    async fn forget(&self, statement: &'static str, params: &Params<'_>) -> Result<usize, StoreError> {
        let lease = self.lease().await?.with_patience(PATIENCE);
        let forgotten = in_transaction(&lease, statement, params).await;
        if forgotten.is_err() {
            lease.rollback().await;
        }
        self.counted(forgotten).map(|rows| usize::try_from(rows).unwrap_or(usize::MAX))
    }
}

/// With time of its own.
async fn in_transaction(lease: &Lease, statement: &'static str, params: &Params<'_>) -> Result<u64, StoreError> {
    lease.transaction_begins();
    let begin = format!("BEGIN; SET LOCAL statement_timeout = {}", PATIENCE.as_millis());
    lease.exchange(lease.client()?.batch_execute(&begin)).await?;
    let forgotten = lease.execute(statement, params).await?;
    lease.exchange(lease.client()?.batch_execute("COMMIT")).await?;
    lease.transaction_ended();
    Ok(forgotten)
}
