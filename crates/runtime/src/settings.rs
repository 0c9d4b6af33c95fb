//! Settings: defaults < file < environment < flags, the same names for one process and for four.
//!
//! Environment: `SCOREBOARD__SECTION__KEY` (two underscores after the prefix, because Kubernetes injects
//! `SCOREBOARD_PORT` for a service named scoreboard). `…_FILE` names a file that holds the value.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

mod effective;
mod sources;

use serde::{Deserialize, Deserializer};

pub use effective::EffectiveSetting;
pub use sources::Sources;
use sources::{DEFAULT_FILTER, gather, invalid};

use crate::exit::{Exit, Failure};

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself: for the driver that needs it, never for a log.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Which process reads the settings: defaults of the listeners differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// All four in one process.
    AllInOne,
    /// HTTP, checks, publishing.
    Gateway,
    /// Accounts, tokens, keys.
    Auth,
    /// The queue's consumer.
    ScoreWorker,
    /// WebSocket and SSE.
    RealtimeFanout,
}

impl Service {
    /// The name in logs, traces and secret directories.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllInOne => "scoreboard",
            Self::Gateway => "gateway",
            Self::Auth => "auth",
            Self::ScoreWorker => "score-worker",
            Self::RealtimeFanout => "realtime-fanout",
        }
    }
}

/// Every setting. A setting that a service does not use is accepted, so that all can share one file.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs)] // the sections document themselves
pub struct Settings {
    pub http: Http,
    pub admin: Listener,
    pub grpc: Listener,
    pub database: Database,
    pub redis: Server,
    pub amqp: Broker,
    pub data: Directory,
    pub secrets: OptionalDirectory,
    pub auth: Auth,
    pub limits: Limits,
    pub submit: Submit,
    pub worker: Worker,
    pub stream: Stream,
    pub log: Log,
}

/// The public HTTP side.
#[derive(Clone, Debug, Deserialize)]
pub struct Http {
    /// Where to listen; by service when unset.
    #[serde(default, deserialize_with = "optional_address")]
    pub listen: Option<SocketAddr>,
    /// Networks (CIDR) of proxies whose forwarding headers count.
    #[serde(deserialize_with = "comma_list")]
    pub trusted_proxies: Vec<String>,
    /// Origins of pages that may connect, beside our own host.
    #[serde(deserialize_with = "comma_list")]
    pub allowed_origins: Vec<String>,
}

/// A listener.
#[derive(Clone, Debug, Deserialize)]
pub struct Listener {
    /// Where to listen; by service when unset.
    #[serde(default, deserialize_with = "optional_address")]
    pub listen: Option<SocketAddr>,
}

/// PostgreSQL.
#[derive(Clone, Debug, Deserialize)]
pub struct Database {
    /// `postgres://user:password@host:port/database`.
    #[serde(default)]
    pub url: Option<Secret>,
    /// The most connections of one process.
    pub pool_size: usize,
}

/// A server that is named by its URL.
#[derive(Clone, Debug, Deserialize)]
pub struct Server {
    /// Where it is, with credentials.
    #[serde(default)]
    pub url: Option<Secret>,
}

/// RabbitMQ.
#[derive(Clone, Debug, Deserialize)]
pub struct Broker {
    /// `amqp://user:password@host:port/vhost`.
    #[serde(default)]
    pub url: Option<Secret>,
    /// Put before the names of queues and exchanges, so that several installations can share a virtual host.
    #[serde(default)]
    pub prefix: String,
}

/// A directory.
#[derive(Clone, Debug, Deserialize)]
pub struct Directory {
    /// Its path.
    pub dir: PathBuf,
}

/// A directory that may be unset.
#[derive(Clone, Debug, Deserialize)]
pub struct OptionalDirectory {
    /// Its path.
    #[serde(default)]
    pub dir: Option<PathBuf>,
}

/// Where auth's gRPC is, and how auth behaves.
#[derive(Clone, Debug, Deserialize)]
pub struct Auth {
    /// `http://host:port`.
    #[serde(default)]
    pub url: Option<String>,
    /// Whether strangers may register.
    pub registration: Registration,
    /// For how long rotated keys are published before they sign, seconds: longer than it takes to send HUP to every
    /// process.
    pub rotation_overlap_s: u32,
}

/// Who may create an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Everybody.
    Open,
    /// Only an operator, by `scoreboard user create`.
    Closed,
}

