//! [`Authority`] over the stores.

mod own_sessions;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::account::{Account, NewAccount, NewSession, OpenSession, RefreshRotation, Revocation, Rotated, TokenGrant};
use common::clock::{Clock, Timestamp};
use common::error_code::{ErrorCode, Refusal};
use common::ids::{SessionId, UserId, Username};
use common::ports::{AccountCreated, Accounts, Authority, Event, EventBus, IssuerKey, IssuerKeys, VerificationKey};
use common::signature::SigningKey;
use runtime::access_token::{ACCESS_TOKEN_LIFETIME_S, AccessTokenVerifier, Claims};
use runtime::secrets::AuthSecrets;
use runtime::settings::Registration;
use uuid::Uuid;

use crate::action_signing::{ActionSignature, ActionSigner, ActionToSign};
use crate::app::{AuthPorts, AuthSettings, BuildError};
use crate::entropy::{Entropy, random_uuid};
use crate::metrics::{Ended, Metrics};
use crate::password_hasher::{HashError, PasswordHasher};
use crate::password_rules::check_new_password;
use crate::refresh_tokens::{RefreshName, RefreshTokens, refresh_hash};
use crate::revocation_memory::RevocationMemory;
use crate::signing_keys::SigningKeys;
use crate::store_calls::{ask, chain};

/// Seconds that a refresh token lives; its successor lives as long again.
pub const REFRESH_TOKEN_LIFETIME_S: u32 = 86_400;

/// For how long the token before the current one, shown again, is taken for a lost answer. Milliseconds.
pub const ROTATION_GRACE_MS: i64 = 10_000;

/// The longest that the announcement of an ended session may take: nodes that miss it read the store.
const ANNOUNCE_DEADLINE: Duration = Duration::from_millis(250);

/// Accounts, sessions, tokens and keys.
pub struct AuthService {
    accounts: Arc<dyn Accounts>,
    issuer_keys: Arc<dyn IssuerKeys>,
    action_signer: ActionSigner,
    events: Arc<dyn EventBus>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    passwords: PasswordHasher,
    keys: SigningKeys,
    refresh_tokens: RefreshTokens,
    registration: Registration,
    verifier: AccessTokenVerifier,
    revocations: RevocationMemory,
    metrics: Metrics,
}

impl AuthService {
    /// The service over `ports`, with the secrets of `settings`.
    ///
    /// # Errors
    /// [`BuildError`] when a key cannot be used or the system has no randomness.
    pub fn new(ports: AuthPorts, settings: &AuthSettings) -> Result<Self, BuildError> {
        let secrets = &settings.secrets;
        let metrics = Metrics::new();
        Ok(Self {
            passwords: PasswordHasher::new(
                settings.password_hashes_at_once,
                Arc::clone(&ports.entropy),
                metrics.clone(),
            )?,
            keys: SigningKeys::new(secrets, settings.rotation_overlap_ms)
                .map_err(|error| BuildError::Key(Box::new(error)))?,
            registration: settings.registration,
            refresh_tokens: RefreshTokens::new(secrets.refresh_master.clone()),
            verifier: AccessTokenVerifier::new(secrets.verification_keys.clone(), Arc::clone(&ports.clock))?,
            revocations: RevocationMemory::default(),
            accounts: ports.accounts,
            issuer_keys: ports.issuer_keys,
            action_signer: ActionSigner::new(secrets),
            events: ports.events,
            clock: ports.clock,
            entropy: ports.entropy,
            metrics,
        })
    }

    /// The hasher, whose count of finished hashes tests look at.
    #[must_use]
    pub const fn passwords(&self) -> &PasswordHasher {
        &self.passwords
    }

    /// Takes over what an operator rotated. New keys are published at once, and sign once the overlap is over (see
    /// [`AuthSettings::rotation_overlap_ms`]); keys that are gone are refused at once. The master of refresh tokens and
    /// the callers' keys stay as they were.
    ///
    /// # Errors
    /// [`BuildError`] when a key cannot be used; then everything stays as it was.
    pub fn reload(&self, secrets: &AuthSecrets) -> Result<(), BuildError> {
        let now = self.clock.now();
        self.verifier.replace_keys(secrets.verification_keys.clone())?;
        let from = self.keys.replace(secrets, now).map_err(|error| BuildError::Key(Box::new(error)))?;
        tracing::info!(kid = secrets.active_key.kid(), signs_from = %from, "keys were read again");
        Ok(())
    }

    /// Signs an action, now, for a caller that showed a service key of its own. That it was earned is the caller's word;
    /// whether the board takes it is decided when it is submitted.
    ///
    /// # Errors
    /// `forbidden` for callers that may not sign.
    pub fn sign_action(&self, caller: &str, action: &ActionToSign) -> Result<ActionSignature, Refusal> {
        let refused = || Refusal::new(ErrorCode::Forbidden, "this caller may not have actions signed");
        self.action_signer.sign(caller, action, self.clock.now()).ok_or_else(refused)
    }

