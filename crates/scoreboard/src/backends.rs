//! Which implementation stands behind each port: the one place that chooses.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use auth::AuthPorts;
use common::clock::Clock;
use common::ports::{
    Accounts, BoardRules, Dependency, EventBus, Guard, Housekeeping, IssuerKeys, Ledger, PendingMarks, Profiles,
    RankIndex, Truth, UpdateQueue, UpdateSource,
};
use distributed::postgres::{MigrateError, Report};
use distributed::redis::{RedisGuard, RedisPendingMarks, RedisProfiles, RedisRanks};
use distributed::servers::Servers;
use embedded::{Embedded, OpenError};
use runtime::exit::{Exit, Failure, causes};
use runtime::memory_guard::MemoryGuard;
use runtime::settings::{Mode, Secret, Service, Settings};
use score_worker::WorkerPorts;

/// How long a command waits for a server that it needs.
const COMMAND_PATIENCE: Duration = Duration::from_secs(3);

/// Every port, on one kind of backend.
#[derive(Clone)]
pub struct Backends {
    /// The read side of the truth.
    pub truth: Arc<dyn Truth>,
    /// Its write side.
    pub ledger: Arc<dyn Ledger>,
    /// Accounts and sessions.
    pub accounts: Arc<dyn Accounts>,
    /// Keys of game servers.
    pub issuer_keys: Arc<dyn IssuerKeys>,
    /// Boards and their rules, for the operator.
    pub rules: Arc<dyn BoardRules>,
    /// Names.
    pub profiles: Arc<dyn Profiles>,
    /// Positions.
    pub ranks: Arc<dyn RankIndex>,
    /// The gateway's end of the queue.
    pub queue: Arc<dyn UpdateQueue>,
    /// The worker's end of the queue.
    pub source: Arc<dyn UpdateSource>,
    /// Events.
    pub events: Arc<dyn EventBus>,
    /// Accepted actions that are not decided yet.
    pub pending: Arc<dyn PendingMarks>,
    /// Rates, revocations and first answers.
    pub guard: Arc<dyn Guard>,
    /// What forgets.
    pub housekeeping: Arc<dyn Housekeeping>,
    /// What readiness asks.
    pub dependencies: Vec<Arc<dyn Dependency>>,
    stands_on: StandsOn,
}

/// What is let go of at the end.
#[derive(Clone)]
enum StandsOn {
    Embedded(Arc<Embedded>),
    Servers(Arc<Servers>),
}

