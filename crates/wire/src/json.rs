//! The public JSON shapes: camelCase, times in RFC 3339 UTC with milliseconds. Fixed by contract (DESIGN.md,
//! sections 2 to 4).

use serde::Serialize;
use utoipa::ToSchema;

use common::account::{OpenSession, TokenGrant};
use common::board::Board;
use common::clock::Timestamp;
use common::error_code::{Details, Refusal};
use common::receipt::{Receipt, ReceiptStatus};
use common::standing::Entry;

/// A time as it is written: RFC 3339, UTC, milliseconds.
fn written(time: Timestamp) -> String {
    time.to_string()
}

/// One line of a leaderboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Entry)]
pub struct EntryJson {
    /// Who.
    pub user_id: String,
    /// The name to show.
    pub username: String,
    /// The score; |score| ≤ 2^53-1.
    pub score: i64,
    /// The position, 1 for the best.
    pub rank: u64,
    /// When the score last moved.
    #[schema(format = DateTime)]
    pub last_updated: String,
}

impl From<&Entry> for EntryJson {
    fn from(entry: &Entry) -> Self {
        Self {
            user_id: entry.user.to_string(),
            username: entry.username.to_string(),
            score: entry.score,
            rank: entry.rank,
            last_updated: written(entry.updated_at),
        }
    }
}

/// The lines of a list.
#[must_use]
pub fn entries(entries: &[Entry]) -> Vec<EntryJson> {
    entries.iter().map(EntryJson::from).collect()
}

/// A player's line, with those around it when they were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PlayerEntry)]
pub struct PlayerEntryJson {
    /// The player's own line.
    #[serde(flatten)]
    pub entry: EntryJson,
    /// From k above to k below, best first, the player among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbors: Option<Vec<EntryJson>>,
}

/// The answer to a score update: 200 when committed, 202 when durable and not yet decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UpdateAnswer)]
pub struct UpdateAnswerJson {
    /// The action.
    pub action_id: String,
    /// The board.
    pub board: String,
    /// The score after it; left out while pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_score: Option<i64>,
    /// The position when answered; null when no projection could say in time. Left out while pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<Option<u64>>,
    /// The board's version that it made; left out while pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// `applied` or `pending`.
    pub status: &'static str,
}

impl UpdateAnswerJson {
    /// The answer for a committed update.
    #[must_use]
    pub fn applied(receipt: &Receipt, rank: Option<u64>) -> Self {
        Self {
            action_id: receipt.action_id.to_string(),
            board: receipt.board.to_string(),
            new_score: receipt.new_score,
            rank: Some(rank),
            version: receipt.version.map(|v| v.0),
            status: ReceiptStatus::Applied.as_str(),
        }
    }

    /// The answer for a durable update that is not decided yet.
    #[must_use]
    pub fn pending(action_id: &common::ids::ActionId, board: &common::ids::BoardId) -> Self {
        Self {
            action_id: action_id.to_string(),
            board: board.to_string(),
            new_score: None,
            rank: None,
            version: None,
            status: ReceiptStatus::Pending.as_str(),
        }
    }
}

/// What became of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Receipt)]
pub struct ReceiptJson {
    /// `pending`, `applied` or `rejected`.
    pub status: &'static str,
    /// The action.
    pub action_id: String,
    /// The board.
    pub board: String,
    /// What it brought, or would have.
    pub points: i64,
    /// The score after it; null unless applied.
    pub new_score: Option<i64>,
    /// The position now; null unless applied and known.
    pub rank: Option<u64>,
    /// The board's version that it made; null unless applied.
    pub version: Option<u64>,
    /// When it was applied; null unless applied.
    #[schema(format = DateTime)]
    pub applied_at: Option<String>,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
}

impl ReceiptJson {
    /// A receipt, with the position where somebody knows it.
    #[must_use]
    pub fn new(receipt: &Receipt, rank: Option<u64>) -> Self {
        let (applied, code) = match receipt.status {
            ReceiptStatus::Applied => (true, None),
            ReceiptStatus::Pending => (false, None),
            ReceiptStatus::Rejected(code) => (false, Some(code.as_str())),
        };
        Self {
            status: receipt.status.as_str(),
            action_id: receipt.action_id.to_string(),
            board: receipt.board.to_string(),
            points: receipt.points,
            new_score: receipt.new_score,
            rank: rank.filter(|_| applied),
            version: receipt.version.map(|v| v.0),
            applied_at: receipt.decided_at.filter(|_| applied).map(written),
            code,
        }
    }
}

/// The rules of one action type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ActionType)]
pub struct ActionTypeJson {
    /// Its name.
    pub action_type: String,
    /// What a client must show: `session`, `issuer` or `token`.
    pub proof: &'static str,
    /// The fewest points that one action may bring.
    pub min_points: i64,
    /// The most.
    pub max_points: i64,
    /// The points when the client sends none.
    pub default_points: i64,
    /// The most points per user and UTC day.
    pub daily_cap: i64,
}

/// A board with its rules and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Board)]
pub struct BoardJson {
    /// Its id.
    pub board: String,
    /// Its history.
    pub epoch: String,
    /// Its newest version.
    pub version: u64,
    /// Its action types.
    pub action_types: Vec<ActionTypeJson>,
}

