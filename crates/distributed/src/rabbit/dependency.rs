//! Whether the broker takes work, as readiness sees it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::ports::Dependency;
use lapin::types::ShortString;
use tokio::time::{Instant, timeout};

use super::Core;
use super::confirm_window::Outgoing;
use super::connection::RabbitConnection;
use super::error::RabbitError;
use super::message::{self, Lasting};
use super::publisher::Publisher;
use super::topology::default_exchange;

/// All of a check.
const CHECK_TIMEOUT: Duration = Duration::from_millis(900);

/// The type of the message that a check publishes.
const PROBE_TYPE: &str = "scoreboard.probe";

/// No queue has this name, so that the broker drops what is published to it.
const NOWHERE: &str = "scoreboard.nowhere";

/// The broker as a dependency: connected, not blocked, and confirming.
pub struct RabbitDependency {
    connection: Arc<RabbitConnection>,
    publisher: Publisher,
    core: Arc<Core>,
}

impl RabbitDependency {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { connection: core.publishing(), publisher: core.publisher(), core }
    }

    /// The broker tells a connection that it is blocked only when that connection publishes. So a check publishes a
    /// message that goes nowhere, and asks for its confirm.
    async fn probe(&self) -> Result<(), RabbitError> {
        let until = Instant::now() + CHECK_TIMEOUT;
        if let Err(RabbitError::NotConnected(_)) = self.connection.ready() {
            // Right after the start, it may only not be connected yet.
            let _ = timeout(CHECK_TIMEOUT / 2, self.connection.session_after(0)).await;
        }
        let outgoing = Outgoing {
            exchange: default_exchange(),
            routing_key: ShortString::from(NOWHERE),
            mandatory: false,
            body: Vec::new(),
            properties: message::properties(PROBE_TYPE, Lasting::Transient, self.core.clock.now()),
        };
        self.publisher.publish(outgoing, until.saturating_duration_since(Instant::now())).await
    }
}

#[async_trait]
impl Dependency for RabbitDependency {
    fn name(&self) -> &'static str {
        "rabbitmq"
    }

    fn setting(&self) -> &'static str {
        "SCOREBOARD__AMQP__URL"
    }

    async fn check(&self) -> Result<(), String> {
        let outcome = self.probe().await;
        // A probe that got no confirm may have been what made the broker say why.
        if matches!(outcome, Err(RabbitError::TimedOut(_))) {
            self.connection.ready().map_err(|error| error.to_string())?;
        }
        outcome.map_err(|error| error.to_string())
    }
}
