//! What became of an update.

use crate::clock::Timestamp;
use crate::error_code::ErrorCode;
use crate::ids::{ActionId, ActionType, BoardId};
use crate::state::Version;

/// Whether an action was decided, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReceiptStatus {
    /// Durable, not yet decided; in the ledger: in quarantine.
    Pending,
    /// Committed.
    Applied,
    /// Decided against; nothing was used up.
    Rejected(ErrorCode),
}

impl ReceiptStatus {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Applied => "applied",
            Self::Rejected(_) => "rejected",
        }
    }
}

/// The ledger's word for an applied action.
pub const APPLIED: &str = "applied";

/// The ledger's word for an action that is held for review.
pub const QUARANTINED: &str = "quarantined";

/// The code of an action that a review turned down. Nothing else in the ledger has it: whoever may not move a board is
/// refused long before.
pub const TURNED_DOWN: ErrorCode = ErrorCode::Forbidden;

impl ReceiptStatus {
    /// The outcome in the ledger.
    #[must_use]
    pub const fn ledger_outcome(self) -> &'static str {
        match self {
            Self::Pending => QUARANTINED,
            Self::Applied => APPLIED,
            Self::Rejected(code) => code.as_str(),
        }
    }

    /// The inverse of [`Self::ledger_outcome`]; `None` for a word that this program does not know.
    #[must_use]
    pub fn of_ledger(outcome: &str) -> Option<Self> {
        match outcome {
            APPLIED => Some(Self::Applied),
            QUARANTINED => Some(Self::Pending),
            code => ErrorCode::parse(code).map(Self::Rejected),
        }
    }
}

/// The record of an action that its user may ask for.
#[derive(Clone, PartialEq, Debug)]
pub struct Receipt {
    /// Whether and how it was decided.
    pub status: ReceiptStatus,
    /// The action.
    pub action_id: ActionId,
    /// The board.
    pub board: BoardId,
    /// The action's type.
    pub action_type: ActionType,
    /// The points that it brought, or would have.
    pub points: i64,
    /// The user's score right after it; `None` unless applied.
    pub new_score: Option<i64>,
    /// The board's version that it made; `None` unless applied.
    pub version: Option<Version>,
    /// When it was decided or put in quarantine; `None` before that.
    pub decided_at: Option<Timestamp>,
}

/// How the ledger decided one update of a batch.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// Committed, by this update or, when `replayed`, by an earlier request with the same idempotency key.
    Applied {
        /// What was committed.
        receipt: Receipt,
        /// An earlier request did it.
        replayed: bool,
    },
    /// Decided against; nothing was used up.
    Rejected {
        /// With the code.
        receipt: Receipt,
        /// Seconds until a repeat makes sense, where time heals it.
        retry_after_s: Option<u64>,
    },
    /// The action was used by another request.
    DuplicateAction {
        /// What that request committed.
        receipt: Receipt,
    },
    /// The idempotency key stands for other content.
    KeyReused,
    /// Held for a person to look at: recorded and not applied. Action and key are used until the review and after it.
    Quarantined {
        /// Pending.
        receipt: Receipt,
    },
}

impl Outcome {
    /// The receipt, where there is one to show.
    #[must_use]
    pub const fn receipt(&self) -> Option<&Receipt> {
        match self {
            Self::Applied { receipt, .. }
            | Self::Rejected { receipt, .. }
            | Self::DuplicateAction { receipt }
            | Self::Quarantined { receipt } => Some(receipt),
            Self::KeyReused => None,
        }
    }
}

/// The worker's answer to one update: the ledger's outcome and, when a projection could say in time, the rank.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// What was decided.
    pub outcome: Outcome,
    /// The user's position when answered, at the outcome's version or a later one.
    pub rank: Option<u64>,
}
