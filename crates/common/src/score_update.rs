//! A score update that passed every check of the gateway, on its way to the ledger.

use sha2::{Digest, Sha256};

use crate::board::Proof;
use crate::clock::Timestamp;
use crate::ids::{ActionId, ActionType, BoardId, IdempotencyKey, SubmissionId, UserId};

/// What an idempotency key stands for: SHA-256 over board, action, type and points as sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// The hash of a request's content. Timestamp and signature are left out: signing again with a fresh
    /// timestamp is still the same request.
    #[must_use]
    pub fn of(board: &BoardId, action_id: &ActionId, action_type: &ActionType, points: Option<i64>) -> Self {
        let points = points.map(|p| p.to_string()).unwrap_or_default();
        // None of the parts can hold a newline, so the join is unambiguous.
        let text = [board.as_str(), action_id.as_str(), action_type.as_str(), &points].join("\n");
        Self(Sha256::digest(text.as_bytes()).into())
    }
}

/// W3C trace context, carried through the queue so that one trace spans request and frame.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TraceContext {
    /// The `traceparent` header's value; empty without a trace.
    pub traceparent: String,
    /// The `tracestate` header's value.
    pub tracestate: String,
}

/// One accepted update. Its points are resolved: inside the bounds of its action type when it was accepted.
#[derive(Clone, PartialEq, Debug)]
pub struct ScoreUpdate {
    /// This acceptance; the same in every redelivery.
    pub submission: SubmissionId,
    /// The board.
    pub board: BoardId,
    /// Whose score moves: the token's user.
    pub user: UserId,
    /// What the user did.
    pub action_id: ActionId,
    /// Its kind.
    pub action_type: ActionType,
    /// What it brings.
    pub points: i64,
    /// What was shown for it.
    pub proof: Proof,
    /// The name of the request, if it has one.
    pub idempotency_key: Option<IdempotencyKey>,
    /// What that name stands for.
    pub content_hash: ContentHash,
    /// When the gateway accepted it.
    pub accepted_at: Timestamp,
    /// The `x-request-id` of the request.
    pub request_id: String,
    /// Where its trace stands.
    pub trace: TraceContext,
}
