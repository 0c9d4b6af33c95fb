//! What a worker stands on, and its bounds.

use std::sync::Arc;
use std::time::Duration;

use common::ports::{EventBus, Ledger, RankIndex, Truth, UpdateSource};

/// The ports of a worker.
#[derive(Clone)]
pub struct WorkerPorts {
    /// Where updates are decided.
    pub ledger: Arc<dyn Ledger>,
    /// What projections are filled from.
    pub truth: Arc<dyn Truth>,
    /// The projection that answers ranks.
    pub ranks: Arc<dyn RankIndex>,
    /// Where updates come from and answers go.
    pub source: Arc<dyn UpdateSource>,
    /// Where changes are announced.
    pub events: Arc<dyn EventBus>,
}

/// The bounds of a worker.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The most updates of one transaction; a single message with more is still taken whole.
    pub max_updates: usize,
    /// How long to wait for more updates after the first.
    pub linger: Duration,
    /// The longest that a transaction may take before it is tried again.
    pub commit_bound: Duration,
    /// The longest that each step after a commit may take.
    pub after_commit_bound: Duration,
    /// The longest that one call of a repair may take.
    pub repair_bound: Duration,
    /// How often every board's index is compared with the truth.
    pub sweep_interval: Duration,
    /// Rows that are read at once for a repair; a repair that needs no more is one live change.
    pub page_rows: usize,
    /// Boards that are repaired at the same time.
    pub concurrent_repairs: usize,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            max_updates: 500,
            linger: Duration::from_millis(1),
            commit_bound: Duration::from_secs(5),
            after_commit_bound: Duration::from_millis(250),
            repair_bound: Duration::from_secs(5),
            sweep_interval: Duration::from_secs(60),
            page_rows: 2_000,
            concurrent_repairs: 4,
        }
    }
}

impl From<&runtime::settings::Worker> for WorkerSettings {
    fn from(worker: &runtime::settings::Worker) -> Self {
        let linger = Duration::from_millis(worker.linger_ms);
        Self { max_updates: worker.max_batch, linger, ..Self::default() }
    }
}
