//! Settings: defaults < file < environment < flags, the same names for one process and for four.
//!
//! Environment: `SCOREBOARD__SECTION__KEY` (two underscores after the prefix, because Kubernetes injects
//! `SCOREBOARD_PORT` for a service named scoreboard). `…_FILE` names a file that holds the value.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

mod effective;

use serde::{Deserialize, Deserializer};

pub use effective::EffectiveSetting;

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
    /// Login attempts per account and minute.
    pub logins_per_account_per_minute: u32,
}

/// How the gateway submits.
#[derive(Clone, Debug, Deserialize)]
pub struct Submit {
    /// How long to wait for the worker's answer, milliseconds.
    pub wait_ms: u64,
}

/// How the score-worker batches.
#[derive(Clone, Debug, Deserialize)]
pub struct Worker {
    /// The most updates of one transaction.
    pub max_batch: usize,
    /// How long to go on collecting after the first update, milliseconds.
    pub linger_ms: u64,
    /// The most messages that are taken and not yet acknowledged.
    pub prefetch: u16,
}

/// The live stream.
#[derive(Clone, Debug, Deserialize)]
pub struct Stream {
    /// The shortest time between two frames of a board, milliseconds.
    pub tick_ms: u64,
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

/// Every key with its default; `None` where there is none.
const KEYS: &[(&str, Option<&str>)] = &[
    ("http.listen", None),
    ("http.trusted_proxies", Some("")),
    ("http.allowed_origins", Some("")),
    ("admin.listen", None),
    ("grpc.listen", None),
    ("database.url", None),
    ("database.pool_size", Some("16")),
    ("redis.url", None),
    ("amqp.url", None),
    ("amqp.prefix", None),
    ("data.dir", Some("scoreboard-data")),
    ("secrets.dir", None),
    ("auth.url", None),
    ("auth.registration", Some("open")),
    ("auth.rotation_overlap_s", Some("60")),
    ("limits.user_updates_per_minute", Some("10")),
    ("limits.address_anonymous_per_hour", Some("100")),
    ("limits.address_per_hour", Some("6000")),
    ("limits.address_reads_per_minute", Some("600")),
    ("limits.address_sockets", Some("100")),
    ("limits.logins_per_account_per_minute", Some("10")),
    ("submit.wait_ms", Some("1000")),
    ("worker.max_batch", Some("500")),
    ("worker.linger_ms", Some("1")),
    ("worker.prefetch", Some("500")),
    ("stream.tick_ms", Some("50")),
    ("stream.public_url", None),
    ("log.filter", Some(DEFAULT_FILTER)),
    ("log.format", Some("auto")),
];

/// Keys that may be given as a file.
const SECRET_KEYS: &[&str] = &["database.url", "redis.url", "amqp.url"];

/// Our own words, and of the libraries only what is wrong and not told by ourselves.
const DEFAULT_FILTER: &str = "info,actix_server=warn,refinery_core=warn,lapin=off";

const PREFIX: &str = "SCOREBOARD__";

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

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// `--set section.key=value`.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// The process's environment, with what the command line says.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        Self { file, environment: std::env::vars().collect(), flags }
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

/// Every given value by key, with where it came from; what is given closer to the process wins.
fn gather(sources: &Sources) -> Result<BTreeMap<String, (String, String)>, SettingsError> {
    let mut values: BTreeMap<String, (String, String)> = KEYS
        .iter()
        .filter_map(|(key, default)| default.map(|d| ((*key).to_owned(), ("default".to_owned(), d.to_owned()))))
        .collect();
    if let Some(file) = &sources.file {
        read_file(file, &mut values)?;
    }
    for (name, value) in &sources.environment {
        if let Some(rest) = name.strip_prefix(PREFIX) {
            read_variable(name, rest, value, &mut values)?;
        }
    }
    for (key, value) in &sources.flags {
        let origin = format!("--set {key}");
        check_known(key, &origin)?;
        values.insert(key.clone(), (origin, value.clone()));
    }
    Ok(values)
}

fn invalid(origin: &str, problem: &str) -> SettingsError {
    SettingsError::Invalid { origin: origin.to_owned(), problem: problem.to_owned() }
}

fn check_known(key: &str, origin: &str) -> Result<(), SettingsError> {
    if KEYS.iter().any(|(known, _)| *known == key) {
        return Ok(());
    }
    let near = KEYS
        .iter()
        .map(|(known, _)| *known)
        .max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)));
    let nearest = near.unwrap_or_default();
    let nearest = if origin.starts_with(PREFIX) { variable_name(nearest) } else { nearest.to_owned() };
    Err(SettingsError::Unknown { origin: origin.to_owned(), nearest })
}

