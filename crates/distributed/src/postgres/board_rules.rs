//! Making boards, and changing their rules.

use async_trait::async_trait;
use common::board::ActionRule;
use common::ids::{ActionType, BoardId};
use common::ports::{BoardRules, StoreError};
use common::state::Epoch;

use super::{PgStore, statements};

#[async_trait]
impl BoardRules for PgStore {
    async fn create_board(&self, board: &BoardId, epoch: &Epoch, rules: &[ActionRule]) -> Result<bool, StoreError> {
        let types: Vec<&str> = rules.iter().map(|rule| rule.action_type.as_str()).collect();
        let proofs: Vec<&str> = rules.iter().map(|rule| rule.proof.as_str()).collect();
        let numbers = |number: fn(&ActionRule) -> i64| rules.iter().map(number).collect::<Vec<i64>>();
        let (min, max) = (numbers(|rule| rule.min_points), numbers(|rule| rule.max_points));
        let (default, cap) = (numbers(|rule| rule.default_points), numbers(|rule| rule.daily_cap));
        let (board, epoch) = (board.as_str(), epoch.as_str());
        let rows =
            self.rows(statements::CREATE_BOARD, &[&board, &epoch, &types, &proofs, &min, &max, &default, &cap]).await?;
        Ok(!rows.is_empty())
    }

    async fn set_action_type(&self, board: &BoardId, rule: &ActionRule) -> Result<bool, StoreError> {
        let (action_type, proof) = (rule.action_type.as_str(), rule.proof.as_str());
        let ActionRule { min_points, max_points, default_points, daily_cap, .. } = rule;
        let written = self
            .change(
                statements::SET_ACTION_TYPE,
                &[&board.as_str(), &action_type, &proof, min_points, max_points, default_points, daily_cap],
            )
            .await?;
        Ok(written == 1)
    }

    async fn remove_action_type(&self, board: &BoardId, action_type: &ActionType) -> Result<bool, StoreError> {
        let removed = self.change(statements::REMOVE_ACTION_TYPE, &[&board.as_str(), &action_type.as_str()]).await?;
        Ok(removed == 1)
    }

    async fn set_stream_token(&self, board: &BoardId, demanded: bool) -> Result<bool, StoreError> {
        Ok(self.change(statements::SET_STREAM_TOKEN, &[&board.as_str(), &demanded]).await? == 1)
    }
}
