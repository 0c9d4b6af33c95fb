//! The messages of `AdminService`, from and to the domain.

use common::board::{ActionRule, Board};
use common::clock::Timestamp;
use common::error_code::{ErrorCode, Refusal};
use common::ids::ActionType;
use common::ports::ListedIssuerKey;

use crate::queue_message::read_proof;
use crate::v1;

impl From<&ListedIssuerKey> for v1::ListedIssuerKey {
    fn from(key: &ListedIssuerKey) -> Self {
        Self {
            key_id: key.key_id.clone(),
            name: key.name.clone(),
            created_at_ms: key.created_at.as_millis(),
            revoked_at_ms: key.revoked_at.map(Timestamp::as_millis),
        }
    }
}

impl From<&Board> for v1::BoardWithRules {
    fn from(board: &Board) -> Self {
        Self {
            board: board.id().to_string(),
            epoch: board.head.state.epoch.to_string(),
            version: board.head.state.version.0,
            action_types: board.rules.iter().map(Into::into).collect(),
            stream_token: board.stream_token,
        }
    }
}

impl From<&ActionRule> for v1::ActionTypeRule {
    fn from(rule: &ActionRule) -> Self {
        Self {
            action_type: rule.action_type.to_string(),
            proof: v1::Proof::from(rule.proof).into(),
            min_points: rule.min_points,
            max_points: rule.max_points,
            default_points: rule.default_points,
            daily_cap: rule.daily_cap,
        }
    }
}

impl TryFrom<&v1::ActionTypeRule> for ActionRule {
    type Error = Refusal;

    /// A rule that a board may have.
    fn try_from(rule: &v1::ActionTypeRule) -> Result<Self, Refusal> {
        let invalid = |message: String| Refusal::new(ErrorCode::InvalidRequest, message);
        let rule = Self {
            action_type: ActionType::parse(&rule.action_type)?,
            proof: read_proof(rule.proof).map_err(|damaged| invalid(damaged.to_string()).with_field("proof"))?,
            min_points: rule.min_points,
            max_points: rule.max_points,
            default_points: rule.default_points,
            daily_cap: rule.daily_cap,
        };
        rule.check().map_err(|unsound| invalid(unsound.to_string()).with_field("rule"))?;
        Ok(rule)
    }
}