/// Rates; 0 = no limit.
#[derive(Clone, Debug, Deserialize)]
pub struct Limits {
    /// Score updates per user and minute.
    pub user_updates_per_minute: u32,
    /// Requests per address and hour without a valid token.
    pub address_anonymous_per_hour: u32,
    /// Requests per address and hour with one.
    pub address_per_hour: u32,
    /// Reads of boards per address and minute, per node.
    pub address_reads_per_minute: u32,
    /// Open sockets per address, per node.
    pub address_sockets: u32,
    /// Open sockets per node.
    pub node_sockets: u32,
    /// Sockets opened per second and node.
    pub node_handshakes_per_second: u32,
    /// Login attempts per account and minute.
    pub logins_per_account_per_minute: u32,
    /// Calls of a trusted caller by gRPC per minute, per node; each update of a batch is one.
    pub caller_calls_per_minute: u32,
}

/// How the gateway submits.
#[derive(Clone, Debug, Deserialize)]
pub struct Submit {
    /// How long to wait for the worker's answer, milliseconds.
    pub wait_ms: u64,
    /// The most messages that may wait in the queue of updates; above it no more is taken (503).
    pub max_queued: u32,
    /// Not ready while an update that was accepted has waited for longer, seconds; 0 = it may wait for ever.
    pub max_queue_age_s: u64,
}

impl Submit {
    /// The first setting that no gateway could work with, and why.
    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.max_queued == 0 {
            return Err(("submit.max_queued", "must be at least 1 message, or nothing is ever taken"));
        }
        Ok(())
    }
}

/// How the score-worker batches.
#[derive(Clone, Debug, Deserialize)]
pub struct Worker {
    /// The most updates of one transaction.
    pub max_batch: usize,
    /// How long to go on collecting after the first update while updates come together, milliseconds.
    pub linger_ms: u64,
    /// The most messages that are taken and not yet acknowledged.
    pub prefetch: u16,
    /// An action is held for a review when its player's gain in the window is so many spreads above the median of the
    /// board (a robust z-score of the logarithm); 0 holds nothing.
    pub suspicion_threshold: f64,
    /// The window, seconds.
    pub suspicion_window_s: u32,
    /// Nothing is held while fewer players than this gained anything in the window.
    pub suspicion_min_players: usize,
    /// Nothing is held up to so many points in a window: one action of the built-in type may grant as many.
    pub suspicion_min_points: i64,
    /// For how long there must have been so many players before anything is held, seconds: how a board begins tells
    /// little.
    pub suspicion_warm_up_s: u32,
}

impl Worker {
    /// The first setting that no worker could work with, and why.
    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !self.suspicion_threshold.is_finite() || self.suspicion_threshold < 0.0 {
            return Err((
                "worker.suspicion_threshold",
                "must be a number of spreads such as 4.5, or 0 to hold nothing",
            ));
        }
        if self.suspicion_window_s == 0 {
            return Err((
                "worker.suspicion_window_s",
                "must be at least 1 second; worker.suspicion_threshold = 0 holds nothing",
            ));
        }
        Ok(())
    }
}

/// The live stream.
#[derive(Clone, Debug, Deserialize)]
pub struct Stream {
    /// The shortest time between two frames of a board, milliseconds.
    pub tick_ms: u64,
    /// How often a board's curve of scores is sent to those who watch it, milliseconds.
    pub curve_ms: u64,
    /// Where the page finds the stream when it is on another origin.
    #[serde(default)]
    pub public_url: Option<String>,
}

/// Logs.
#[derive(Clone, Debug, Deserialize)]
pub struct Log {
    /// `info`, or a filter such as `info,gateway=debug`.
    pub filter: String,
    /// `auto` (pretty on a terminal), `json` or `pretty`.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: DEFAULT_FILTER.to_owned(), format: LogFormat::Auto }
    }
}

/// How logs are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, else JSON.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// A setting is wrong. Says which, where it came from, and what to do.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    /// No such key.
    #[error("{origin} is not a setting; the nearest one is {nearest}")]
    Unknown {
        /// As it was given.
        origin: String,
        /// What was probably meant.
        nearest: String,
    },
    /// The value does not fit.
    #[error("{origin}: {problem}")]
    Invalid {
        /// Which setting, as it was given.
        origin: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Some of the three server URLs are given, others not.
    #[error("{missing} is not set, but {given} is: give all three server URLs, or none for the embedded backend")]
    HalfDistributed {
        /// The first that is missing.
        missing: String,
        /// One that is given.
        given: String,
    },
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::new(Exit::Config, error.to_string())
    }
}

