//! What goes wrong inside the store, and what the caller is told of it.

use common::ports::StoreError;
use rusqlite::ErrorCode;
use rusqlite::ffi;

/// The store's name in errors, logs and `/readyz`.
pub(super) const STORE: &str = "sqlite";

/// A job did not succeed; what it wrote is rolled back.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The database's own error.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A stored value does not have the form that it was written in.
    #[error("the stored {0} is damaged")]
    Damaged(&'static str),
    /// A number does not fit into the database's integers.
    #[error("{0} is too large to be stored")]
    TooLarge(&'static str),
    /// What was read is not what stands there when it is written: cannot happen behind one writer's lock.
    #[error("a board moved while it was locked")]
    Moved,
}

/// The store itself did not do its part.
#[derive(Debug, thiserror::Error)]
pub(super) enum Outage {
    #[error("the store is closed")]
    Closed,
    #[error("its queue is full, or it takes too long")]
    Slow,
    #[error("a job was broken off by a fault in the program")]
    Panicked,
    #[error("the transaction that the job was in was lost")]
    TransactionLost,
}

impl From<Outage> for StoreError {
    fn from(outage: Outage) -> Self {
        let source = Box::new(outage);
        match *source {
            // The same work would panic again.
            Outage::Panicked => Self::Refused { store: STORE, source },
            Outage::Closed | Outage::Slow | Outage::TransactionLost => Self::Unavailable { store: STORE, source },
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        let kind = match &failure {
            Failure::Sqlite(error) => kind_of(error),
            Failure::Damaged(_) | Failure::TooLarge(_) => Kind::Refused,
            Failure::Moved => Kind::Conflict,
        };
        let source = Box::new(failure);
        match kind {
            Kind::Unavailable => Self::Unavailable { store: STORE, source },
            Kind::Conflict => Self::Conflict { store: STORE, source },
            Kind::Refused => Self::Refused { store: STORE, source },
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Unavailable,
    Conflict,
    Refused,
}

fn kind_of(error: &rusqlite::Error) -> Kind {
    // Anything but SQLite's own failures is a value of the wrong form, read or written.
    let rusqlite::Error::SqliteFailure(error, _) = error else { return Kind::Refused };
    match (error.code, error.extended_code) {
        // No repeat gives such a value another form.
        (
            ErrorCode::ConstraintViolation,
            ffi::SQLITE_CONSTRAINT_CHECK | ffi::SQLITE_CONSTRAINT_NOTNULL | ffi::SQLITE_CONSTRAINT_DATATYPE,
        )
        | (ErrorCode::TypeMismatch | ErrorCode::TooBig | ErrorCode::ParameterOutOfRange, _) => Kind::Refused,
        (ErrorCode::ConstraintViolation, _) => Kind::Conflict,
        // Busy, full, I/O, corrupt, out of memory, read-only …: the file or the machine, not the data. Work waits.
        _ => Kind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: i32) -> Kind {
        kind_of(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn the_machine_is_unavailable_races_conflict_and_bad_data_is_refused() {
        for code in [
            ffi::SQLITE_BUSY,
            ffi::SQLITE_FULL,
            ffi::SQLITE_IOERR,
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_READONLY,
            ffi::SQLITE_CANTOPEN,
        ] {
            assert_eq!(kind(code), Kind::Unavailable, "{code}");
        }
        for code in
            [ffi::SQLITE_CONSTRAINT_UNIQUE, ffi::SQLITE_CONSTRAINT_PRIMARYKEY, ffi::SQLITE_CONSTRAINT_FOREIGNKEY]
        {
            assert_eq!(kind(code), Kind::Conflict, "{code}");
        }
        for code in [ffi::SQLITE_TOOBIG, ffi::SQLITE_MISMATCH, ffi::SQLITE_CONSTRAINT_CHECK] {
            assert_eq!(kind(code), Kind::Refused, "{code}");
        }
    }
}
