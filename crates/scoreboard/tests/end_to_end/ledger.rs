//! What the ledger holds, asked behind the product's back.

use std::collections::BTreeMap;

use rusqlite::{Connection, OpenFlags};

use crate::deployment::Deployment;

/// How many rows there are of each outcome.
pub(crate) type Outcomes = BTreeMap<String, i64>;

const COUNT: &str = "SELECT outcome, count(*) FROM actions GROUP BY outcome";

/// The rows of a deployment's ledger by outcome: in PostgreSQL, or in the SQLite file while the server runs on it.
pub(crate) async fn outcomes(deployment: &Deployment) -> Outcomes {
    if let Some(place) = &deployment.place {
        let rows = place.operator().await.query(COUNT, &[]).await.expect("the ledger is read");
        return rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    }
    let file = deployment.dir().join("data/scoreboard.db");
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the database opens");
    let mut statement = database.prepare(COUNT).expect("the ledger is there");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("the ledger is read");
    rows.map(|row| row.expect("a row")).collect()
}

/// The same with some more rows of an outcome.
pub(crate) fn and(mut outcomes: Outcomes, outcome: &str, more: i64) -> Outcomes {
    *outcomes.entry(outcome.to_owned()).or_default() += more;
    outcomes
}
