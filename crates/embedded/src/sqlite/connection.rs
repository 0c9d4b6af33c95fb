//! How connections to the database file are opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// How long a statement waits for another process's lock.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Every statement of the store fits, so each is prepared once per connection.
const STATEMENTS_HELD: usize = 64;

/// Opens the connection that writes. The file must exist.
pub(super) fn open_writer(file: &Path) -> rusqlite::Result<Connection> {
    let connection = open(file)?;
    connection.execute_batch(
        // FULL: a commit is on the disk before anybody hears of it. A checkpoint every 16 MiB instead of 4 keeps most
        // of its fsyncs out of the way of commits.
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA wal_autocheckpoint = 4096;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -65536;",
    )?;
    Ok(connection)
}

/// Opens a connection that reads. The database must exist.
pub(super) fn open_reader(file: &Path) -> rusqlite::Result<Connection> {
    let connection = open(file)?;
    // Readers look at the file where the system has it: filling the ranks of a million players takes two thirds of the
    // time that copying each page would. The writer does not, so that a failing disk is an error to it and no signal.
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -16384; PRAGMA mmap_size = 1073741824;")?;
    Ok(connection)
}

fn open(file: &Path) -> rusqlite::Result<Connection> {
    // Each connection is used by one thread at a time, so SQLite need not lock inside.
    let connection = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE,
    )?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_HELD);
    connection.execute_batch("PRAGMA temp_store = MEMORY;")?;
    rusqlite::vtab::array::load_module(&connection)?;
    Ok(connection)
}
