//! Where the database is and how patient we are with it.

use std::fmt;
use std::time::Duration;

use tokio_postgres::Config;

/// Settings of a [`super::PgStore`]. Its `Debug` does not show the URL, which may hold a password.
#[derive(Clone)]
pub struct PgSettings {
    /// `postgres://user:password@host:port/database`, as libpq reads it; several hosts are tried in turn.
    pub url: String,
    /// How the server's views and logs name our connections.
    pub application_name: String,
    /// The most connections.
    pub pool_size: usize,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// How long a caller waits for a free connection.
    pub wait_timeout: Duration,
    /// How long the server works on one statement.
    pub statement_timeout: Duration,
    /// How long the server waits for one lock.
    pub lock_timeout: Duration,
}

impl PgSettings {
    /// The usual patience: 2 s for a connection, 5 s for a statement, 3 s for a lock; 8 connections.
    #[must_use]
    pub fn new(url: impl Into<String>, application_name: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            application_name: application_name.into(),
            pool_size: 8,
            connect_timeout: Duration::from_secs(2),
            wait_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(3),
        }
    }

    /// How long a caller waits for an answer: the server's own limit strikes first, unless the server is gone.
    pub(super) fn patience(&self) -> Duration {
        self.statement_timeout + Duration::from_secs(1)
    }

    /// What the driver needs to connect.
    ///
    /// # Errors
    /// [`PgUrlError`] for a malformed URL.
    pub(super) fn driver_config(&self) -> Result<Config, PgUrlError> {
        let mut config: Config = self.url.parse().map_err(PgUrlError)?;
        // Every statement but the digest is a look-up over an index. With sequential scans priced out and without
        // just-in-time compilation, a plan that was cached while a table was small stays right when it is large; so one
        // plan for any parameters will do. The server would otherwise plan most statements anew each time, which took
        // longer than running them: 3 of the 4 ms of a transaction with one update.
        let ours = format!(
            "-c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout={} \
             -c enable_seqscan=off -c jit=off -c plan_cache_mode=force_generic_plan",
            self.statement_timeout.as_millis(),
            self.lock_timeout.as_millis(),
            self.patience().as_millis(),
        );
        let options = config.get_options().map(|theirs| format!("{ours} {theirs}")).unwrap_or(ours);
        config.options(options);
        if config.get_application_name().is_none() {
            config.application_name(&self.application_name);
        }
        config.connect_timeout(self.connect_timeout);
        // A server that vanished without a word is noticed by the kernel too, not only by our own deadlines.
        config.keepalives_idle(Duration::from_secs(10)).keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(3).tcp_user_timeout(self.patience());
        Ok(config)
    }
}

impl fmt::Debug for PgSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgSettings")
            .field("application_name", &self.application_name)
            .field("pool_size", &self.pool_size)
            .field("connect_timeout", &self.connect_timeout)
            .field("wait_timeout", &self.wait_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .finish_non_exhaustive()
    }
}

/// The setting is not a URL that the driver can read.
#[derive(Debug, thiserror::Error)]
#[error("{} is not a PostgreSQL URL such as postgres://user:password@host:5432/scoreboard", super::SETTING)]
pub struct PgUrlError(#[source] tokio_postgres::Error);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_reach_the_server_and_options_of_the_url_come_last() {
        let settings = PgSettings::new("postgres://u@h/d?options=-c%20lock_timeout%3D7", "worker");
        let config = settings.driver_config().unwrap();
        let options = config.get_options().unwrap();
        assert!(options.contains("statement_timeout=5000") && options.ends_with("lock_timeout=7"), "{options}");
        assert_eq!(config.get_application_name(), Some("worker"));
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(2)));
    }

    #[test]
    fn a_bad_url_names_the_setting_and_no_password_is_shown() {
        let settings = PgSettings::new("postgres://u:geheim@h:notaport/d", "worker");
        let error = settings.driver_config().unwrap_err();
        let words = super::super::error::in_one_line(&error);
        assert!(words.contains("SCOREBOARD__DATABASE__URL") && !words.contains("geheim"), "{words}");
        assert!(!format!("{settings:?}").contains("geheim"));
    }
}
