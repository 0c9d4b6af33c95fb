//! Making boards.

use common::board::ActionRule;
use common::ids::BoardId;
use common::ports::StoreError;
use common::state::Epoch;
use rusqlite::{Connection, params};

use super::failure::Failure;
use super::store::SqliteStore;

impl SqliteStore {
    /// Makes a board with its rules, at version 0 of a history named `epoch`. `false`: there is a board of that name,
    /// and it stays as it is.
    ///
    /// # Errors
    /// [`StoreError`]; `Conflict` when two rules share a name.
    pub async fn create_board(&self, board: &BoardId, epoch: &Epoch, rules: &[ActionRule]) -> Result<bool, StoreError> {
        let (board, epoch, rules) = (board.clone(), epoch.clone(), rules.to_vec());
        self.writer.run(move |connection| Ok::<_, Failure>(insert_board(connection, &board, &epoch, &rules)?)).await
    }
}

/// Makes a board inside the caller's transaction. `false`: it exists.
pub(super) fn insert_board(
    connection: &Connection,
    board: &BoardId,
    epoch: &Epoch,
    rules: &[ActionRule],
) -> rusqlite::Result<bool> {
    let inserted = connection.execute(
        "INSERT INTO boards (id, epoch, version) VALUES (?1, ?2, 0) ON CONFLICT (id) DO NOTHING",
        [board.as_str(), epoch.as_str()],
    )?;
    if inserted == 0 {
        return Ok(false);
    }
    for rule in rules {
        connection.execute(
            "INSERT INTO action_types (board, action_type, proof, min_points, max_points, default_points, daily_cap)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                board.as_str(),
                rule.action_type.as_str(),
                rule.proof.as_str(),
                rule.min_points,
                rule.max_points,
                rule.default_points,
                rule.daily_cap,
            ],
        )?;
    }
    Ok(true)
}
