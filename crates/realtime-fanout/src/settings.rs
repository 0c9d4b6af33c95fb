//! What an operator and a test can choose.

use std::time::Duration;

use http_edge::client_address::TrustedProxies;
use http_edge::origin::AllowedOrigins;
use runtime::exit::{Exit, Failure};
use runtime::settings::Settings;

/// How the stream runs.
#[derive(Clone, Debug)]
pub struct FanoutSettings {
    /// The shortest time between two frames of a board.
    pub tick: Duration,
    /// After so long without other traffic a heartbeat is sent.
    pub heartbeat: Duration,
    /// Pages of other origins that may connect.
    pub allowed_origins: AllowedOrigins,
    /// Whose forwarding headers count.
    pub trusted_proxies: TrustedProxies,
    /// Open sockets per address on this node; 0 = no limit.
    pub sockets_per_address: u32,
    /// Open sockets on this node; 0 = no limit.
    pub sockets_per_node: u32,
    /// Sockets that may be opened on this node within a second; 0 = no limit.
    pub handshakes_per_second: u32,
    /// How often the curve of a board is looked at, where somebody watches it.
    pub curve: Duration,
    /// How long a client's claim to have seen a newer state than this node may hold its handshake up.
    pub resume_wait: Duration,
    /// The window in which clients that are sent away come back grows by so much with each open socket of the node.
    pub return_per_socket: Duration,
    /// How long sockets have to take their goodbye when the node drains.
    pub drain_limit: Duration,
}

impl Default for FanoutSettings {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(50),
            heartbeat: Duration::from_secs(20),
            allowed_origins: AllowedOrigins::default(),
            trusted_proxies: TrustedProxies::default(),
            sockets_per_address: 100,
            sockets_per_node: 50_000,
            handshakes_per_second: 2_000,
            curve: Duration::from_secs(5),
            resume_wait: Duration::from_secs(1),
            // 500 a second.
            return_per_socket: Duration::from_millis(2),
            drain_limit: Duration::from_secs(5),
        }
    }
}

impl FanoutSettings {
    /// As the process's settings say.
    ///
    /// # Errors
    /// [`Exit::Config`] naming the setting that is wrong.
    pub fn read(settings: &Settings) -> Result<Self, Failure> {
        let trusted_proxies = TrustedProxies::parse(&settings.http.trusted_proxies)
            .map_err(|error| Failure::new(Exit::Config, format!("SCOREBOARD__HTTP__TRUSTED_PROXIES: {error}")))?;
        Ok(Self {
            tick: Duration::from_millis(settings.stream.tick_ms),
            allowed_origins: AllowedOrigins::new(settings.http.allowed_origins.clone()),
            trusted_proxies,
            sockets_per_address: settings.limits.address_sockets,
            sockets_per_node: settings.limits.node_sockets,
            handshakes_per_second: settings.limits.node_handshakes_per_second,
            curve: Duration::from_millis(settings.stream.curve_ms),
            ..Self::default()
        })
    }
}
