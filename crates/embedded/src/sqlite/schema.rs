//! The tables, and what a new database is born with.

use std::time::Duration;

use common::board::built_in_rules;
use common::ids::BoardId;
use common::state::Epoch;
use rusqlite::{Connection, TransactionBehavior};

use super::boards::insert_board;
use super::connection::open_writer;
use crate::data_dir::{DataDir, OpenError};

/// How long a process waits for another one's migration.
const MIGRATION_WAIT: Duration = Duration::from_secs(60);

#[allow(clippy::unwrap_used, unreachable_pub)]
mod embedded {
    refinery::embed_migrations!("../../migrations/sqlite");
}

/// Brings the database to this program's schema, making it where there is none; how many migrations that took. The
/// board `global` of a new database begins in `epoch`. Processes that do it at once wait for each other.
pub(super) fn migrate(data_dir: &DataDir, epoch: &Epoch) -> Result<usize, OpenError> {
    let path = data_dir.database();
    let in_database = |source| OpenError::Database { path: path.clone(), source };
    data_dir.create_private_file(&path)?;
    data_dir.create_private_file(&data_dir.migration_lock())?;
    let guard = lock(data_dir).map_err(in_database)?;
    let mut connection = open_writer(&path).map_err(in_database)?;
    // A database that a newer program has migrated is served, one whose migrations were altered is not.
    let report = embedded::migrations::runner()
        .set_abort_missing(false)
        .run(&mut connection)
        .map_err(|source| OpenError::Migration { path: path.clone(), source: Box::new(source) })?;
    give_birth(&mut connection, epoch).map_err(in_database)?;
    drop(guard);
    Ok(report.applied_migrations().len())
}

/// Waits until no other process migrates. The lock is an exclusive transaction on a database of its own: unlike a file
/// lock it can be waited for with a bound, and like one it ends with its process.
fn lock(data_dir: &DataDir) -> rusqlite::Result<Connection> {
    let guard = Connection::open(data_dir.migration_lock())?;
    guard.busy_timeout(MIGRATION_WAIT)?;
    guard.execute_batch("BEGIN EXCLUSIVE")?;
    Ok(guard)
}

/// Makes the board `global` in a database without boards. The migration's lock keeps others from doing the same.
fn give_birth(connection: &mut Connection, epoch: &Epoch) -> rusqlite::Result<()> {
    let has_boards: bool = connection.query_row("SELECT EXISTS (SELECT 1 FROM boards)", [], |row| row.get(0))?;
    if has_boards {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    insert_board(&transaction, &BoardId::global(), epoch, &built_in_rules())?;
    transaction.commit()
}