impl Backends {
    /// The backends that the settings choose. Servers are not asked yet: they are connected to when they are used.
    ///
    /// # Errors
    /// [`Exit::Config`] when the settings do not fit together, [`Exit::Unavailable`] when the data directory cannot be
    /// served from.
    pub fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        match settings.mode()? {
            Mode::Embedded => Self::embedded(&settings.data.dir, clock),
            Mode::Distributed => Self::distributed(settings, clock),
        }
    }

    /// What auth stands on.
    pub(crate) fn auth_ports(&self, clock: Arc<dyn Clock>) -> AuthPorts {
        AuthPorts::new(Arc::clone(&self.accounts), Arc::clone(&self.issuer_keys), Arc::clone(&self.events), clock)
    }

    /// What the worker stands on.
    pub(crate) fn worker_ports(&self) -> WorkerPorts {
        WorkerPorts {
            ledger: Arc::clone(&self.ledger),
            truth: Arc::clone(&self.truth),
            ranks: Arc::clone(&self.ranks),
            source: Arc::clone(&self.source),
            events: Arc::clone(&self.events),
        }
    }

    fn embedded(data_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        let embedded = Arc::new(Embedded::open(data_dir, Arc::clone(&clock)).map_err(not_opened)?);
        let Embedded { store, ranks, queue, bus, pending } = &*embedded;
        Ok(Self {
            truth: store.clone(),
            ledger: store.clone(),
            accounts: store.clone(),
            issuer_keys: store.clone(),
            rules: store.clone(),
            profiles: store.clone(),
            ranks: ranks.clone(),
            queue: queue.clone(),
            source: queue.clone(),
            events: bus.clone(),
            pending: pending.clone(),
            guard: Arc::new(MemoryGuard::new(clock)),
            housekeeping: store.clone(),
            dependencies: vec![store.clone()],
            stands_on: StandsOn::Embedded(embedded),
        })
    }

    fn distributed(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        let servers = Servers::named_by(settings, Service::AllInOne.as_str(), Arc::clone(&clock))?;
        let Servers { store, redis, rabbit } = &servers;
        Ok(Self {
            truth: store.clone(),
            ledger: store.clone(),
            accounts: store.clone(),
            issuer_keys: store.clone(),
            rules: store.clone(),
            profiles: Arc::new(RedisProfiles::new(redis.clone(), store.clone())),
            ranks: Arc::new(RedisRanks::new(redis.clone())),
            queue: Arc::new(rabbit.queue()),
            source: Arc::new(rabbit.source()),
            events: Arc::new(rabbit.bus()),
            pending: Arc::new(RedisPendingMarks::new(redis.clone())),
            guard: Arc::new(RedisGuard::new(redis.clone(), clock)),
            housekeeping: store.clone(),
            dependencies: vec![servers.database(), servers.cache(), servers.broker(), servers.queue_depth()],
            stands_on: StandsOn::Servers(Arc::new(servers)),
        })
    }

    /// Finishes the work that the backends accepted and lets go of them. The services have ended before.
    pub async fn close(&self) {
        match &self.stands_on {
            StandsOn::Embedded(embedded) => embedded.close().await,
            StandsOn::Servers(servers) => servers.close().await,
        }
    }
}

/// Asks a dependency for a command: more than once, because a first connection on a busy machine takes longer than a check.
///
/// # Errors
/// [`Exit::Unavailable`] naming the dependency, its setting and the next step.
pub(crate) async fn must_answer(dependency: &dyn Dependency) -> Result<(), Failure> {
    let until = Instant::now() + COMMAND_PATIENCE;
    loop {
        match dependency.check().await {
            Ok(()) => return Ok(()),
            Err(_) if Instant::now() < until => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(cause) => return Err(Failure::unavailable(dependency.name(), dependency.setting(), &cause)),
        }
    }
}

pub(crate) fn not_opened(error: OpenError) -> Failure {
    let exit = match &error {
        OpenError::InUse { .. } => Exit::Unavailable,
        OpenError::Directory { .. } | OpenError::Database { .. } | OpenError::Migration { .. } => Exit::Config,
        OpenError::Thread(_) => Exit::Bug,
    };
    Failure::new(exit, format!("{} (SCOREBOARD__DATA__DIR)", causes(&error)))
}

/// Brings PostgreSQL's schema up to date.
///
/// # Errors
/// [`Exit::Unavailable`] when the database cannot be reached, [`Exit::Config`] when it cannot be used.
pub(crate) async fn migrate(settings: &Settings) -> Result<Report, Failure> {
    let url = settings.database.url.as_ref().map(Secret::expose).unwrap_or_default();
    distributed::postgres::migrate(url).await.map_err(|error| {
        let cause = causes(&error);
        match error {
            MigrateError::Url(_) => Failure::new(Exit::Config, cause),
            MigrateError::Unreachable(_) | MigrateError::Locked(_) | MigrateError::TooLong => {
                Failure::unavailable("postgresql", "SCOREBOARD__DATABASE__URL", &cause)
            }
            MigrateError::Failed(_) => Failure::new(Exit::Bug, cause),
        }
    })
}

/// Brings the embedded database's schema up to date; how many migrations that took.
///
/// # Errors
/// As [`Backends::open`].
pub(crate) fn migrate_embedded(settings: &Settings) -> Result<usize, Failure> {
    embedded::SqliteStore::migrate(&settings.data.dir).map_err(not_opened)
}
