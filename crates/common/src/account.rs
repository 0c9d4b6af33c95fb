//! Players' accounts and their sessions.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::ids::{SessionId, UserId, Username};
use crate::signature::SigningKey;

/// SHA-256 of a refresh token; the token itself is never stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RefreshHash(pub [u8; 32]);

/// An account as login reads it.
#[derive(Clone)]
pub struct Account {
    /// The player.
    pub user: UserId,
    /// The name as registered.
    pub username: Arc<str>,
    /// The argon2id hash in PHC form.
    pub password_hash: String,
}

/// A new account.
#[derive(Clone)]
pub struct NewAccount {
    /// Chosen by auth.
    pub user: UserId,
    /// Unique without case.
    pub username: Username,
    /// The argon2id hash in PHC form.
    pub password_hash: String,
    /// When.
    pub created_at: Timestamp,
}

/// A new session: the head of a token family.
#[derive(Clone)]
pub struct NewSession {
    /// Chosen by auth.
    pub session: SessionId,
    /// Whose.
    pub user: UserId,
    /// The hash that the password was compared with.
    pub password_hash: String,
    /// The first refresh token's hash.
    pub refresh_hash: RefreshHash,
    /// When.
    pub created_at: Timestamp,
    /// When its refresh token stops working.
    pub expires_at: Timestamp,
}

/// A wish to exchange a refresh token for its successor.
#[derive(Clone)]
pub struct RefreshRotation {
    /// The session that the token names.
    pub session: SessionId,
    /// The hash of what was shown.
    pub presented: RefreshHash,
    /// The hash of the successor.
    pub successor: RefreshHash,
    /// Now.
    pub now: Timestamp,
    /// When the successor stops working.
    pub expires_at: Timestamp,
    /// For how long the previous token, shown again, is taken for a lost answer and not for theft (RFC 9700
    /// allows a short grace). Milliseconds.
    pub grace_ms: i64,
}

/// What became of a rotation.
#[derive(Clone)]
pub enum Rotated {
    /// The successor is the session's token now, or already was (the previous token within the grace gets the
    /// same successor again, so that there is never a second chain).
    Successor {
        /// Whose session.
        user: UserId,
        /// The name as registered.
        username: Arc<str>,
    },
    /// A token of the session's past: the session is over.
    Reused,
    /// Unknown, expired or ended.
    Refused,
}

/// What login and refresh give. Its tokens are never printed.
#[derive(Clone)]
pub struct TokenGrant {
    /// The JWT.
    pub access_token: String,
    /// Opaque; exchanged once.
    pub refresh_token: String,
    /// Seconds that the access token lives.
    pub expires_in_s: u32,
    /// Seconds that the refresh token lives.
    pub refresh_expires_in_s: u32,
    /// The player.
    pub user: UserId,
    /// The name as registered.
    pub username: String,
    /// Signs the session's actions.
    pub signing_key: SigningKey,
}

impl std::fmt::Debug for TokenGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenGrant").field("user", &self.user).field("username", &self.username).finish_non_exhaustive()
    }
}

/// A session that ended before its tokens did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revocation {
    /// The session.
    pub session: SessionId,
    /// When it was ended.
    pub revoked_at: Timestamp,
}

/// A session that can still be refreshed, as its owner sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenSession {
    /// The session.
    pub session: SessionId,
    /// When its login was.
    pub created_at: Timestamp,
    /// When its tokens were last exchanged; its login if they never were.
    pub last_used_at: Timestamp,
    /// When its refresh token stops working.
    pub expires_at: Timestamp,
}

/// A wish to change a password. Never printed.
#[derive(Clone)]
pub struct PasswordChange {
    /// Whose.
    pub user: UserId,
    /// The hash that the current password was compared with.
    pub from_hash: String,
    /// The new one's, in PHC form.
    pub to_hash: String,
    /// The session that goes on; all others end.
    pub keep: SessionId,
    /// Now.
    pub now: Timestamp,
}
