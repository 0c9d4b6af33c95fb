//! Making boards, and changing their rules.

use async_trait::async_trait;
use common::board::ActionRule;
use common::ids::{ActionType, BoardId};
use common::ports::{BoardRules, StoreError};
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

#[async_trait]
impl BoardRules for SqliteStore {
    async fn create_board(&self, board: &BoardId, epoch: &Epoch, rules: &[ActionRule]) -> Result<bool, StoreError> {
        // The inherent one.
        Self::create_board(self, board, epoch, rules).await
    }

    async fn set_action_type(&self, board: &BoardId, rule: &ActionRule) -> Result<bool, StoreError> {
        let (board, rule) = (board.clone(), rule.clone());
        self.writer
            .run(move |connection| {
                let known = "SELECT EXISTS (SELECT 1 FROM boards WHERE id = ?1)";
                if !connection.query_row(known, [board.as_str()], |row| row.get::<_, bool>(0))? {
                    return Ok::<_, Failure>(false);
                }
                write_rule(connection, &board, &rule)?;
                Ok(true)
            })
            .await
    }

    async fn remove_action_type(&self, board: &BoardId, action_type: &ActionType) -> Result<bool, StoreError> {
        let (board, action_type) = (board.clone(), action_type.clone());
        let sql = "DELETE FROM action_types WHERE board = ?1 AND action_type = ?2";
        let removed = self
            .writer
            .run(move |connection| Ok::<_, Failure>(connection.execute(sql, [board.as_str(), action_type.as_str()])?));
        Ok(removed.await? == 1)
    }

    async fn set_stream_token(&self, board: &BoardId, demanded: bool) -> Result<bool, StoreError> {
        let board = board.clone();
        let sql = "UPDATE boards SET stream_token = ?2 WHERE id = ?1";
        let changed = self
            .writer
            .run(move |connection| Ok::<_, Failure>(connection.execute(sql, params![board.as_str(), demanded])?));
        Ok(changed.await? == 1)
    }
}

/// Adds an action type, or replaces the one of that name.
fn write_rule(connection: &Connection, board: &BoardId, rule: &ActionRule) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO action_types (board, action_type, proof, min_points, max_points, default_points, daily_cap)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (board, action_type) DO UPDATE SET proof = excluded.proof, min_points = excluded.min_points,
            max_points = excluded.max_points, default_points = excluded.default_points, daily_cap = excluded.daily_cap",
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
    Ok(())
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
