//! Whether the servers that a service stands on are there.

use async_trait::async_trait;

/// A server that a service depends on, as readiness sees it.
#[async_trait]
pub trait Dependency: Send + Sync {
    /// Its name in `/readyz` and in messages: `postgresql`, `redis`, `rabbitmq`, `auth`, `sqlite`.
    fn name(&self) -> &'static str;

    /// The setting that says where it is: `SCOREBOARD__DATABASE__URL`, say.
    fn setting(&self) -> &'static str;

    /// Whether work can be given to it now (schema, blocked connections, alarms included). The error is for an
    /// operator: what is wrong, without secrets. Must answer within 1 s.
    async fn check(&self) -> Result<(), String>;
}