impl From<&Board> for BoardJson {
    fn from(board: &Board) -> Self {
        Self {
            board: board.id().to_string(),
            epoch: board.head.state.epoch.to_string(),
            version: board.head.state.version.0,
            action_types: board
                .rules
                .iter()
                .map(|rule| ActionTypeJson {
                    action_type: rule.action_type.to_string(),
                    proof: rule.proof.as_str(),
                    min_points: rule.min_points,
                    max_points: rule.max_points,
                    default_points: rule.default_points,
                    daily_cap: rule.daily_cap,
                })
                .collect(),
        }
    }
}

/// A new account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Account)]
pub struct AccountJson {
    /// The player.
    pub user_id: String,
    /// The name as registered.
    pub username: String,
}

/// A session of the player that can still be refreshed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OpenSession)]
pub struct OpenSessionJson {
    /// The session.
    pub session_id: String,
    /// When its login was.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When its tokens were last exchanged; its login if they never were.
    #[schema(format = DateTime)]
    pub last_used_at: String,
    /// When its refresh token stops working.
    #[schema(format = DateTime)]
    pub expires_at: String,
    /// Whether it is the one that asks.
    pub current: bool,
}

impl OpenSessionJson {
    /// A session as its owner sees it.
    #[must_use]
    pub fn new(open: &OpenSession, current: bool) -> Self {
        Self {
            session_id: open.session.to_string(),
            created_at: written(open.created_at),
            last_used_at: written(open.last_used_at),
            expires_at: written(open.expires_at),
            current,
        }
    }
}

/// What login and refresh give.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TokenGrant)]
pub struct TokenGrantJson {
    /// The JWT.
    pub access_token: String,
    /// Opaque; exchanged once.
    pub refresh_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Seconds that the access token lives.
    pub expires_in: u32,
    /// Seconds that the refresh token lives.
    pub refresh_expires_in: u32,
    /// The player.
    pub user_id: String,
    /// The name as registered.
    pub username: String,
    /// base64url, 32 bytes: signs the session's actions.
    pub signing_key: String,
}

impl From<&TokenGrant> for TokenGrantJson {
    fn from(grant: &TokenGrant) -> Self {
        use base64::Engine as _;
        Self {
            access_token: grant.access_token.clone(),
            refresh_token: grant.refresh_token.clone(),
            token_type: "Bearer",
            expires_in: grant.expires_in_s,
            refresh_expires_in: grant.refresh_expires_in_s,
            user_id: grant.user.to_string(),
            username: grant.username.clone(),
            signing_key: base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(grant.signing_key.as_bytes()),
        }
    }
}

/// Every refusal and every failure.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = ErrorAnswer)]
pub struct ErrorJson {
    /// What happened.
    pub error: ErrorBodyJson,
}

/// What happened, for programs and for people.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ErrorBody)]
pub struct ErrorBodyJson {
    /// Stable snake_case.
    pub code: &'static str,
    /// For a person.
    pub message: String,
    /// What else the code's contract promises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<DetailsJson>,
    /// The `x-request-id` of the answer.
    pub request_id: String,
}

/// What else an error tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ErrorDetails)]
pub enum DetailsJson {
    /// Which field of the request is wrong.
    Field(&'static str),
    /// What the action already brought.
    Receipt(Box<ReceiptJson>),
    /// Which limit was reached.
    Limit(&'static str),
    /// Which setting would let the request in.
    Setting(&'static str),
}

impl ErrorJson {
    /// A refusal as it is answered.
    #[must_use]
    pub fn new(refusal: &Refusal, request_id: &str) -> Self {
        let details = match &refusal.details {
            Details::None => None,
            Details::Field(name) => Some(DetailsJson::Field(name)),
            Details::Receipt(receipt) => Some(DetailsJson::Receipt(Box::new(ReceiptJson::new(receipt, None)))),
            Details::Limit(name) => Some(DetailsJson::Limit(name)),
            Details::Setting(name) => Some(DetailsJson::Setting(name)),
        };
        Self {
            error: ErrorBodyJson {
                code: refusal.code.as_str(),
                message: refusal.message.clone(),
                details,
                request_id: request_id.to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::error_code::ErrorCode;

    #[test]
    fn an_unknown_rank_is_null_and_a_pending_answer_has_none() {
        let receipt = Receipt {
            status: ReceiptStatus::Applied,
            action_id: common::ids::ActionId::parse("a").unwrap(),
            board: common::ids::BoardId::global(),
            action_type: common::ids::ActionType::default_type(),
            points: 1,
            new_score: Some(1),
            version: Some(common::state::Version(3)),
            decided_at: None,
        };
        let applied = serde_json::to_value(UpdateAnswerJson::applied(&receipt, None)).unwrap();
        assert_eq!(
            applied,
            serde_json::json!({"actionId":"a","board":"global","newScore":1,"rank":null,"version":3,"status":"applied"})
        );
        let pending = serde_json::to_value(UpdateAnswerJson::pending(&receipt.action_id, &receipt.board)).unwrap();
        assert_eq!(pending, serde_json::json!({"actionId":"a","board":"global","status":"pending"}));
    }

    #[test]
    fn details_are_named() {
        let refusal = Refusal::new(ErrorCode::InvalidRequest, "x").with_field("points");
        let json = serde_json::to_value(ErrorJson::new(&refusal, "r1")).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"error":{"code":"invalid_request","message":"x","details":{"field":"points"},"requestId":"r1"}})
        );
    }
}
