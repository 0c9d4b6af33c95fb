//! Every port of the product in one process, with nothing installed: SQLite, ranks, queue and bus in memory.
//!
//! The contract is that of the distributed backend; `testkit` holds both to it. What differs is how long things live:
//! the queue, the ranks and the events end with the process. So the queue promises nothing before the commit, and
//! ranks are filled from the truth at every start, like any projection that lags.
//!
//! | port | here |
//! |---|---|
//! | `Ledger`, `Truth`, `Profiles`, `Accounts`, `Dependency` | [`SqliteStore`] |
//! | `RankIndex` | [`MemoryRanks`] |
//! | `UpdateQueue`, `UpdateSource` | [`MemoryQueue`] |
//! | `EventBus` | [`MemoryBus`] |
//! | `PendingMarks` | [`MemoryPendingMarks`] |

mod board_ranks;
mod bus;
mod data_dir;
mod metrics;
mod pending;
mod queue;
mod ranks;
mod sorted_blocks;
mod sqlite;

use std::path::Path;
use std::sync::Arc;

use common::clock::Clock;

pub use bus::MemoryBus;
pub use data_dir::OpenError;
pub use pending::MemoryPendingMarks;
pub use queue::{MemoryQueue, QueueLimits};
pub use ranks::MemoryRanks;
pub use sqlite::{DeadLetter, SqliteDeadLetters, SqliteStore};

use data_dir::DataDir;

/// The whole backend over one data directory.
///
/// Its owner ends it with [`Self::close`]. Dropping the last handle to the store does the same, blocking the thread
/// that drops it for as long as the accepted work takes.
pub struct Embedded {
    /// The truth, accounts and names.
    pub store: Arc<SqliteStore>,
    /// Positions; empty until they are filled from the truth.
    pub ranks: Arc<MemoryRanks>,
    /// The updates' way to the worker.
    pub queue: Arc<MemoryQueue>,
    /// Events.
    pub bus: Arc<MemoryBus>,
    /// Accepted actions that are not decided yet.
    pub pending: Arc<MemoryPendingMarks>,
}

impl Embedded {
    /// Opens the backend for serving, making directory and database where there are none. One process at a time.
    /// Blocks while it migrates.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::InUse`] when another process serves from the directory.
    pub fn open(data_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let data_dir = DataDir::prepare(data_dir)?;
        let lock = data_dir.lock_for_serving()?;
        let store = Arc::new(SqliteStore::open_for_serving(&data_dir, lock)?);
        Ok(Self {
            ranks: Arc::new(MemoryRanks::new(Arc::clone(&clock))),
            queue: Arc::new(MemoryQueue::new(Arc::clone(&store), Arc::clone(&clock), QueueLimits::default())),
            bus: Arc::new(MemoryBus::new()),
            pending: Arc::new(MemoryPendingMarks::new(clock)),
            store,
        })
    }

    /// Takes no more updates, finishes the database work that was accepted, and gives the data directory up. Work that
    /// comes later finds the store `Unavailable`. The worker should have drained the queue before.
    pub async fn close(&self) {
        self.queue.close();
        let store = Arc::clone(&self.store);
        if tokio::task::spawn_blocking(move || store.close()).await.is_err() {
            tracing::error!("closing the database was broken off");
        }
    }
}
