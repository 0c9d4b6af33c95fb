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

/// When an action is held because its player gains points far faster than the others.
#[derive(Clone, Debug)]
pub struct SuspicionSettings {
    /// The robust z-score above which an action is held; 0 holds nothing.
    pub threshold: f64,
    /// How far back gains are compared.
    pub window: Duration,
    /// Nothing is held while fewer players than this gained anything in the window.
    pub min_players: usize,
    /// Nothing is held up to so many points in a window.
    pub min_points: i64,
    /// For how long there must have been so many players before anything is held.
    pub warm_up: Duration,
}

impl Default for SuspicionSettings {
    fn default() -> Self {
        Self {
            threshold: 4.5,
            window: Duration::from_secs(60),
            min_players: 50,
            min_points: 1000,
            warm_up: Duration::from_secs(60),
        }
    }
}

/// The bounds of a worker.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The most updates of one transaction; a single message with more is still taken whole.
    pub max_updates: usize,
    /// How long to wait for more updates after the first, where the batch before had more than one: at low load nobody
    /// waits.
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
    /// How often boards that came to rest are compared: who moves a board beside the workers (a review) is noticed.
    pub look_interval: Duration,
    /// When actions are held.
    pub suspicion: SuspicionSettings,
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
            look_interval: Duration::from_secs(1),
            suspicion: SuspicionSettings::default(),
        }
    }
}

impl From<&runtime::settings::Worker> for WorkerSettings {
    fn from(worker: &runtime::settings::Worker) -> Self {
        let linger = Duration::from_millis(worker.linger_ms);
        let suspicion = SuspicionSettings {
            threshold: worker.suspicion_threshold,
            window: Duration::from_secs(worker.suspicion_window_s.into()),
            min_players: worker.suspicion_min_players,
            min_points: worker.suspicion_min_points,
            warm_up: Duration::from_secs(worker.suspicion_warm_up_s.into()),
        };
        Self { max_updates: worker.max_batch, linger, suspicion, ..Self::default() }
    }
}
