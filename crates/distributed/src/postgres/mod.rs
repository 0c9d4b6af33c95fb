//! The truth on PostgreSQL.
//!
//! [`PgStore`] implements [`Ledger`](common::ports::Ledger), [`Truth`](common::ports::Truth),
//! [`Accounts`](common::ports::Accounts), [`Profiles`](common::ports::Profiles) and
//! [`Dependency`](common::ports::Dependency) on one pool. SQL is written by hand (`statements`), prepared once per
//! connection. Isolation is READ COMMITTED: what must not change is locked, and what must belong together is read by
//! one statement.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::ports::StoreError;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio_postgres::NoTls;

mod accounts;
mod audit;
mod board_rules;
mod dependency;
mod error;
mod facts;
mod housekeeping;
mod issuer_keys;
mod lease;
mod ledger;
mod metrics;
mod reviews;
mod schema;
mod settings;
pub mod statements;
mod truth;
mod values;

pub use schema::{MigrateError, Report, migrate};
pub use settings::{PgSettings, PgUrlError};

use lease::Lease;
use metrics::Metrics;

/// The setting that says where the database is.
const SETTING: &str = "SCOREBOARD__DATABASE__URL";

/// The truth, accounts and sessions in PostgreSQL. Cheap to clone; clones share one pool.
#[derive(Clone)]
pub struct PgStore {
    pool: Pool,
    settings: Arc<PgSettings>,
    metrics: Arc<Metrics>,
    /// The schema was seen to be this binary's own, or newer.
    schema_is_own: Arc<AtomicBool>,
}

impl PgStore {
    /// A store that connects when it is first asked: services start without their database.
    ///
    /// # Errors
    /// [`PgUrlError`] when the URL is malformed.
    pub fn new(settings: PgSettings) -> Result<Self, PgUrlError> {
        // Fast: no question before each use. A connection that died is found by its use, which is Unavailable and
        // closes it; one that is inside a transaction never gets here (see `lease`).
        let manager = Manager::from_config(
            settings.driver_config()?,
            NoTls,
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let pool = Pool::builder(manager)
            .max_size(settings.pool_size.max(1))
            .wait_timeout(Some(settings.wait_timeout))
            .create_timeout(Some(settings.connect_timeout))
            .recycle_timeout(Some(settings.connect_timeout))
            .runtime(Runtime::Tokio1)
            .build();
        // Timeouts need a runtime, which is given; there is no other way to fail.
        let Ok(pool) = pool else { unreachable!("the pool has a runtime") };
        Ok(Self {
            pool,
            settings: Arc::new(settings),
            metrics: Arc::new(Metrics::new()),
            schema_is_own: Arc::default(),
        })
    }

    /// A connection on loan.
    async fn lease(&self) -> Result<Lease, StoreError> {
        let connection = self.pool.get().await.map_err(error::pool_error)?;
        Ok(Lease::new(connection, self.settings.patience()))
    }

    /// Counts an error on its way out.
    fn counted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.inspect_err(|error| self.metrics.failed(error))
    }
}
