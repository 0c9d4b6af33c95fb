//! Where auth keeps accounts and sessions.

use async_trait::async_trait;

use super::StoreError;
use crate::account::{
    Account, NewAccount, NewSession, OpenSession, PasswordChange, RefreshRotation, Revocation, Rotated,
};
use crate::clock::Timestamp;
use crate::ids::{SessionId, UserId};

/// The most sessions that a list holds.
pub const SESSIONS_LISTED: usize = 100;

/// What became of a registration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccountCreated {
    /// The account exists now.
    Created,
    /// Somebody has that name, in whatever case.
    UsernameTaken,
}

/// Accounts and sessions; auth is its only user.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Creates an account.
    async fn create(&self, account: NewAccount) -> Result<AccountCreated, StoreError>;

    /// Finds an account by its name, without case.
    async fn find(&self, username: &str) -> Result<Option<Account>, StoreError>;

    /// Opens a session. `false`: the password is another one by now, or nobody's; nothing happened. A change of the
    /// password that runs at the same time either comes first, or ends this session with the others.
    async fn open_session(&self, session: NewSession) -> Result<bool, StoreError>;

    /// Exchanges a refresh token in one transaction; two that race get the same successor.
    async fn rotate(&self, rotation: RefreshRotation) -> Result<Rotated, StoreError>;

    /// Ends a session. `false`: unknown, or ended before.
    async fn revoke(&self, session: SessionId, now: Timestamp) -> Result<bool, StoreError>;

    /// Sessions that were ended at or after `since`: what a node reads that may have missed some.
    async fn revocations(&self, since: Timestamp) -> Result<Vec<Revocation>, StoreError>;

    /// Sets a password and ends all sessions of the user but one, in one transaction; the sessions that ended with it.
    /// `None`: the password is another one by now, nothing happened.
    async fn change_password(&self, change: PasswordChange) -> Result<Option<Vec<SessionId>>, StoreError>;

    /// Ends all sessions of a user; those that had not ended before.
    async fn revoke_all(&self, user: UserId, now: Timestamp) -> Result<Vec<SessionId>, StoreError>;

    /// The sessions of a user that have neither ended nor expired at `now`, the newest first, at most
    /// [`SESSIONS_LISTED`].
    async fn sessions(&self, user: UserId, now: Timestamp) -> Result<Vec<OpenSession>, StoreError>;

    /// The name of a user. `None`: no such user.
    async fn username(&self, user: UserId) -> Result<Option<String>, StoreError>;
}
