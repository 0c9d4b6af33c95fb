//! The store itself: opening, closing, and whether it takes work.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use common::ports::{Dependency, StoreError, Truth};
use common::state::Epoch;
use tokio::time::timeout;
use uuid::Uuid;

use super::connection::open_writer;
use super::failure::{Failure, STORE};
use super::readers::Readers;
use super::schema;
use super::writer::Writer;
use crate::data_dir::{DataDir, OpenError, ServingLock};

/// The longest that a check may take.
const CHECK_TIME: Duration = Duration::from_millis(900);

/// `Ledger`, `Truth`, `Profiles`, `Accounts` and `Dependency` over `DATA_DIR/scoreboard.db`.
///
/// Dropping it finishes the accepted work and blocks for as long as that takes; [`Self::close`] does so when asked.
pub struct SqliteStore {
    pub(super) writer: Writer,
    pub(super) readers: Readers,
}

impl SqliteStore {
    /// Brings the database in `data_dir` to this program's schema, making it where there is none; how many migrations
    /// that took. Blocks.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn migrate(data_dir: &Path) -> Result<usize, OpenError> {
        schema::migrate(&DataDir::prepare(data_dir)?, &random_epoch())
    }

    /// Opens the store without becoming the process that serves from it: for commands that may run beside one. SQLite
    /// lets one process write at a time. Migrates first. Blocks.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        Self::open_with(&DataDir::prepare(data_dir)?, None)
    }

    /// Opens the store for the process that serves; `lock` is given up when the writer is through.
    pub(crate) fn open_for_serving(data_dir: &DataDir, lock: ServingLock) -> Result<Self, OpenError> {
        Self::open_with(data_dir, Some(lock))
    }

    fn open_with(data_dir: &DataDir, lock: Option<ServingLock>) -> Result<Self, OpenError> {
        schema::migrate(data_dir, &random_epoch())?;
        let path = data_dir.database();
        let in_database = |source| OpenError::Database { path: path.clone(), source };
        let connection = open_writer(&path).map_err(in_database)?;
        let readers = Readers::open(&path).map_err(in_database)?;
        Ok(Self { writer: Writer::start(connection, lock)?, readers })
    }

    /// Takes no more work, finishes what was accepted, and gives the data directory up. Blocks.
    pub fn close(&self) {
        self.readers.close();
        self.writer.close();
    }

    /// Commits since the store was opened: with group commit, far fewer than jobs when many wait at once.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }

    /// Work that reaches the disk although it changes nothing.
    async fn probe_disk(&self) -> Result<(), StoreError> {
        self.writer
            .run(|connection| {
                connection.prepare_cached("UPDATE boards SET version = version")?.execute([])?;
                Ok::<_, Failure>(())
            })
            .await
    }

    async fn ask(&self) -> Result<(), StoreError> {
        self.heads().await?;
        // A full disk is noticed by writing only; while all is well, the work itself is the proof.
        if self.writer.is_failing() {
            return self.probe_disk().await;
        }
        self.writer.run(|_| Ok(())).await
    }
}

#[async_trait]
impl Dependency for SqliteStore {
    fn name(&self) -> &'static str {
        STORE
    }

    fn setting(&self) -> &'static str {
        "SCOREBOARD__DATA__DIR"
    }

    async fn check(&self) -> Result<(), String> {
        match timeout(CHECK_TIME, self.ask()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(describe(&error)),
            Err(_) => Err(format!("no answer within {} ms", CHECK_TIME.as_millis())),
        }
    }
}

/// An error with its causes, for an operator. Nothing in the store's errors is secret.
fn describe(error: &StoreError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// A new history's name.
fn random_epoch() -> Epoch {
    let name = Uuid::new_v4().simple().to_string();
    let Some(epoch) = Epoch::parse(&name[..12]) else { unreachable!("hex digits make an epoch") };
    epoch
}
