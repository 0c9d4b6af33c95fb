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

/// Rules that no action type may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidRule {
    /// Beyond what a JSON number carries exactly.
    #[error("points must be within ±{SCORE_LIMIT}")]
    PointsTooLarge,
    /// No points lie between them.
    #[error("the fewest points must not be more than the most")]
    BoundsReversed,
    /// A client that sends none would be refused.
    #[error("the default points must lie between the fewest and the most")]
    DefaultOutOfBounds,
    /// Whoever holds a token would choose its own points.
    #[error("token proof is only for fixed points: the fewest and the most must be equal")]
    TokenNeedsFixedPoints,
    /// Below zero.
    #[error("the daily cap must not be negative")]
    NegativeCap,
}

impl ActionRule {
    /// Whether a board may have this rule.
    ///
    /// # Errors
    /// [`InvalidRule`], the first that applies.
    pub fn check(&self) -> Result<(), InvalidRule> {
        let too_large = |points: i64| !(-SCORE_LIMIT..=SCORE_LIMIT).contains(&points);
        if [self.min_points, self.max_points, self.default_points].into_iter().any(too_large) {
            return Err(InvalidRule::PointsTooLarge);
        }
        if self.min_points > self.max_points {
            return Err(InvalidRule::BoundsReversed);
        }
        if !(self.min_points..=self.max_points).contains(&self.default_points) {
            return Err(InvalidRule::DefaultOutOfBounds);
        }
        if self.proof == Proof::Token && self.min_points != self.max_points {
            return Err(InvalidRule::TokenNeedsFixedPoints);
        }
        if self.daily_cap < 0 {
            return Err(InvalidRule::NegativeCap);
        }
        Ok(())
    }

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
    /// Only whoever shows an access token may open its live stream.
    pub stream_token: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(proof: Proof, min_points: i64, max_points: i64, default_points: i64, daily_cap: i64) -> ActionRule {
        let action_type = ActionType::default_type();
        ActionRule { action_type, proof, min_points, max_points, default_points, daily_cap }
    }

    #[test]
    fn the_built_in_rules_and_the_widest_are_sound() {
        for rule in built_in_rules() {
            assert_eq!(rule.check(), Ok(()), "{rule:?}");
        }
        assert_eq!(rule(Proof::Issuer, -SCORE_LIMIT, SCORE_LIMIT, 0, 0).check(), Ok(()));
        assert_eq!(rule(Proof::Token, 5, 5, 5, i64::MAX).check(), Ok(()));
    }

    #[test]
    fn each_unsound_rule_is_named() {
        use InvalidRule::*;
        for (rule, expected) in [
            (rule(Proof::Session, 1, SCORE_LIMIT + 1, 1, 1), PointsTooLarge),
            (rule(Proof::Session, -SCORE_LIMIT - 1, 1, 1, 1), PointsTooLarge),
            (rule(Proof::Session, i64::MIN, i64::MAX, 0, 1), PointsTooLarge),
            (rule(Proof::Session, 2, 1, 1, 1), BoundsReversed),
            (rule(Proof::Session, 1, 3, 4, 1), DefaultOutOfBounds),
            (rule(Proof::Session, 1, 3, 0, 1), DefaultOutOfBounds),
            (rule(Proof::Token, 1, 2, 1, 1), TokenNeedsFixedPoints),
            (rule(Proof::Session, 1, 2, 1, -1), NegativeCap),
        ] {
            assert_eq!(rule.check(), Err(expected), "{rule:?}");
        }
    }
}
