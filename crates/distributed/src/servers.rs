//! The three servers as the settings name them: what every process of the distributed backends begins with.

use std::sync::Arc;

use common::clock::Clock;
use common::ports::Dependency;
use runtime::exit::{Exit, Failure, causes};
use runtime::settings::{Mode, Secret, Settings};

use crate::postgres::{PgSettings, PgStore};
use crate::rabbit::{Rabbit, RabbitSettings};
use crate::redis::{RedisDependency, RedisLink, RedisSettings};

const DATABASE_URL: &str = "SCOREBOARD__DATABASE__URL";
const REDIS_URL: &str = "SCOREBOARD__REDIS__URL";
const AMQP_URL: &str = "SCOREBOARD__AMQP__URL";

/// Ways to PostgreSQL, Redis and RabbitMQ. Nothing is connected before it is used, so that processes start without
/// their servers.
pub struct Servers {
    /// The truth, accounts and names.
    pub store: Arc<PgStore>,
    /// Ranks, marks, the guard.
    pub redis: RedisLink,
    /// Queue and events; closed by [`Self::close`].
    pub rabbit: Rabbit,
}

impl Servers {
    /// From the settings of a process that the servers know by the name `process`. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`Exit::Config`] naming the setting that is missing or malformed.
    pub fn named_by(settings: &Settings, process: &str, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        if settings.mode()? == Mode::Embedded {
            return Err(Failure::new(
                Exit::Config,
                format!(
                    "{DATABASE_URL}, {REDIS_URL} and {AMQP_URL} are not set, and {process} has no embedded backend: set \
                     them, or run `scoreboard serve`, which needs none of them"
                ),
            ));
        }
        let url = |url: &Option<Secret>| url.as_ref().map(|url| url.expose().to_owned()).unwrap_or_default();
        let store = PgStore::new(PgSettings {
            pool_size: settings.database.pool_size,
            ..PgSettings::new(url(&settings.database.url), process)
        })
        .map_err(malformed)?;
        let redis = RedisLink::new(RedisSettings::new(url(&settings.redis.url))).map_err(malformed)?;
        let rabbit = RabbitSettings::new(&url(&settings.amqp.url), process)
            .map_err(|error| Failure::new(Exit::Config, format!("{AMQP_URL} {error}")))?
            .with_name_prefix(&settings.amqp.prefix)
            .with_prefetch(settings.worker.prefetch)
            .with_max_queued(settings.submit.max_queued);
        Ok(Self { store: Arc::new(store), redis, rabbit: Rabbit::new(rabbit, clock) })
    }

    /// PostgreSQL as readiness sees it.
    #[must_use]
    pub fn database(&self) -> Arc<dyn Dependency> {
        Arc::clone(&self.store) as Arc<dyn Dependency>
    }

    /// Redis as readiness sees it.
    #[must_use]
    pub fn cache(&self) -> Arc<dyn Dependency> {
        Arc::new(RedisDependency::new(self.redis.clone()))
    }

    /// RabbitMQ as readiness sees it.
    #[must_use]
    pub fn broker(&self) -> Arc<dyn Dependency> {
        Arc::new(self.rabbit.dependency())
    }

    /// The length of the queue of updates as readiness sees it, for a process that submits to it.
    #[must_use]
    pub fn queue_depth(&self) -> Arc<dyn Dependency> {
        Arc::new(self.rabbit.queue_depth())
    }

    /// Says goodbye to the broker; what is unsettled goes back to its queue. When the services have drained.
    pub async fn close(&self) {
        self.rabbit.close().await;
    }
}

fn malformed(error: impl std::error::Error + 'static) -> Failure {
    Failure::new(Exit::Config, causes(&error))
}
