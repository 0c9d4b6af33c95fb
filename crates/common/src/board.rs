//! Boards and the rules of their action types.

use crate::error_code::{ErrorCode, Refusal};
use crate::ids::{ActionType, BoardId};
use crate::state::BoardHead;

/// The largest score and the largest points, either way: 2^53 - 1, so that JSON numbers carry it exactly.
pub const SCORE_LIMIT: i64 = (1 << 53) - 1;

/// What a client must show for an action of a type (DESIGN.md, decision 5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Proof {
    /// Signed with the key of the session: shows who sent what, not that it was earned.
    Session,
    /// Signed by a game server: shows that the points were earned.
    Issuer,
    /// The bearer token alone; only where the type fixes the points.
    Token,
}

impl Proof {
    /// The name in JSON and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Issuer => "issuer",
            Self::Token => "token",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Session, Self::Issuer, Self::Token].into_iter().find(|p| p.as_str() == text)
    }
}

/// The rules of one action type on one board. Points are fixed where `min_points == max_points`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActionRule {
    /// The type's name.
    pub action_type: ActionType,
    /// What a client must show.
    pub proof: Proof,
    /// The fewest points that one action may bring.
    pub min_points: i64,
    /// The most.
    pub max_points: i64,
    /// The points when the client sends none.
    pub default_points: i64,
    /// The most points per user and UTC day.
    pub daily_cap: i64,
}

impl ActionRule {
    /// The points that an action brings under this rule.
    ///
    /// # Errors
    /// `points_out_of_range` when `sent` is outside the bounds.
    pub fn resolve_points(&self, sent: Option<i64>) -> Result<i64, Refusal> {
        let points = sent.unwrap_or(self.default_points);
        if (self.min_points..=self.max_points).contains(&points) {
            return Ok(points);
        }
        let expected = if self.min_points == self.max_points {
            format!("action type {} brings exactly {} points", self.action_type, self.min_points)
        } else {
            format!("action type {} brings {} to {} points", self.action_type, self.min_points, self.max_points)
        };
        Err(Refusal::new(ErrorCode::PointsOutOfRange, expected).with_field("points"))
    }
}

/// A board with its rules and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Board {
    /// Its id and newest state.
    pub head: BoardHead,
    /// Its action types, by name.
    pub rules: Vec<ActionRule>,
}

impl Board {
    /// The board's id.
    #[must_use]
    pub fn id(&self) -> &BoardId {
        &self.head.board
    }

    /// Whether players can move the board without a game server's signature; start-up names such boards.
    #[must_use]
    pub fn movable_without_issuer(&self) -> bool {
        self.rules.iter().any(|rule| rule.proof != Proof::Issuer)
    }

    /// The rule of an action type.
    ///
    /// # Errors
    /// `unknown_action_type`.
    pub fn rule(&self, action_type: &ActionType) -> Result<&ActionRule, Refusal> {
        self.rules.iter().find(|r| r.action_type == *action_type).ok_or_else(|| {
            let known = self.rules.iter().map(|r| r.action_type.as_str()).collect::<Vec<_>>().join(", ");
            Refusal::new(
                ErrorCode::UnknownActionType,
                format!("board {} has no action type {action_type}; it has {known}", self.id()),
            )
            .with_field("actionType")
        })
    }
}

/// The rules that the board `global` is born with.
#[must_use]
pub fn built_in_rules() -> Vec<ActionRule> {
    vec![
        ActionRule {
            action_type: ActionType::default_type(),
            proof: Proof::Session,
            min_points: 1,
            max_points: 1000,
            default_points: 1,
            daily_cap: 1_000_000,
        },
        ActionRule {
            action_type: ActionType::task(),
            proof: Proof::Token,
            min_points: 10,
            max_points: 10,
            default_points: 10,
            daily_cap: 1_000,
        },
    ]
}
