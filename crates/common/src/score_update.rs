//! A score update that passed every check of the gateway, on its way to the ledger.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::board::Proof;
use crate::clock::Timestamp;
use crate::ids::{ActionId, ActionType, BoardId, IdempotencyKey, SubmissionId, UserId};
use crate::signature::SigningKey;

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

/// The label that keeps an address hash from serving any other purpose of the key that makes it.
const ADDRESS_HASH_LABEL: &str = "scoreboard-address-v1";

/// Whose network a request came from, for the audit: the same address has the same hash, and nobody without the key
/// can tell which address that is. The first 16 bytes of an HMAC-SHA256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AddressHash(pub [u8; 16]);

impl AddressHash {
    /// The hash of an address as limits count it (IPv6 by its /64).
    #[must_use]
    pub fn of(key: &SigningKey, counted_address: &str) -> Self {
        let mac = key.mac(format!("{ADDRESS_HASH_LABEL}\n{counted_address}").as_bytes());
        let mut hash = [0; 16];
        hash.copy_from_slice(&mac[..16]);
        Self(hash)
    }
}

impl fmt::Display for AddressHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
    /// Where the request came from; `None` where no client's address is known.
    pub address_hash: Option<AddressHash>,
    /// Where its trace stands.
    pub trace: TraceContext,
}
