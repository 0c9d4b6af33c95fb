//! The short memory in front of the queue, in this process: the embedded backend's own, and what a gateway falls back to.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use common::clock::{Clock, Timestamp};
use common::ids::{IdempotencyKey, SessionId, SubmissionId, UserId};
use common::ports::{
    ANSWER_KEPT_S, Admission, AdmissionRequest, Guard, KeyClaim, KeyState, RESERVATION_MS, StoredAnswer,
};
use common::score_update::ContentHash;
use parking_lot::Mutex;

use crate::access_token::ACCESS_TOKEN_LIFETIME_S;
use crate::rate_buckets::RateBuckets;

/// The most keys that are remembered, about 400 bytes each; the oldest are forgotten first, and the database knows them.
const MAX_KEYS: usize = 100_000;

type KeyName = (UserId, IdempotencyKey);

enum KeyRecord {
    Reserved { by: SubmissionId, content_hash: ContentHash },
    Answered(StoredAnswer),
}

#[derive(Default)]
struct Keys {
    records: HashMap<KeyName, (KeyRecord, Timestamp)>,
    /// In the order in which they came, for forgetting; may name records that are gone.
    order: VecDeque<KeyName>,
}

impl Keys {
    fn state(&self, name: &KeyName, now: Timestamp) -> KeyState {
        match self.records.get(name) {
            Some((KeyRecord::Answered(answer), until)) if now < *until => KeyState::Answered(answer.clone()),
            Some((KeyRecord::Reserved { content_hash, .. }, until)) if now < *until => {
                KeyState::InFlight(*content_hash)
            }
            _ => KeyState::Free,
        }
    }

    fn put(&mut self, name: KeyName, record: KeyRecord, until: Timestamp) {
        if self.records.insert(name.clone(), (record, until)).is_none() {
            self.order.push_back(name);
        }
        while self.order.len() > MAX_KEYS {
            if let Some(oldest) = self.order.pop_front() {
                self.records.remove(&oldest);
            }
        }
    }

    fn is_held_by(&self, name: &KeyName, submission: SubmissionId) -> bool {
        matches!(self.records.get(name), Some((KeyRecord::Reserved { by, .. }, _)) if *by == submission)
    }
}

/// Rates, keys and revocations in memory.
pub struct MemoryGuard {
    clock: Arc<dyn Clock>,
    rates: RateBuckets,
    keys: Mutex<Keys>,
    revoked: Mutex<HashMap<SessionId, Timestamp>>,
}

impl MemoryGuard {
    /// Nothing is remembered yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, rates: RateBuckets::default(), keys: Mutex::default(), revoked: Mutex::default() }
    }

    /// Whether this request's reservation is here.
    #[must_use]
    pub fn holds(&self, claim: &KeyClaim) -> bool {
        self.keys.lock().is_held_by(&(claim.user, claim.key.clone()), claim.submission)
    }

    fn is_revoked(&self, session: SessionId, now: Timestamp) -> bool {
        self.revoked.lock().get(&session).is_some_and(|until| now < *until)
    }
}

#[async_trait]
impl Guard for MemoryGuard {
    async fn admit(&self, request: &AdmissionRequest) -> Admission {
        let now = self.clock.now();
        let mut admission = Admission {
            address: request.address.as_ref().and_then(|(quota, key)| self.rates.take(*quota, key, now)),
            revoked: request.session.is_some_and(|session| self.is_revoked(session, now)),
            ..Admission::default()
        };
        if admission.address.is_some_and(|allowance| !allowance.allowed) || admission.revoked {
            return admission;
        }
        let mut keys = self.keys.lock();
        let name = request.claim.as_ref().map(|claim| (claim.user, claim.key.clone()));
        if let Some(name) = &name {
            admission.key = keys.state(name, now);
        }
        if admission.key != KeyState::Free {
            return admission;
        }
        admission.user = request.user.and_then(|(quota, user)| self.rates.take(quota, &user.to_string(), now));
        if admission.user.is_some_and(|allowance| !allowance.allowed) {
            return admission;
        }
        if let (Some(name), Some(claim)) = (name, &request.claim) {
            let record = KeyRecord::Reserved { by: claim.submission, content_hash: claim.content_hash };
            keys.put(name, record, now.plus_millis(i64::try_from(RESERVATION_MS).unwrap_or(i64::MAX)));
        }
        admission
    }

    async fn keep_answer(&self, claim: &KeyClaim, body: &[u8]) {
        let until = self.clock.now().plus_millis(i64::try_from(ANSWER_KEPT_S * 1000).unwrap_or(i64::MAX));
        let answer = StoredAnswer { content_hash: claim.content_hash, body: body.to_vec() };
        self.keys.lock().put((claim.user, claim.key.clone()), KeyRecord::Answered(answer), until);
    }

    async fn release(&self, claim: &KeyClaim) {
        let mut keys = self.keys.lock();
        let name = (claim.user, claim.key.clone());
        if keys.is_held_by(&name, claim.submission) {
            keys.records.remove(&name);
        }
    }

    async fn revoke(&self, session: SessionId) {
        let now = self.clock.now();
        let mut revoked = self.revoked.lock();
        revoked.retain(|_, until| now < *until);
        revoked.insert(session, now.plus_millis(i64::from(ACCESS_TOKEN_LIFETIME_S) * 1000));
    }
}
