//! Whether Redis can be given work.

use std::time::Duration;

use async_trait::async_trait;
use common::ports::Dependency;
use deadpool_redis::redis;

use super::{RedisLink, SETTING, STORE};

/// Readiness has to answer within a second, on a busy machine too.
const PATIENCE: Duration = Duration::from_millis(700);

/// Redis, as readiness sees it.
pub struct RedisDependency {
    link: RedisLink,
}

impl RedisDependency {
    /// On a link that is shared with others.
    #[must_use]
    pub fn new(link: RedisLink) -> Self {
        Self { link }
    }
}

#[async_trait]
impl Dependency for RedisDependency {
    fn name(&self) -> &'static str {
        STORE
    }

    fn setting(&self) -> &'static str {
        SETTING
    }

    async fn check(&self) -> Result<(), String> {
        // A write: a replica, a server without memory and one that cannot save answer PING as if nothing were wrong.
        let mut probe = redis::pipe();
        probe.cmd("SET").arg("readiness:probe").arg(1).arg("EX").arg(10).ignore();
        self.link.query::<()>("check", PATIENCE, &probe).await.map_err(|failure| runtime::exit::causes(&failure))
    }
}
