//! What the driver's errors mean to a caller.

use common::ports::{Source, StoreError};
use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

/// The name of this store in errors and in `/readyz`.
pub(super) const STORE: &str = "postgresql";

/// The server did not answer in time; whether it did what was asked is unknown.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
pub(super) struct NoAnswer(pub(super) std::time::Duration);

/// The variant that tells the caller what to do, by the error's SQLSTATE class
/// (PostgreSQL's documentation, appendix A).
pub(super) fn store_error(error: tokio_postgres::Error) -> StoreError {
    let code = error.code().cloned();
    let source: Source = error.into();
    match code.as_ref().map(SqlState::code) {
        // Somebody else was faster (a key, an action, a name), or two transactions stood in each other's way; a foreign
        // key: what was read a moment ago is gone. Feature: a cached plan no longer fits, the schema has moved on.
        Some("23505" | "23503" | "0A000" | "26000") => StoreError::Conflict { store: STORE, source },
        Some(code) => match &code[..2] {
            "40" => StoreError::Conflict { store: STORE, source },
            // Data exceptions, broken constraints, cardinality, limits of the program: the data itself.
            "21" | "22" | "23" | "54" => StoreError::Refused { store: STORE, source },
            // Connections (08), roles (28), resources (53), locks and timeouts (55, 57), a server that takes no writes
            // (25), a schema that is not there yet (42): an operator or time can heal it.
            _ => unavailable(source),
        },
        None => unavailable(source),
    }
}

/// The server cannot be asked.
pub(super) fn unavailable(source: Source) -> StoreError {
    StoreError::Unavailable { store: STORE, source }
}

/// No connection to be had.
pub(super) fn pool_error(error: PoolError) -> StoreError {
    unavailable(error.into())
}

/// The server answered with what this binary cannot read.
pub(super) fn unreadable(source: Source) -> StoreError {
    StoreError::Refused { store: STORE, source }
}

/// An error and its causes in one line, for an operator.
pub(super) fn in_one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Some wrappers already say what their cause says.
        if !line.ends_with(&words) {
            line.push_str(": ");
            line.push_str(&words);
        }
        cause = error.source();
    }
    line
}

/// Whether a connection that gave this error must not be used again.
pub(super) fn spoils_connection(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else { return true };
    // The statement cache of the connection no longer fits the schema (0A, 26), or the session is ending.
    matches!(&code.code()[..2], "0A" | "26" | "08" | "25" | "53" | "57" | "58" | "XX")
}
