//! What the settings came to, for an operator to read.

use super::sources::{KEYS, SECRET_KEYS, gather};
use super::{Service, Settings, SettingsError, Sources};

/// A setting with its value and where that came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EffectiveSetting {
    /// `section.key`.
    pub key: &'static str,
    /// The value, credentials masked; empty where there is none.
    pub value: String,
    /// `default`, or the file, variable or flag that said so.
    pub origin: String,
}

impl Settings {
    /// Every setting as `service` sees it.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn effective(sources: &Sources, service: Service) -> Result<Vec<EffectiveSetting>, SettingsError> {
        let settings = Self::load(sources)?;
        let values = gather(sources)?;
        let effective = |key: &'static str| {
            let given = values.get(key).filter(|(_, value)| !value.is_empty());
            let (origin, value) = given.cloned().unwrap_or_else(|| {
                let address = match key {
                    "http.listen" => settings.http_listen(service).to_string(),
                    "admin.listen" => settings.admin_listen(service).to_string(),
                    "grpc.listen" => settings.grpc_listen(service).to_string(),
                    _ => String::new(),
                };
                ("default".to_owned(), address)
            });
            let value = if SECRET_KEYS.contains(&key) { masked(&value) } else { value };
            EffectiveSetting { key, value, origin }
        };
        Ok(KEYS.iter().map(|(key, _)| effective(key)).collect())
    }
}

/// A URL without what lets somebody in. Whatever does not look like one is masked whole.
fn masked(url: &str) -> String {
    const MASK: &str = "***";
    let Some((scheme, rest)) = url.split_once("://") else {
        return if url.is_empty() { String::new() } else { MASK.to_owned() };
    };
    // Options can hold a password as well.
    let (rest, options) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?***"));
    // A password may hold any character but, unescaped, the last @.
    let Some((user, place)) = rest.rsplit_once('@') else { return format!("{scheme}://{rest}{options}") };
    let user = user.split_once(':').map_or(user.to_owned(), |(name, _)| format!("{name}:{MASK}"));
    format!("{scheme}://{user}@{place}{options}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_their_passwords() {
        assert_eq!(masked("postgres://app:hun/te:r@2@db:5432/scores"), "postgres://app:***@db:5432/scores");
        assert_eq!(masked("redis://:hunter2@cache"), "redis://:***@cache");
        assert_eq!(masked("redis://cache:6379/3"), "redis://cache:6379/3");
        assert_eq!(masked("postgres://db/scores?password=hunter2"), "postgres://db/scores?***");
        assert_eq!(masked("hunter2"), "***");
        assert_eq!(masked(""), "");
    }

    #[test]
    fn every_setting_says_where_its_value_came_from() {
        let sources = Sources {
            environment: [("SCOREBOARD__SUBMIT__WAIT_MS".to_owned(), "7".to_owned())].into(),
            flags: vec![("stream.tick_ms".to_owned(), "9".to_owned())],
            file: None,
        };
        let effective = Settings::effective(&sources, Service::RealtimeFanout).unwrap();
        let of = |key: &str| {
            let found = effective.iter().find(|setting| setting.key == key).unwrap();
            (found.value.as_str(), found.origin.as_str())
        };
        assert_eq!(of("submit.wait_ms"), ("7", "SCOREBOARD__SUBMIT__WAIT_MS"));
        assert_eq!(of("stream.tick_ms"), ("9", "--set stream.tick_ms"));
        assert_eq!(of("http.listen"), ("127.0.0.1:8081", "default"));
        assert_eq!(effective.len(), KEYS.len());
    }
}
