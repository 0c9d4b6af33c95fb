//! Where settings come from: every key with its default, then file, environment and flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::SettingsError;

/// Every key with its default; `None` where there is none.
pub(super) const KEYS: &[(&str, Option<&str>)] = &[
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
    ("limits.node_sockets", Some("50000")),
    ("limits.node_handshakes_per_second", Some("2000")),
    ("limits.logins_per_account_per_minute", Some("10")),
    ("limits.caller_calls_per_minute", Some("60000")),
    ("submit.wait_ms", Some("1000")),
    ("submit.max_queued", Some("100000")),
    ("submit.max_queue_age_s", Some("30")),
    ("worker.max_batch", Some("500")),
    ("worker.linger_ms", Some("1")),
    ("worker.prefetch", Some("500")),
    ("worker.suspicion_threshold", Some("4.5")),
    ("worker.suspicion_window_s", Some("60")),
    ("worker.suspicion_min_players", Some("50")),
    ("worker.suspicion_min_points", Some("1000")),
    ("worker.suspicion_warm_up_s", Some("60")),
    ("stream.tick_ms", Some("50")),
    ("stream.curve_ms", Some("5000")),
    ("stream.public_url", None),
    ("log.filter", Some(DEFAULT_FILTER)),
    ("log.format", Some("auto")),
];

/// Keys that may be given as a file.
pub(super) const SECRET_KEYS: &[&str] = &["database.url", "redis.url", "amqp.url"];

/// Our own words, and of the libraries only what is wrong and not told by ourselves.
pub(super) const DEFAULT_FILTER: &str = "info,actix_server=warn,refinery_core=warn,lapin=off,actix_http=off";

const PREFIX: &str = "SCOREBOARD__";

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

/// Every given value by key, with where it came from; what is given closer to the process wins.
pub(super) fn gather(sources: &Sources) -> Result<BTreeMap<String, (String, String)>, SettingsError> {
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

pub(super) fn invalid(origin: &str, problem: &str) -> SettingsError {
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
