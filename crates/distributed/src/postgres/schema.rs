//! The schema: bringing it up to date, and saying whether it is.

use std::time::Duration;

use refinery::{Migration, Runner};
use tokio_postgres::NoTls;

use super::settings::{PgSettings, PgUrlError};

/// The migrations, oldest first. Released ones are never edited: their checksums are in the databases of the world.
const MIGRATIONS: &[(&str, &str)] = &[
    ("V1__ledger_and_accounts", include_str!("../../../../migrations/postgres/V1__ledger_and_accounts.sql")),
    ("V2__audit_and_quarantine", include_str!("../../../../migrations/postgres/V2__audit_and_quarantine.sql")),
];

/// The oldest schema that this binary works on.
pub(super) const NEEDED_SCHEMA: i32 = 1;

/// Two processes that migrate at once take turns on this advisory lock ("scorebrd" in ASCII).
const MIGRATION_LOCK: i64 = 0x7363_6f72_6562_7264;

/// How long a process waits for another one that migrates.
const LOCK_PATIENCE: Duration = Duration::from_secs(120);

/// How long all migrations together may take.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(3600);

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The migrations that were applied now, by name, oldest first; empty when the schema was up to date.
    pub applied: Vec<String>,
    /// The version that the schema has now; above the binary's own when a newer binary was here.
    pub schema: i32,
}

/// The schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The setting is malformed.
    #[error(transparent)]
    Url(#[from] PgUrlError),
    /// The database cannot be reached, or does not let us in.
    #[error("the database cannot be reached")]
    Unreachable(#[source] tokio_postgres::Error),
    /// Another process has been migrating for too long, or the session was lost while waiting for it.
    #[error("could not get the migration lock within {} s", LOCK_PATIENCE.as_secs())]
    Locked(#[source] tokio_postgres::Error),
    /// A migration failed and was rolled back; those before it stand.
    #[error("a migration failed")]
    Failed(#[source] Box<refinery::Error>),
    /// The migrations took longer than an hour.
    #[error("the migrations did not end within {} s", MIGRATION_PATIENCE.as_secs())]
    TooLong,
}

/// Brings the schema up to date. Safe to run from any number of processes at once: they take turns, and all but the
/// first find nothing to do. Needs a session of its own (no transaction-pooling proxy in between).
///
/// # Errors
/// [`MigrateError`]
pub async fn migrate(url: &str) -> Result<Report, MigrateError> {
    let mut config = PgSettings::new(url, "scoreboard-migrate").driver_config()?;
    // Its own patience: waiting for the lock and rewriting a table take longer than a look-up may.
    config.options(format!("-c statement_timeout=0 -c lock_timeout={}", LOCK_PATIENCE.as_millis()));
    let (mut client, connection) = config.connect(NoTls).await.map_err(MigrateError::Unreachable)?;
    // Ends by itself when the client is dropped, and the session's lock with it.
    let mut connection = tokio::spawn(connection);
    let migrated = tokio::time::timeout(MIGRATION_PATIENCE, under_lock(&mut client)).await;
    drop(client);
    if tokio::time::timeout(Duration::from_secs(1), &mut connection).await.is_err() {
        connection.abort();
    }
    migrated.map_err(|_| MigrateError::TooLong)?
}

async fn under_lock(client: &mut tokio_postgres::Client) -> Result<Report, MigrateError> {
    client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await.map_err(MigrateError::Locked)?;
    let failed = |error| MigrateError::Failed(Box::new(error));
    // A schema that a newer binary made stays as it is (its migrations are unknown here: not an error), but one whose
    // history is not ours is refused.
    let runner = runner().map_err(failed)?.set_abort_divergent(true).set_abort_missing(false);
    let report = runner.run_async(client).await.map_err(failed)?;
    let applied = report.applied_migrations().iter().map(ToString::to_string).collect();
    let newest = runner.get_last_applied_migration_async(client).await.map_err(failed)?;
    Ok(Report { applied, schema: newest.map_or(0, |migration| migration.version()) })
}

fn runner() -> Result<Runner, refinery::Error> {
    let migrations: Result<Vec<_>, _> = MIGRATIONS.iter().map(|(name, sql)| Migration::unapplied(name, sql)).collect();
    Ok(Runner::new(&migrations?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_file_is_embedded_and_versions_have_no_gap() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/postgres");
        let mut files: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "sql"))
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        files.sort();
        let mut embedded: Vec<String> = MIGRATIONS.iter().map(|(name, _)| (*name).to_owned()).collect();
        embedded.sort();
        assert_eq!(files, embedded);
        let versions: Vec<i32> =
            MIGRATIONS.iter().map(|(name, sql)| Migration::unapplied(name, sql).unwrap().version()).collect();
        assert!(versions.iter().copied().eq(1..=versions.last().copied().unwrap()), "{versions:?}");
        assert!(versions.contains(&NEEDED_SCHEMA));
    }
}
