//! Whether the database can be given work.

use std::time::Duration;

use async_trait::async_trait;
use common::ports::{Dependency, StoreError};
use tokio_postgres::error::SqlState;

use super::error::{STORE, in_one_line};
use super::schema::NEEDED_SCHEMA;
use super::values::column;
use super::{PgStore, SETTING, statements};

/// Readiness has to answer within a second.
const PATIENCE: Duration = Duration::from_millis(900);

#[async_trait]
impl Dependency for PgStore {
    fn name(&self) -> &'static str {
        STORE
    }

    fn setting(&self) -> &'static str {
        SETTING
    }

    async fn check(&self) -> Result<(), String> {
        match tokio::time::timeout(PATIENCE, self.standing()).await {
            Ok(Ok((Some(schema), _))) if schema < NEEDED_SCHEMA => Err(format!(
                "the schema has version {schema}, this binary needs {NEEDED_SCHEMA}: run `scoreboard migrate`"
            )),
            Ok(Ok((None, _))) => Err("the schema is empty: run `scoreboard migrate`".to_owned()),
            Ok(Ok((_, true))) => Err("the server takes no writes (a standby, or set to read-only)".to_owned()),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if is_undefined_table(&error) => {
                Err("the database has no schema yet: run `scoreboard migrate`".to_owned())
            }
            Ok(Err(error)) => Err(in_one_line(&error)),
            Err(_) => Err(format!("no answer within {} ms", PATIENCE.as_millis())),
        }
    }
}

impl PgStore {
    /// The newest migration that was applied, and whether the server refuses writes.
    async fn standing(&self) -> Result<(Option<i32>, bool), StoreError> {
        let row = self.lease().await?.query_opt(statements::STANDING, &[]).await?;
        row.map_or(Ok((None, true)), |row| Ok((column(&row, 0)?, column(&row, 1)?)))
    }
}

fn is_undefined_table(error: &StoreError) -> bool {
    let StoreError::Unavailable { source, .. } = error else { return false };
    source.downcast_ref::<tokio_postgres::Error>().is_some_and(|error| error.code() == Some(&SqlState::UNDEFINED_TABLE))
}
