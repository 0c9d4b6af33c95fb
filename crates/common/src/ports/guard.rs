//! The short memory in front of the queue: rates, revocations, and the first answers to idempotency keys. Shared by all
//! gateways. Only a shortcut: whoever loses it loses no promise, because the worker's transaction decides.

use async_trait::async_trait;

use crate::ids::{IdempotencyKey, SessionId, SubmissionId, UserId};
use crate::rate_limit::{Allowance, Quota};
use crate::score_update::ContentHash;

/// How long a reservation without an outcome holds; then the database decides.
pub const RESERVATION_MS: u64 = 5_000;

/// How long a first answer is kept.
pub const ANSWER_KEPT_S: u64 = 24 * 60 * 60;

/// A request's claim to be the one that its idempotency key names.
#[derive(Clone, Debug)]
pub struct KeyClaim {
    /// Whose key.
    pub user: UserId,
    /// The key.
    pub key: IdempotencyKey,
    /// What it stands for.
    pub content_hash: ContentHash,
    /// Who claims it.
    pub submission: SubmissionId,
}

/// What is asked before an update may go on. Everything is answered in one round trip.
#[derive(Clone, Debug, Default)]
pub struct AdmissionRequest {
    /// Counted always.
    pub address: Option<(Quota, String)>,
    /// Asked whether it was revoked.
    pub session: Option<SessionId>,
    /// Looked up, and reserved when nothing stands against it.
    pub claim: Option<KeyClaim>,
    /// Counted when the key has no answer and is not in flight.
    pub user: Option<(Quota, UserId)>,
}

/// The first answer to a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredAnswer {
    /// What the key stands for.
    pub content_hash: ContentHash,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

/// How a key stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyState {
    /// Not asked, unknown, or reserved for this request now.
    Free,
    /// Another request with it is under way; the hash says whether it is the same one.
    InFlight(ContentHash),
    /// It has its answer.
    Answered(StoredAnswer),
}

/// What was found. A part that was not asked, or that nobody could say, lets the request pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admission {
    /// The address's allowance.
    pub address: Option<Allowance>,
    /// The session was ended.
    pub revoked: bool,
    /// How the key stands.
    pub key: KeyState,
    /// The user's allowance.
    pub user: Option<Allowance>,
}

impl Default for Admission {
    fn default() -> Self {
        Self { address: None, revoked: false, key: KeyState::Free, user: None }
    }
}

/// The guard of the door. Never fails: when the shared memory is away, the node counts for itself and knows no keys.
#[async_trait]
pub trait Guard: Send + Sync {
    /// Counts, looks up and reserves, in one round trip. A refused address or an ended session counts and reserves
    /// nothing of the user's, and is told nothing of it.
    async fn admit(&self, request: &AdmissionRequest) -> Admission;

    /// Keeps the first answer to a key.
    async fn keep_answer(&self, claim: &KeyClaim, body: &[u8]);

    /// Gives a key back after a refusal, if this request still holds it: a refusal uses nothing up.
    async fn release(&self, claim: &KeyClaim);

    /// Remembers that a session was ended, for as long as its tokens could live.
    async fn revoke(&self, session: SessionId);
}