impl Settings {
    /// Reads and checks all settings.
    ///
    /// # Errors
    /// [`SettingsError`], naming the setting as it was given.
    pub fn load(sources: &Sources) -> Result<Self, SettingsError> {
        let values = gather(sources)?;
        let settings = Self::from_values(&values)?;
        settings.mode()?;
        settings
            .submit
            .check()
            .and_then(|()| settings.worker.check())
            .map_err(|(key, problem)| invalid(&origin_of(key, &values), problem))?;
        Ok(settings)
    }

    fn from_values(values: &BTreeMap<String, (String, String)>) -> Result<Self, SettingsError> {
        let mut builder = config::Config::builder();
        for (key, (origin, value)) in values {
            // An empty variable counts as not given, as in most tools; lists may be empty.
            if value.is_empty() && !key.ends_with("proxies") && !key.ends_with("origins") {
                continue;
            }
            builder = builder.set_override(key, value.clone()).map_err(|e| invalid(origin, &e.to_string()))?;
        }
        // A section whose keys are all unset must still be there.
        for section in ["admin", "grpc", "redis", "amqp", "secrets", "auth"] {
            let empty: std::collections::HashMap<String, config::Value> = std::collections::HashMap::new();
            builder = builder.set_default(section, empty).map_err(|e| invalid(section, &e.to_string()))?;
        }
        let read = builder.build().map_err(|e| invalid("settings", &e.to_string()))?;
        serde_path_to_error(read, values)
    }

    /// Whether the process stands on embedded or on distributed backends.
    ///
    /// # Errors
    /// [`SettingsError::HalfDistributed`].
    pub fn mode(&self) -> Result<Mode, SettingsError> {
        let urls = [
            ("SCOREBOARD__DATABASE__URL", &self.database.url),
            ("SCOREBOARD__REDIS__URL", &self.redis.url),
            ("SCOREBOARD__AMQP__URL", &self.amqp.url),
        ];
        let given = urls.iter().find(|(_, url)| url.is_some());
        let missing = urls.iter().find(|(_, url)| url.is_none());
        match (given, missing) {
            (None, _) => Ok(Mode::Embedded),
            (Some(_), None) => Ok(Mode::Distributed),
            (Some((given, _)), Some((missing, _))) => {
                Err(SettingsError::HalfDistributed { missing: (*missing).to_owned(), given: (*given).to_owned() })
            }
        }
    }

    /// The public listener of a service.
    #[must_use]
    pub fn http_listen(&self, service: Service) -> SocketAddr {
        let port = if service == Service::RealtimeFanout { 8081 } else { 8080 };
        self.http.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The admin listener of a service.
    #[must_use]
    pub fn admin_listen(&self, service: Service) -> SocketAddr {
        let port = match service {
            Service::AllInOne | Service::Gateway => 9090,
            Service::Auth => 9092,
            Service::ScoreWorker => 9093,
            Service::RealtimeFanout => 9094,
        };
        self.admin.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The gRPC listener of a service.
    #[must_use]
    pub fn grpc_listen(&self, service: Service) -> SocketAddr {
        let port = if service == Service::Gateway { 50052 } else { 50051 };
        self.grpc.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

/// Which backends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// SQLite and memory.
    Embedded,
    /// PostgreSQL, Redis, RabbitMQ.
    Distributed,
}

fn serde_path_to_error(
    read: config::Config,
    values: &BTreeMap<String, (String, String)>,
) -> Result<Settings, SettingsError> {
    read.try_deserialize().map_err(|error| {
        let text = error.to_string();
        // config names the key in backticks; find where its value came from.
        let key = values.keys().find(|key| text.contains(&format!("`{key}`")));
        let origin = key.map_or_else(|| "settings".to_owned(), |key| origin_of(key, values));
        invalid(&origin, &text)
    })
}

/// A setting as it was given, or its name.
fn origin_of(key: &str, values: &BTreeMap<String, (String, String)>) -> String {
    match values.get(key) {
        Some((origin, _)) if origin != "default" => origin.clone(),
        _ => key.to_owned(),
    }
}

fn comma_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
}

fn optional_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    SocketAddr::from_str(&text)
        .map(Some)
        .map_err(|_| serde::de::Error::custom(format!("{text} is not an address such as 127.0.0.1:8080")))
}

#[cfg(test)]
mod tests;
