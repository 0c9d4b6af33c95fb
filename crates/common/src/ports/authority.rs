//! What the gateway asks of auth: in process on one machine, over gRPC between services.

use async_trait::async_trait;

use super::IssuerKey;
use crate::account::{OpenSession, Revocation, TokenGrant};
use crate::clock::Timestamp;
use crate::error_code::Refusal;
use crate::ids::{SessionId, UserId};

/// A public key that verifies access tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerificationKey {
    /// Names the key in a token's header.
    pub kid: String,
    /// The Ed25519 public key.
    pub public_key: [u8; 32],
}

/// Accounts, tokens and keys. Refusals carry the contract's codes; a fault of ours is `internal` or `unavailable`
/// and has been logged where it happened.
#[async_trait]
pub trait Authority: Send + Sync {
    /// Creates an account; the name as registered.
    async fn register(&self, username: &str, password: &str) -> Result<(UserId, String), Refusal>;

    /// Opens a session.
    async fn login(&self, username: &str, password: &str) -> Result<TokenGrant, Refusal>;

    /// Exchanges a refresh token.
    async fn refresh(&self, refresh_token: &str) -> Result<TokenGrant, Refusal>;

    /// Ends a session.
    async fn logout(&self, session: SessionId) -> Result<(), Refusal>;

    /// Changes a password and ends all sessions of the user but `session`; those that ended.
    async fn change_password(
        &self,
        user: UserId,
        session: SessionId,
        current_password: &str,
        new_password: &str,
    ) -> Result<Vec<SessionId>, Refusal>;

    /// Ends all sessions of a user; those that ended.
    async fn logout_all(&self, user: UserId) -> Result<Vec<SessionId>, Refusal>;

    /// The sessions of a user that can still be refreshed, the newest first.
    async fn sessions(&self, user: UserId) -> Result<Vec<OpenSession>, Refusal>;

    /// The keys that verify access tokens now.
    async fn verification_keys(&self) -> Result<Vec<VerificationKey>, Refusal>;

    /// Sessions that were ended at or after `since`.
    async fn revocations(&self, since: Timestamp) -> Result<Vec<Revocation>, Refusal>;

    /// The keys of game servers that verify signatures now, with their secrets: for gateways only.
    async fn issuer_keys(&self) -> Result<Vec<IssuerKey>, Refusal>;
}
