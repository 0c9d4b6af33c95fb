//! Access tokens at the door: verified with auth's published keys, refused once their session is revoked.
//! Asks auth for keys and revocations in the background, never per request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use arc_swap::{ArcSwap, ArcSwapOption};
use common::clock::{Clock, Timestamp};
use common::error_code::{ErrorCode, Refusal};
use common::ids::SessionId;
use common::ports::{Authority, Event, EventBus, Signal, VerificationKey};
use parking_lot::RwLock;
use runtime::access_token::{ACCESS_TOKEN_LIFETIME_S, AccessTokenVerifier, Claims, TokenError};
use runtime::backoff::Backoff;
use runtime::secrets::SigningMasters;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often the published keys are read again.
const KEYS_INTERVAL: Duration = Duration::from_secs(30);

/// After a rotation the keys are read at once and so many times more, so often: auth may hear of it after this node.
const REREADS: u32 = 5;
const REREAD_INTERVAL: Duration = Duration::from_secs(1);

/// How often revocations are asked for, beside hearing of them: what a lost event can cost at most.
const REVOCATIONS_INTERVAL: Duration = Duration::from_secs(1);

/// Revocations are asked for from a little before the last answer: clocks differ.
const REVOCATIONS_OVERLAP_MS: i64 = 5_000;

/// After this a revoked session has no unexpired access token: it can be forgotten.
const REVOKED_KEPT_MS: i64 = ACCESS_TOKEN_LIFETIME_S as i64 * 1000;

/// The token of a request.
///
/// # Errors
/// `unauthenticated` when there is none.
pub(crate) fn bearer(request: &HttpRequest) -> Result<&str, Refusal> {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    header
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| {
            Refusal::new(ErrorCode::Unauthenticated, "a bearer token is needed: Authorization: Bearer <accessToken>")
        })
}

struct KnownKeys {
    verifier: AccessTokenVerifier,
    published: Vec<VerificationKey>,
}

/// Lets tokens in.
pub(crate) struct TokenGate {
    authority: Arc<dyn Authority>,
    clock: Arc<dyn Clock>,
    keys: ArcSwapOption<KnownKeys>,
    masters: ArcSwap<SigningMasters>,
    /// Told when the keys should be read before their time.
    reread: Notify,
    /// Sessions that ended within the last hour, with when.
    revoked: RwLock<HashMap<SessionId, Timestamp>>,
}

impl TokenGate {
    pub(crate) fn new(authority: Arc<dyn Authority>, clock: Arc<dyn Clock>, masters: SigningMasters) -> Self {
        Self {
            authority,
            clock,
            keys: ArcSwapOption::empty(),
            masters: ArcSwap::from_pointee(masters),
            reread: Notify::new(),
            revoked: RwLock::default(),
        }
    }

    /// Whose token this is, if it is good now.
    pub(crate) async fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        let verified = match self.known()?.verifier.verify(token) {
            // A new key may have been published since: ask once, for kids of our form only.
            Err(TokenError::UnknownKey(_)) => {
                self.read_keys().await?;
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

    /// What keys of sessions are derived from now.
    pub(crate) fn signing_masters(&self) -> Arc<SigningMasters> {
        self.masters.load_full()
    }

    /// Takes rotated masters over, and has auth's keys read at once.
    pub(crate) fn reload(&self, masters: SigningMasters) {
        self.masters.store(Arc::new(masters));
        self.reread.notify_one();
    }

    /// The published keys.
    pub(crate) fn keys(&self) -> Result<Vec<VerificationKey>, Refusal> {
        Ok(self.known()?.published.clone())
    }

    fn known(&self) -> Result<Arc<KnownKeys>, Refusal> {
        self.keys.load_full().ok_or_else(Refusal::unavailable)
    }

    /// Refuses a session's tokens from now on.
    pub(crate) fn revoke(&self, session: SessionId) {
        self.revoked.write().insert(session, self.clock.now());
    }

    /// Follows keys and revocations until `stop`.
    pub(crate) async fn run(&self, events: &dyn EventBus, stop: CancellationToken) {
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
                    {
                        let mut revoked = self.revoked.write();
                        revoked.extend(revocations.into_iter().map(|r| (r.session, r.revoked_at)));
                        let oldest = asked_at.plus_millis(-REVOKED_KEPT_MS - REVOCATIONS_OVERLAP_MS);
                        revoked.retain(|_, revoked_at| *revoked_at >= oldest);
                    }
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
                self.revoked.write().insert(revocation.session, revocation.revoked_at);
            }
        }
        // The bus is closed: the process is on its way out, or the once-a-second question has to do.
        std::future::pending().await
    }
}
