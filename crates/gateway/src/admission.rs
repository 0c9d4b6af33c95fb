//! The checks of a score update, in the contract's order (DESIGN.md, section 3).
//!
//! Those that need nothing but the request run first, up to the first that refuses; then one round trip to the guard
//! answers the rest. [`verdict`] merges both, so that a client always hears the *first* refusal in the contract's order
//! and the database is never asked.

use common::error_code::{ErrorCode, Refusal};
use common::ids::{SessionId, UserId};
use common::ports::{Admission, AdmissionRequest, KeyClaim, KeyState};
use common::rate_limit::Quota;
use common::score_update::ScoreUpdate;
use runtime::access_token::Claims;

/// The checks, in order. After them: the queue, and in the worker's transaction action unused and daily cap.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Check {
    /// The address has not asked too often.
    AddressCeiling,
    /// The body is small enough, and JSON.
    SizeAndMediaType,
    /// The fields are there and well-formed.
    Shape,
    /// The token is good, and not revoked.
    Token,
    /// The body names nobody but the token's user.
    OwnScore,
    /// The proof that the action's type asks for; the board and the type are known.
    Signature,
    /// The idempotency key is free, or has its answer already.
    StoredAnswer,
    /// The timestamp is within five minutes.
    Timestamp,
    /// The user has not updated too often.
    UserLimit,
    /// The points are within the type's bounds.
    Bounds,
}

/// Whose score is to move, once that was shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Actor {
    pub(crate) user: UserId,
    /// The token's; a trusted caller acts without one.
    pub(crate) session: Option<SessionId>,
}

impl From<&Claims> for Actor {
    fn from(claims: &Claims) -> Self {
        Self { user: claims.user, session: Some(claims.session) }
    }
}

/// How far an update came on its own.
pub(crate) struct LocalChecks {
    /// Whose token it was, if it was a good one, or on whose behalf a trusted caller acts.
    pub(crate) actor: Option<Actor>,
    /// The claim to the idempotency key, once everything before it passed.
    pub(crate) claim: Option<KeyClaim>,
    /// The update, or the first check that refused.
    pub(crate) outcome: Result<ScoreUpdate, (Check, Refusal)>,
}

impl LocalChecks {
    /// Nothing passed yet.
    pub(crate) const fn refused(check: Check, refusal: Refusal) -> Self {
        Self { actor: None, claim: None, outcome: Err((check, refusal)) }
    }

    fn refused_before(&self, check: Check) -> bool {
        matches!(&self.outcome, Err((at, _)) if *at < check)
    }

    /// What to ask the guard: everything that the contract's order still reaches.
    pub(crate) fn question(&self, address: Option<(Quota, String)>, user_updates: Quota) -> AdmissionRequest {
        let user =
            self.actor.filter(|_| !self.refused_before(Check::UserLimit)).map(|actor| (user_updates, actor.user));
        AdmissionRequest {
            address,
            session: self.actor.and_then(|actor| actor.session),
            claim: self.claim.clone(),
            user,
        }
    }
}

/// What is to be done with an update.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Into the queue with it.
    Submit(Box<ScoreUpdate>),
    /// The key's first answer, again.
    Replay(Vec<u8>),
    /// The first check that refused.
    Refuse(Check, Refusal),
}

/// The first refusal in the contract's order, the stored answer, or the way to the queue.
pub(crate) fn verdict(local: LocalChecks, admission: &Admission) -> Verdict {
    if let Some(allowance) = admission.address.filter(|allowance| !allowance.allowed) {
        return Verdict::Refuse(Check::AddressCeiling, Refusal::rate_limited(allowance));
    }
    let LocalChecks { claim, outcome, .. } = local;
    let (update, refused) = match outcome {
        Ok(update) => (Some(update), None),
        Err(refused) => (None, Some(refused)),
    };
    let refused_up_to = |check: Check| refused.clone().filter(|(at, _)| *at <= check);

    if admission.revoked && refused_up_to(Check::Shape).is_none() {
        let refusal = Refusal::new(ErrorCode::TokenRevoked, "this session was ended; log in again");
        return Verdict::Refuse(Check::Token, refusal);
    }
    if let Some((check, refusal)) = refused_up_to(Check::Signature) {
        return Verdict::Refuse(check, refusal);
    }
    if let Some(claim) = &claim
        && let Some(verdict) = key_verdict(claim, &admission.key)
    {
        return verdict;
    }
    if let Some((check, refusal)) = refused_up_to(Check::Timestamp) {
        return Verdict::Refuse(check, refusal);
    }
    if let Some(allowance) = admission.user.filter(|allowance| !allowance.allowed) {
        return Verdict::Refuse(Check::UserLimit, Refusal::rate_limited(allowance));
    }
    match (refused, update) {
        (Some((check, refusal)), _) => Verdict::Refuse(check, refusal),
        (None, Some(update)) => Verdict::Submit(Box::new(update)),
        (None, None) => Verdict::Refuse(Check::Shape, Refusal::internal()),
    }
}

fn key_verdict(claim: &KeyClaim, state: &KeyState) -> Option<Verdict> {
    let reused = || Verdict::Refuse(Check::StoredAnswer, key_reused());
    match state {
        KeyState::Free => None,
        KeyState::Answered(answer) if answer.content_hash == claim.content_hash => {
            Some(Verdict::Replay(answer.body.clone()))
        }
        KeyState::InFlight(content_hash) if *content_hash == claim.content_hash => {
            let message = "the first request with this idempotency key has no answer yet; ask again in a second";
            Some(Verdict::Refuse(
                Check::StoredAnswer,
                Refusal::new(ErrorCode::RequestInProgress, message).retry_after(1),
            ))
        }
        KeyState::Answered(_) | KeyState::InFlight(_) => Some(reused()),
    }
}

/// The refusal of a key that stands for something else.
pub(crate) fn key_reused() -> Refusal {
    Refusal::new(
        ErrorCode::IdempotencyKeyReused,
        "this idempotency key stands for another request: other board, action, type or points",
    )
}

#[cfg(test)]
mod tests;