    /// Whose token this is, if its session has not been ended. For callers that cannot verify by themselves;
    /// gateways do, and hear of revocations.
    ///
    /// # Errors
    /// `unauthenticated`, `token_expired`, `token_revoked`; `unavailable` when nobody can say.
    pub async fn validate(&self, access_token: &str) -> Result<Claims, Refusal> {
        let claims = self.verifier.verify(access_token)?;
        let now = self.clock.now();
        let since = self.revocations.unread_since(now);
        let revocations = ask("read revocations", || self.accounts.revocations(since)).await?;
        self.revocations.take_over(&revocations, now);
        if self.revocations.is_ended(claims.session) {
            return Err(Refusal::new(ErrorCode::TokenRevoked, "the session of this token was ended; log in again"));
        }
        Ok(claims)
    }

    async fn create_account(&self, username: &str, password: &str) -> Result<(UserId, String), Refusal> {
        if self.registration == Registration::Closed {
            return Err(Refusal::new(
                ErrorCode::Forbidden,
                "registration is closed; an operator creates accounts here",
            ));
        }
        let name = Username::parse(username)?;
        check_new_password(&name, password)?;
        let password_hash = self.passwords.hash(password).await.map_err(refuse_hash)?;
        let user = UserId(self.new_uuid()?);
        let account = NewAccount { user, username: name.clone(), password_hash, created_at: self.clock.now() };
        match ask("create an account", || self.accounts.create(account.clone())).await? {
            AccountCreated::Created => {
                tracing::info!(user = %user, "account created");
                Ok((user, name.as_str().to_owned()))
            }
            AccountCreated::UsernameTaken => {
                Err(Refusal::new(ErrorCode::UsernameTaken, "somebody has this username; choose another")
                    .with_field("username"))
            }
        }
    }

    async fn open_session(&self, username: &str, password: &str) -> Result<TokenGrant, Refusal> {
        // A name that nobody can have costs as much as one that somebody has: the answer's time tells nothing.
        let account = match Username::parse(username) {
            Ok(name) => ask("find an account", || self.accounts.find(name.as_str())).await?,
            Err(_) => None,
        };
        let hash = account.as_ref().map(|account| account.password_hash.clone());
        let verified = self.passwords.verify(password, hash).await.map_err(refuse_hash)?;
        match account {
            Some(account) if verified => self.start_session(&account).await,
            account => Err(wrong_credentials(account.map(|account| account.user))),
        }
    }

    async fn start_session(&self, account: &Account) -> Result<TokenGrant, Refusal> {
        let first = RefreshName::first(SessionId(self.new_uuid()?));
        let refresh_token = self.refresh_tokens.token(first);
        let now = self.clock.now();
        let session = NewSession {
            session: first.session,
            user: account.user,
            password_hash: account.password_hash.clone(),
            refresh_hash: refresh_hash(&refresh_token),
            created_at: now,
            expires_at: refresh_expiry(now),
        };
        // The password may have been changed since it was compared: then it is as wrong as any other.
        if !ask("open a session", || self.accounts.open_session(session.clone())).await? {
            return Err(wrong_credentials(Some(account.user)));
        }
        self.grant(account.user, &account.username, first.session, refresh_token, now)
    }

    async fn rotate(&self, refresh_token: &str) -> Result<TokenGrant, Refusal> {
        let refused = || Refusal::new(ErrorCode::Unauthenticated, "the refresh token is not valid; log in again");
        // Ours by its MAC, before the store is asked: a stranger's guesses cost the database nothing.
        let shown = self.refresh_tokens.read(refresh_token).ok_or_else(refused)?;
        let successor = self.refresh_tokens.token(shown.successor().ok_or_else(refused)?);
        let now = self.clock.now();
        let rotation = RefreshRotation {
            session: shown.session,
            presented: refresh_hash(refresh_token),
            successor: refresh_hash(&successor),
            now,
            expires_at: refresh_expiry(now),
            grace_ms: ROTATION_GRACE_MS,
        };
        match ask("exchange a refresh token", || self.accounts.rotate(rotation.clone())).await? {
            Rotated::Successor { user, username } => self.grant(user, &username, shown.session, successor, now),
            Rotated::Refused => Err(refused()),
            Rotated::Reused => {
                tracing::warn!(
                    security_event = "refresh_token_reused",
                    session = %shown.session,
                    "a refresh token of the past was shown: its session was ended"
                );
                self.announce(Revocation { session: shown.session, revoked_at: now }).await;
                let message = "this refresh token was used before; for safety its session was ended, log in again";
                Err(Refusal::new(ErrorCode::RefreshTokenReused, message))
            }
        }
    }

