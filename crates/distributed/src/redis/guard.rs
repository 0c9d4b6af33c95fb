//! The short memory in front of the queue, shared by all gateways: rates, revocations, first answers. One script per slot,
//! sent together: an update costs one round trip.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::clock::Clock;
use common::ids::{SessionId, UserId};
use common::ports::{
    ANSWER_KEPT_S, Admission, AdmissionRequest, Guard, KeyClaim, KeyState, RESERVATION_MS, StoredAnswer,
};
use common::rate_limit::{Allowance, Quota, decide};
use common::score_update::ContentHash;
use deadpool_redis::redis::{self, ErrorKind, Pipeline, RedisError, Script, ScriptInvocation, ServerErrorKind};
use runtime::access_token::ACCESS_TOKEN_LIFETIME_S;
use runtime::memory_guard::MemoryGuard;

use super::{RedisFailure, RedisLink};

/// A Redis that takes longer is passed by: the node counts for itself.
const LIMIT: Duration = Duration::from_millis(150);

/// A key that nothing stands against, in the user's script's words.
const STATE_FREE: i64 = 0;

/// What the user's script answers: microseconds ahead, state, content hash, body.
type UserPart = (i64, i64, Vec<u8>, Vec<u8>);

struct Scripts {
    address_rate: Script,
    admit: Script,
    release: Script,
}

/// The guard on Redis, with this node's own memory behind it.
pub struct RedisGuard {
    link: RedisLink,
    scripts: Scripts,
    fallback: MemoryGuard,
}

/// What a pipeline answers for the parts that were asked.
#[derive(Default)]
struct Parts {
    address: Option<i64>,
    revoked: bool,
    user: Option<UserPart>,
}

impl RedisGuard {
    /// On a link that is shared with others.
    #[must_use]
    pub fn new(link: RedisLink, clock: Arc<dyn Clock>) -> Self {
        let scripts = Scripts {
            address_rate: Script::new(include_str!("scripts/address_rate.lua")),
            admit: Script::new(include_str!("scripts/admit.lua")),
            release: Script::new(include_str!("scripts/release.lua")),
        };
        Self { link, scripts, fallback: MemoryGuard::new(clock) }
    }

