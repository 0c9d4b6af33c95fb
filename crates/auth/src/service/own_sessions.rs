//! What a player does with the account's sessions as a whole: list them, end them, change the password.

use common::account::{OpenSession, PasswordChange, Revocation};
use common::clock::Timestamp;
use common::error_code::{ErrorCode, Refusal};
use common::ids::{SessionId, UserId, Username};
use futures_util::future::join_all;

use super::{ANNOUNCE_DEADLINE, AuthService, refuse_hash};
use crate::password_rules::check_new_password;
use crate::store_calls::ask;

/// Announcements that are under way at a time.
const ANNOUNCED_AT_ONCE: usize = 64;

impl AuthService {
    pub(super) async fn set_password(
        &self,
        user: UserId,
        session: SessionId,
        current_password: &str,
        new_password: &str,
    ) -> Result<Vec<SessionId>, Refusal> {
        let wrong = || Refusal::new(ErrorCode::InvalidCredentials, "the current password is wrong");
        let name = ask("read a name", || self.accounts.username(user)).await?.ok_or_else(wrong)?;
        let username = Username::parse(&name)?;
        check_new_password(&username, new_password).map_err(|refusal| refusal.with_field("newPassword"))?;
        let account = ask("find an account", || self.accounts.find(&name)).await?.ok_or_else(wrong)?;
        let from_hash = account.password_hash;
        if !self.passwords.verify(current_password, Some(from_hash.clone())).await.map_err(refuse_hash)? {
            tracing::info!(security_event = "password_change_refused", user_id = %user, "the current password is wrong");
            return Err(wrong());
        }
        let to_hash = self.passwords.hash(new_password).await.map_err(refuse_hash)?;
        let now = self.clock.now();
        let change = PasswordChange { user, from_hash, to_hash, keep: session, now };
        // Somebody else may have changed it since it was compared: then what was shown is not the password any more.
        let ended =
            ask("change a password", || self.accounts.change_password(change.clone())).await?.ok_or_else(wrong)?;
        tracing::info!(security_event = "password_changed", user_id = %user, ended = ended.len(), "password changed");
        self.announce_all(&ended, now).await;
        Ok(ended)
    }

    pub(super) async fn end_all_sessions(&self, user: UserId) -> Result<Vec<SessionId>, Refusal> {
        let now = self.clock.now();
        let ended = ask("end all sessions", || self.accounts.revoke_all(user, now)).await?;
        tracing::info!(user_id = %user, ended = ended.len(), "logout everywhere");
        self.announce_all(&ended, now).await;
        Ok(ended)
    }

    pub(super) async fn open_sessions_of(&self, user: UserId) -> Result<Vec<OpenSession>, Refusal> {
        let now = self.clock.now();
        ask("list sessions", || self.accounts.sessions(user, now)).await
    }

    /// However many they are, the answer waits for them no longer than for one: nodes read the rest from the store.
    async fn announce_all(&self, sessions: &[SessionId], revoked_at: Timestamp) {
        let announcing = async {
            for some in sessions.chunks(ANNOUNCED_AT_ONCE) {
                join_all(some.iter().map(|&session| self.announce(Revocation { session, revoked_at }))).await;
            }
        };
        if tokio::time::timeout(ANNOUNCE_DEADLINE * 2, announcing).await.is_err() {
            tracing::warn!(sessions = sessions.len(), "nodes were not told of all ended sessions in time");
        }
    }
}
