//! Access tokens at the door: verified with auth's published keys, refused once their session is revoked.
//! Asks auth for keys and revocations in the background, never per request. Open streams are told when a session ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use common::clock::{Clock, Timestamp};
use common::error_code::{ErrorCode, Refusal};
use common::ids::SessionId;
use common::ports::{Authority, Event, EventBus, Signal, VerificationKey};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::access_token::{ACCESS_TOKEN_LIFETIME_S, AccessTokenVerifier, Claims, TokenError};
use crate::backoff::Backoff;

/// How often the published keys are read again.
const KEYS_INTERVAL: Duration = Duration::from_secs(30);

/// After a rotation the keys are read at once and so many times more, so often: auth may hear of it after this node.
const REREADS: u32 = 5;
const REREAD_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time between two questions to auth that tokens of unknown keys cause, from the end of one to the next.
/// New keys are published long before they sign, and are read in the background: nobody good has to ask.
const SHORTEST_GAP: Duration = Duration::from_secs(1);

/// How often revocations are asked for, beside hearing of them: what a lost event can cost at most.
const REVOCATIONS_INTERVAL: Duration = Duration::from_secs(1);

/// Revocations are asked for from a little before the last answer: clocks differ.
const REVOCATIONS_OVERLAP_MS: i64 = 5_000;

/// After this a revoked session has no unexpired access token: it can be forgotten.
const REVOKED_KEPT_MS: i64 = ACCESS_TOKEN_LIFETIME_S as i64 * 1000;

struct KnownKeys {
    verifier: AccessTokenVerifier,
    published: Vec<VerificationKey>,
}

/// What tokens of unknown keys have asked auth.
#[derive(Default)]
struct Asked {
    /// Tells how the question that is under way ended: whether auth answered.
    under_way: Option<watch::Receiver<Option<bool>>>,
    ended: Option<Instant>,
}

/// The question under way. Over when it is dropped: also when whoever asked goes away.
struct Question<'a> {
    asked: &'a Mutex<Asked>,
    answered: watch::Sender<Option<bool>>,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        *self.asked.lock() = Asked { under_way: None, ended: Some(Instant::now()) };
    }
}

/// What a token of an unknown key has to do.
enum Turn<'a> {
    Ask(Question<'a>),
    Wait(watch::Receiver<Option<bool>>),
    /// Auth was asked a moment ago.
    TooSoon,
}

/// Lets tokens in. [`Self::run`] keeps it current.
pub struct TokenGate {
    authority: Arc<dyn Authority>,
    clock: Arc<dyn Clock>,
    keys: ArcSwapOption<KnownKeys>,
    /// Told when the keys should be read before their time.
    reread: Notify,
    asked: Mutex<Asked>,
    /// Sessions that ended within the last hour, with when.
    revoked: RwLock<HashMap<SessionId, Timestamp>>,
    /// Auth said at least once which sessions have ended.
    knows_revocations: AtomicBool,
    /// Sessions of which somebody wants to hear when they end.
    followed: Arc<Mutex<HashMap<SessionId, Followed>>>,
}

struct Followed {
    ended: CancellationToken,
    followers: usize,
}

/// Tells when a session ends, as long as it is held.
pub struct FollowedSession {
    session: SessionId,
    ended: CancellationToken,
    followed: Arc<Mutex<HashMap<SessionId, Followed>>>,
}

impl FollowedSession {
    /// Resolves when the session was ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for FollowedSession {
    fn drop(&mut self) {
        let mut followed = self.followed.lock();
        if let Some(entry) = followed.get_mut(&self.session) {
            entry.followers -= 1;
            if entry.followers == 0 {
                followed.remove(&self.session);
            }
        }
    }
}

impl TokenGate {
    /// A gate that lets nobody in before [`Self::run`] has read auth's keys.
    #[must_use]
    pub fn new(authority: Arc<dyn Authority>, clock: Arc<dyn Clock>) -> Self {
        Self {
            authority,
            clock,
            keys: ArcSwapOption::empty(),
            reread: Notify::new(),
            asked: Mutex::default(),
            revoked: RwLock::default(),
            knows_revocations: AtomicBool::new(false),
            followed: Arc::default(),
        }
    }

