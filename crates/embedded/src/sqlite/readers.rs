//! A few connections that read, used off the async threads.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::ports::StoreError;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::connection::open_reader;
use super::failure::{Failure, Outage};

/// Readers at once. Two cores read from memory faster than more of them could be fed.
const CONNECTIONS: usize = 4;

/// How long a reader waits for a connection.
const PERMIT_WAIT: Duration = Duration::from_secs(2);

/// The pool.
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn open(file: &Path) -> rusqlite::Result<Self> {
        let idle = (0..CONNECTIONS).map(|_| open_reader(file)).collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(Self { permits: Arc::new(Semaphore::new(idle.len())), idle: Arc::new(Mutex::new(idle)) })
    }

    /// Runs `work` in one read transaction: everything that it reads is of one snapshot.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let lease = self.lease().await?;
        let read = tokio::task::spawn_blocking(move || lease.in_one_snapshot(work));
        match read.await {
            Ok(result) => result.map_err(StoreError::from),
            Err(error) if error.is_panic() => Err(Outage::Panicked.into()),
            Err(_) => Err(Outage::Closed.into()),
        }
    }

    /// Takes no more reads; those that run end by themselves.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle.lock().clear();
    }

    async fn lease(&self) -> Result<Lease, Outage> {
        let permit = match timeout(PERMIT_WAIT, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(Outage::Closed),
            Err(_) => return Err(Outage::Slow),
        };
        let connection = self.idle.lock().pop().ok_or(Outage::Closed)?;
        Ok(Lease { connection: Some(connection), idle: Arc::clone(&self.idle), permit })
    }
}

/// A connection on loan. Comes back when dropped, also after a panic.
struct Lease {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
    permit: OwnedSemaphorePermit,
}

impl Lease {
    fn in_one_snapshot<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Failure> {
        let Some(connection) = &self.connection else { unreachable!("taken by drop only") };
        // Dropping the transaction ends it; there is nothing to commit.
        let snapshot = connection.unchecked_transaction()?;
        work(&snapshot)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && !self.permit.semaphore().is_closed()
        {
            self.idle.lock().push(connection);
        }
    }
}