    async fn ask(&self, request: &AdmissionRequest) -> Result<Parts, RedisFailure> {
        let address = request.address.as_ref().filter(|(quota, _)| quota.is_limited());
        let user = request.user.filter(|(quota, _)| quota.is_limited());
        let address_call = address.map(|(quota, key)| {
            let mut call = self.scripts.address_rate.key(format!("ratelimit:{{{key}}}:{}", quota.name));
            call.arg(quota.interval_us()).arg(quota.period_us());
            call
        });
        let named = request.claim.as_ref().map(|claim| claim.user).or(user.map(|(_, user)| user));
        let user_call = named.map(|named| {
            let (interval, period) = user.map_or((0, 0), |(quota, _)| (quota.interval_us(), quota.period_us()));
            let mut call = self.scripts.admit.key(bucket_key(named));
            call.key(request.claim.as_ref().map_or_else(|| no_record_key(named), record_key));
            call.arg(interval).arg(period);
            match &request.claim {
                Some(claim) => {
                    call.arg(&claim.content_hash.0[..]).arg(claim.submission.to_string()).arg(RESERVATION_MS)
                }
                None => call.arg("").arg("").arg(0),
            };
            call
        });
        let build = |load: bool| {
            let mut pipe = redis::pipe();
            if load {
                pipe.load_script(&self.scripts.address_rate).ignore().load_script(&self.scripts.admit).ignore();
            }
            if let Some(call) = &address_call {
                pipe.invoke_script(call);
            }
            if let Some(session) = request.session {
                pipe.exists(revoked_key(session));
            }
            if let Some(call) = &user_call {
                pipe.invoke_script(call);
            }
            pipe
        };
        let shape = (address_call.is_some(), request.session.is_some(), user_call.is_some());
        if shape == (false, false, false) {
            return Ok(Parts::default());
        }
        let values = match self.run(&build(false)).await {
            // A flushed or restarted Redis has forgotten the scripts.
            Err(RedisFailure::Exchange(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.run(&build(true)).await?
            }
            values => values?,
        };
        read_parts(shape, values).map_err(RedisFailure::Exchange)
    }

    /// Undoes the user's part of an admission that was refused before it: scripts of different slots are sent together
    /// and cannot see each other's answers, so that this rare case costs a second round trip, and no other does.
    async fn give_back(&self, request: &AdmissionRequest, user: &UserPart) {
        let (ahead, state, ..) = user;
        let counted = request.user.filter(|(quota, _)| quota.is_limited() && *ahead >= 0);
        let taken = counted.filter(|(quota, _)| allowance(*quota, *ahead).allowed);
        if *state != STATE_FREE || (counted.is_some() && taken.is_none()) {
            return;
        }
        let interval = taken.map_or(0, |(quota, _)| quota.interval_us());
        match (&request.claim, taken) {
            (Some(claim), _) => self.give_back_claim(claim, interval).await,
            (None, Some((_, user))) => {
                let mut call = self.scripts.release.key(bucket_key(user));
                call.key(no_record_key(user)).arg("").arg(interval);
                self.note_release(&call).await;
            }
            (None, None) => {}
        }
    }

    async fn give_back_claim(&self, claim: &KeyClaim, interval_us: i64) {
        let mut call = self.scripts.release.key(bucket_key(claim.user));
        call.key(record_key(claim)).arg(claim.submission.to_string()).arg(interval_us);
        self.note_release(&call).await;
    }

    async fn note_release(&self, call: &ScriptInvocation<'_>) {
        let mut pipe = redis::pipe();
        pipe.load_script(&self.scripts.release).ignore().invoke_script(call).ignore();
        self.note("what was given back", &pipe).await;
    }

    async fn run(&self, pipe: &Pipeline) -> Result<Vec<redis::Value>, RedisFailure> {
        self.link.query("guard", LIMIT, pipe).await
    }

    /// Best effort: what is not kept here is in the database. Whether Redis took it.
    async fn note(&self, what: &'static str, pipe: &Pipeline) -> bool {
        let noted = self.run(pipe).await;
        if let Err(error) = &noted {
            tracing::debug!(error = %runtime::exit::causes(error), "redis did not take {what}");
        }
        noted.is_ok()
    }
}

fn read_parts((address, session, user): (bool, bool, bool), values: Vec<redis::Value>) -> Result<Parts, RedisError> {
    let mut values = values.into_iter();
    let mut next = |asked: bool| asked.then(|| values.next().unwrap_or(redis::Value::Nil));
    let (address, session, user) = (next(address), next(session), next(user));
    Ok(Parts {
        address: address.map(redis::from_redis_value).transpose()?,
        revoked: session.map(redis::from_redis_value).transpose()?.unwrap_or(false),
        user: user.map(redis::from_redis_value).transpose()?,
    })
}

fn record_key(claim: &KeyClaim) -> String {
    format!("idempotency:{{{}}}:{}", claim.user, claim.key)
}

/// Of the user's slot, for a request that claims no key.
fn no_record_key(user: UserId) -> String {
    format!("idempotency:{{{user}}}:")
}

fn bucket_key(user: UserId) -> String {
    format!("ratelimit:{{{user}}}:updates")
}

fn revoked_key(session: SessionId) -> String {
    format!("session:{{{session}}}:revoked")
}

/// The allowance of a bucket that was so far ahead of now.
fn allowance(quota: Quota, ahead_us: i64) -> Allowance {
    decide(quota, Some(ahead_us), 0).0
}

fn key_state(state: i64, hash: &[u8], body: Vec<u8>) -> KeyState {
    let Ok(content_hash) = hash.try_into().map(ContentHash) else { return KeyState::Free };
    match state {
        1 => KeyState::InFlight(content_hash),
        2 => KeyState::Answered(StoredAnswer { content_hash, body }),
        _ => KeyState::Free,
    }
}

fn is_refused_before_user(request: &AdmissionRequest, parts: &Parts) -> bool {
    let address = request.address.as_ref().zip(parts.address);
    parts.revoked || address.is_some_and(|((quota, _), ahead)| !allowance(*quota, ahead).allowed)
}

fn admission(request: &AdmissionRequest, parts: Parts) -> Admission {
    let address = request.address.as_ref().zip(parts.address).map(|((quota, _), ahead)| allowance(*quota, ahead));
    let mut admission = Admission { address, revoked: parts.revoked, ..Admission::default() };
    if let Some((ahead, state, hash, body)) = parts.user {
        admission.key = key_state(state, &hash, body);
        let quota: Option<(Quota, UserId)> = request.user.filter(|(quota, _)| quota.is_limited() && ahead >= 0);
        admission.user = quota.map(|(quota, _)| allowance(quota, ahead));
    }
    admission
}

#[async_trait]
impl Guard for RedisGuard {
    async fn admit(&self, request: &AdmissionRequest) -> Admission {
        match self.ask(request).await {
            Ok(mut parts) => {
                // As if neither the key nor the user had been asked for: a stranger uses nothing of a player's up.
                if is_refused_before_user(request, &parts)
                    && let Some(user) = parts.user.take()
                {
                    self.give_back(request, &user).await;
                }
                admission(request, parts)
            }
            Err(error) => {
                tracing::warn!(error = %runtime::exit::causes(&error), "redis cannot guard the door; this node counts for itself");
                self.fallback.admit(request).await
            }
        }
    }

    async fn keep_answer(&self, claim: &KeyClaim, body: &[u8]) {
        let key = record_key(claim);
        let mut pipe = redis::pipe();
        pipe.hset_multiple(&key, &[("hash", &claim.content_hash.0[..]), ("body", body)]).ignore();
        pipe.expire(&key, i64::try_from(ANSWER_KEPT_S).unwrap_or(i64::MAX)).ignore();
        let noted = self.note("an answer", &pipe).await;
        // Not every answer: while Redis is there, this node's memory is for what Redis does not have.
        if !noted || self.fallback.holds(claim) {
            self.fallback.keep_answer(claim, body).await;
        }
    }

    async fn release(&self, claim: &KeyClaim) {
        // Reserved here, if Redis was away then.
        self.fallback.release(claim).await;
        self.give_back_claim(claim, 0).await;
    }

    async fn revoke(&self, session: SessionId) {
        self.fallback.revoke(session).await;
        let mut pipe = redis::pipe();
        pipe.set_ex(revoked_key(session), 1, u64::from(ACCESS_TOKEN_LIFETIME_S)).ignore();
        self.note("a revocation", &pipe).await;
    }
}