    fn grant(
        &self,
        user: UserId,
        username: &str,
        session: SessionId,
        refresh_token: String,
        now: Timestamp,
    ) -> Result<TokenGrant, Refusal> {
        let signer = self.keys.signer(now);
        let token = signer.access_tokens.issue(user, username, session, now, self.new_uuid()?);
        let access_token = token.map_err(|error| {
            tracing::error!(error = chain(&error), "no access token can be made");
            Refusal::internal()
        })?;
        Ok(TokenGrant {
            access_token,
            refresh_token,
            expires_in_s: ACCESS_TOKEN_LIFETIME_S,
            refresh_expires_in_s: REFRESH_TOKEN_LIFETIME_S,
            user,
            username: username.to_owned(),
            signing_key: SigningKey::for_session(&signer.masters.current, session),
        })
    }

    /// Tells every node, after the commit. What fails here is repaired by nodes that read the revocations.
    async fn announce(&self, revocation: Revocation) {
        let publish = self.events.publish(Event::SessionRevoked(revocation));
        let session = revocation.session;
        match tokio::time::timeout(ANNOUNCE_DEADLINE, publish).await {
            Ok(Ok(())) => self.metrics.announcement(Ended::Ok),
            Ok(Err(error)) => {
                self.metrics.announcement(Ended::Failed);
                tracing::warn!(session = %session, error = chain(&error), "nodes were not told of an ended session");
            }
            Err(_) => {
                self.metrics.announcement(Ended::Unavailable);
                let deadline_ms = ANNOUNCE_DEADLINE.as_millis();
                tracing::warn!(session = %session, deadline_ms, "nodes were not told of an ended session in time");
            }
        }
    }

    fn new_uuid(&self) -> Result<Uuid, Refusal> {
        random_uuid(self.entropy.as_ref()).map_err(|error| {
            tracing::error!(error = chain(&error), "no identifier can be made");
            Refusal::internal()
        })
    }
}

#[async_trait]
impl Authority for AuthService {
    async fn register(&self, username: &str, password: &str) -> Result<(UserId, String), Refusal> {
        let result = self.create_account(username, password).await;
        self.metrics.registration((&result).into());
        result
    }

    async fn login(&self, username: &str, password: &str) -> Result<TokenGrant, Refusal> {
        let result = self.open_session(username, password).await;
        self.metrics.login((&result).into());
        result
    }

    async fn refresh(&self, refresh_token: &str) -> Result<TokenGrant, Refusal> {
        let result = self.rotate(refresh_token).await;
        self.metrics.refresh((&result).into());
        result
    }

    async fn logout(&self, session: SessionId) -> Result<(), Refusal> {
        let now = self.clock.now();
        let ended_now = ask("end a session", || self.accounts.revoke(session, now)).await?;
        // Announced again where it was ended before: the first announcement may be what got lost.
        self.announce(Revocation { session, revoked_at: now }).await;
        tracing::info!(session = %session, ended_now, "logout");
        Ok(())
    }

    async fn change_password(
        &self,
        user: UserId,
        session: SessionId,
        current_password: &str,
        new_password: &str,
    ) -> Result<Vec<SessionId>, Refusal> {
        self.set_password(user, session, current_password, new_password).await
    }

    async fn logout_all(&self, user: UserId) -> Result<Vec<SessionId>, Refusal> {
        self.end_all_sessions(user).await
    }

    async fn sessions(&self, user: UserId) -> Result<Vec<OpenSession>, Refusal> {
        self.open_sessions_of(user).await
    }

    async fn verification_keys(&self) -> Result<Vec<VerificationKey>, Refusal> {
        Ok(self.keys.published().to_vec())
    }

    async fn revocations(&self, since: Timestamp) -> Result<Vec<Revocation>, Refusal> {
        ask("read revocations", || self.accounts.revocations(since)).await
    }

    async fn issuer_keys(&self) -> Result<Vec<IssuerKey>, Refusal> {
        let mut keys = ask("read issuer keys", || self.issuer_keys.active_issuer_keys()).await?;
        // Ours win: a stored key of the same name could sign for a caller.
        keys.retain(|key| self.action_signer.keys().all(|own| own.key_id != key.key_id));
        keys.extend(self.action_signer.keys().cloned());
        Ok(keys)
    }
}

/// The log knows whose password was tried; the answer does not tell.
fn wrong_credentials(user: Option<UserId>) -> Refusal {
    let user = user.map(|user| user.to_string());
    tracing::info!(security_event = "login_refused", user_id = user, "username or password wrong");
    Refusal::new(ErrorCode::InvalidCredentials, "username or password is wrong")
}

const fn refresh_expiry(now: Timestamp) -> Timestamp {
    now.plus_millis(REFRESH_TOKEN_LIFETIME_S as i64 * 1000)
}

fn refuse_hash(error: HashError) -> Refusal {
    if matches!(error, HashError::Busy) {
        return Refusal::unavailable();
    }
    tracing::error!(error = chain(&error), "a password cannot be hashed or compared");
    Refusal::internal()
}