    /// Whose token this is, if it is good now.
    ///
    /// # Errors
    /// `token_expired`, `token_revoked`, `unauthenticated`; `unavailable` before auth's keys were read.
    pub async fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        let verified = match self.known()?.verifier.verify(token) {
            // A new key may have been published since: ask, for kids of our form only.
            Err(TokenError::UnknownKey(_)) => {
                self.ask_for_keys().await?;
                self.known()?.verifier.verify(token)
            }
            verified => verified,
        };
        let claims = verified?;
        if self.revoked.read().contains_key(&claims.session) {
            return Err(Refusal::new(ErrorCode::TokenRevoked, "this session was ended; log in again"));
        }
        Ok(claims)
    }

    /// Follows a session whose token was verified: also when it ended meanwhile.
    #[must_use]
    pub fn follow(&self, session: SessionId) -> FollowedSession {
        let ended = {
            let mut followed = self.followed.lock();
            let entry =
                followed.entry(session).or_insert_with(|| Followed { ended: CancellationToken::new(), followers: 0 });
            entry.followers += 1;
            entry.ended.clone()
        };
        if self.revoked.read().contains_key(&session) {
            ended.cancel();
        }
        FollowedSession { session, ended, followed: Arc::clone(&self.followed) }
    }

    /// Whether auth was ever asked which sessions have ended: before that, a token of an ended one looks good.
    #[must_use]
    pub fn knows_revocations(&self) -> bool {
        self.knows_revocations.load(Ordering::Acquire)
    }

    /// Has auth's keys read at once, since they were rotated.
    pub fn reread_keys(&self) {
        self.reread.notify_one();
    }

    /// The published keys.
    ///
    /// # Errors
    /// `unavailable` before they were read.
    pub fn keys(&self) -> Result<Vec<VerificationKey>, Refusal> {
        Ok(self.known()?.published.clone())
    }

    fn known(&self) -> Result<Arc<KnownKeys>, Refusal> {
        self.keys.load_full().ok_or_else(Refusal::unavailable)
    }

    /// Refuses a session's tokens from now on.
    pub fn revoke(&self, session: SessionId) {
        self.refuse(session, self.clock.now());
    }

    fn refuse(&self, session: SessionId, since: Timestamp) {
        self.revoked.write().insert(session, since);
        if let Some(followed) = self.followed.lock().get(&session) {
            followed.ended.cancel();
        }
    }

    /// Follows keys and revocations until `stop`.
    pub async fn run(&self, events: &dyn EventBus, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = async { tokio::join!(self.follow_keys(), self.follow_revocations(), self.hear_revocations(events)); } => {}
        }
    }

    async fn follow_keys(&self) {
        let mut backoff = Backoff::reconnect();
        let mut rereads = 0_u32;
        loop {
            let wait = match self.read_keys().await {
                Ok(()) => {
                    backoff.reset();
                    if rereads > 0 { REREAD_INTERVAL } else { KEYS_INTERVAL }
                }
                Err(refusal) => {
                    tracing::warn!(
                        error.code = refusal.code.as_str(),
                        "the verification keys cannot be read from auth"
                    );
                    backoff.next_wait()
                }
            };
            rereads = match tokio::time::timeout(wait, self.reread.notified()).await {
                Ok(()) => REREADS,
                Err(_) => rereads.saturating_sub(1),
            };
        }
    }

    /// Reads the keys again for a token of an unknown one. However many come, auth hears one question at a time and at
    /// most one in [`SHORTEST_GAP`]; in between what is known has to do.
    async fn ask_for_keys(&self) -> Result<(), Refusal> {
        match self.turn() {
            Turn::TooSoon => Ok(()),
            Turn::Ask(question) => {
                let read = self.read_keys().await;
                question.answered.send_replace(Some(read.is_ok()));
                read
            }
            Turn::Wait(mut answered) => match answered.wait_for(Option::is_some).await.map(|answered| *answered) {
                Ok(Some(true)) => Ok(()),
                // Not answered, or whoever asked went away.
                _ => Err(Refusal::unavailable()),
            },
        }
    }

    fn turn(&self) -> Turn<'_> {
        let mut asked = self.asked.lock();
        if let Some(answered) = &asked.under_way {
            return Turn::Wait(answered.clone());
        }
        if asked.ended.is_some_and(|ended| ended.elapsed() < SHORTEST_GAP) {
            return Turn::TooSoon;
        }
        let (answered, receiver) = watch::channel(None);
        asked.under_way = Some(receiver);
        Turn::Ask(Question { asked: &self.asked, answered })
    }

    async fn read_keys(&self) -> Result<(), Refusal> {
        let published = self.authority.verification_keys().await?;
        match self.keys.load_full() {
            Some(known) if known.published == published => return Ok(()),
            _ => {}
        }
        let verifier = AccessTokenVerifier::new(published.clone(), Arc::clone(&self.clock)).map_err(|error| {
            tracing::error!(%error, "auth published a key that cannot be used");
            Refusal::internal()
        })?;
        self.keys.store(Some(Arc::new(KnownKeys { verifier, published })));
        Ok(())
    }

    async fn follow_revocations(&self) {
        let mut since = self.clock.now().plus_millis(-REVOKED_KEPT_MS);
        let mut backoff = Backoff::reconnect();
        loop {
            let asked_at = self.clock.now();
            let wait = match self.authority.revocations(since).await {
                Ok(revocations) => {
                    revocations.into_iter().for_each(|r| self.refuse(r.session, r.revoked_at));
                    let oldest = asked_at.plus_millis(-REVOKED_KEPT_MS - REVOCATIONS_OVERLAP_MS);
                    self.revoked.write().retain(|_, revoked_at| *revoked_at >= oldest);
                    self.knows_revocations.store(true, Ordering::Release);
                    since = asked_at.plus_millis(-REVOCATIONS_OVERLAP_MS);
                    backoff.reset();
                    REVOCATIONS_INTERVAL
                }
                Err(_) => backoff.next_wait(),
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn hear_revocations(&self, events: &dyn EventBus) {
        let mut stream = events.subscribe();
        while let Some(signal) = stream.next().await {
            if let Signal::Event(Event::SessionRevoked(revocation)) = signal {
                self.refuse(revocation.session, revocation.revoked_at);
            }
        }
        // The bus is closed: the process is on its way out, or the once-a-second question has to do.
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests;