fn variable_name(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

fn read_variable(
    name: &str,
    rest: &str,
    value: &str,
    values: &mut BTreeMap<String, (String, String)>,
) -> Result<(), SettingsError> {
    let key = rest.to_lowercase().replace("__", ".");
    if let Some(secret) = key.strip_suffix("_file")
        && SECRET_KEYS.contains(&secret)
    {
        let text =
            std::fs::read_to_string(value).map_err(|e| invalid(name, &format!("{value} cannot be read: {e}")))?;
        values.insert(secret.to_owned(), (name.to_owned(), text.trim_end().to_owned()));
        return Ok(());
    }
    check_known(&key, name)?;
    // DATABASE__URL_FILE comes after DATABASE__URL in the map's order and wins; say so instead.
    values.insert(key, (name.to_owned(), value.to_owned()));
    Ok(())
}

fn read_file(file: &Path, values: &mut BTreeMap<String, (String, String)>) -> Result<(), SettingsError> {
    let origin = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|e| invalid(&origin, &format!("cannot be read: {e}")))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| invalid(&origin, &e.to_string()))?;
    for (section, entries) in table {
        let toml::Value::Table(entries) = entries else {
            return Err(invalid(&origin, &format!("{section} must be a [section]")));
        };
        for (name, value) in entries {
            let key = format!("{section}.{name}");
            let place = format!("{origin}: {key}");
            check_known(&key, &place)?;
            values.insert(
                key,
                (
                    place.clone(),
                    as_text(&value).ok_or_else(|| invalid(&place, "must be a text, a number or a list of texts"))?,
                ),
            );
        }
    }
    Ok(())
}

fn as_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>().map(|v| v.join(","))
        }
        _ => None,
    }
}

fn serde_path_to_error(
    read: config::Config,
    values: &BTreeMap<String, (String, String)>,
) -> Result<Settings, SettingsError> {
    read.try_deserialize().map_err(|error| {
        let text = error.to_string();
        // config names the key in backticks; find where its value came from.
        let origin = values.iter().find(|(key, _)| text.contains(&format!("`{key}`"))).map_or_else(
            || "settings".to_owned(),
            |(key, (origin, _))| if origin == "default" { key.clone() } else { origin.clone() },
        );
        invalid(&origin, &text)
    })
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
mod tests {
    use super::*;

    fn load(environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Settings::load(&Sources { environment, ..Sources::default() })
    }

    #[test]
    fn embedded_needs_none() {
        let settings = load(&[]).unwrap();
        assert_eq!(settings.mode(), Ok(Mode::Embedded));
        assert_eq!(settings.limits.user_updates_per_minute, 10);
        assert_eq!(settings.admin_listen(Service::ScoreWorker).port(), 9093);
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let error = load(&[("SCOREBOARD__LIMITS__USER_UPDATE_PER_MINUTE", "5")]).unwrap_err();
        assert_eq!(
            error,
            SettingsError::Unknown {
                origin: "SCOREBOARD__LIMITS__USER_UPDATE_PER_MINUTE".into(),
                nearest: "SCOREBOARD__LIMITS__USER_UPDATES_PER_MINUTE".into()
            }
        );
    }

    #[test]
    fn what_kubernetes_injects_is_not_ours() {
        assert!(load(&[("SCOREBOARD_PORT", "tcp://10.0.0.1:8080")]).is_ok());
    }

    #[test]
    fn a_bad_value_names_its_variable() {
        let error = load(&[("SCOREBOARD__SUBMIT__WAIT_MS", "soon")]).unwrap_err();
        assert!(error.to_string().starts_with("SCOREBOARD__SUBMIT__WAIT_MS"), "{error}");
        let error = load(&[("SCOREBOARD__HTTP__LISTEN", "8080")]).unwrap_err();
        assert!(error.to_string().starts_with("SCOREBOARD__HTTP__LISTEN"), "{error}");
    }

    #[test]
    fn the_servers_must_be_whole() {
        let error = load(&[("SCOREBOARD__REDIS__URL", "redis://x")]).unwrap_err();
        assert!(matches!(error, SettingsError::HalfDistributed { .. }));
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        let file = std::env::temp_dir().join(format!("scoreboard-settings-{}.toml", std::process::id()));
        std::fs::write(
            &file,
            "[submit]\nwait_ms = 5\n[stream]\ntick_ms = 7\n[http]\nallowed_origins = [\"https://a\"]\n",
        )
        .unwrap();
        let sources = Sources {
            file: Some(file.clone()),
            environment: [
                ("SCOREBOARD__SUBMIT__WAIT_MS".to_owned(), "6".to_owned()),
                ("SCOREBOARD__STREAM__TICK_MS".to_owned(), "8".to_owned()),
            ]
            .into(),
            flags: vec![("submit.wait_ms".into(), "9".into())],
        };
        let settings = Settings::load(&sources).unwrap();
        std::fs::remove_file(file).unwrap();
        assert_eq!((settings.submit.wait_ms, settings.stream.tick_ms), (9, 8));
        assert_eq!(settings.http.allowed_origins, ["https://a"]);
    }

    #[test]
    fn secrets_are_not_printed() {
        let settings = load(&[
            ("SCOREBOARD__REDIS__URL", "redis://:hunter2@x"),
            ("SCOREBOARD__AMQP__URL", "amqp://a:hunter2@x"),
            ("SCOREBOARD__DATABASE__URL", "postgres://a:hunter2@x"),
        ])
        .unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
