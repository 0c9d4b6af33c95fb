//! Where the operator makes boards and changes their rules.

use async_trait::async_trait;

use super::StoreError;
use crate::board::ActionRule;
use crate::ids::{ActionType, BoardId};
use crate::state::Epoch;

/// Boards and action types, as the operator changes them. Rules are checked before ([`ActionRule::check`]); nodes read
/// them every few seconds and the worker's transaction reads them itself, so a change needs no restart.
#[async_trait]
pub trait BoardRules: Send + Sync {
    /// Makes a board with its rules, at version 0 of a history named `epoch`. `false`: there is a board of that name,
    /// and it stays as it is.
    async fn create_board(&self, board: &BoardId, epoch: &Epoch, rules: &[ActionRule]) -> Result<bool, StoreError>;

    /// Adds an action type to a board, or replaces the one of that name. `false`: there is no such board.
    async fn set_action_type(&self, board: &BoardId, rule: &ActionRule) -> Result<bool, StoreError>;

    /// Takes an action type off a board; what was applied under it stays. `false`: there was none.
    async fn remove_action_type(&self, board: &BoardId, action_type: &ActionType) -> Result<bool, StoreError>;

    /// Whether only whoever shows an access token may open the board's live stream; a new board demands none. `false`:
    /// there is no such board.
    async fn set_stream_token(&self, board: &BoardId, demanded: bool) -> Result<bool, StoreError>;
}
