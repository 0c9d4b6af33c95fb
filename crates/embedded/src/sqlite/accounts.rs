//! Accounts and sessions.

use async_trait::async_trait;
use common::account::{
    Account, NewAccount, NewSession, OpenSession, PasswordChange, RefreshHash, RefreshRotation, Revocation, Rotated,
};
use common::clock::Timestamp;
use common::ids::{SessionId, UserId};
use common::ports::{AccountCreated, Accounts, SESSIONS_LISTED, StoreError};
use rusqlite::{Connection, OptionalExtension, params};

use super::columns;
use super::failure::Failure;
use super::store::SqliteStore;

#[async_trait]
impl Accounts for SqliteStore {
    async fn create(&self, account: NewAccount) -> Result<AccountCreated, StoreError> {
        self.writer.run(move |connection| create(connection, &account)).await
    }

    async fn find(&self, username: &str) -> Result<Option<Account>, StoreError> {
        let folded = username.to_ascii_lowercase();
        self.readers.run(move |connection| find(connection, &folded)).await
    }

    async fn open_session(&self, session: NewSession) -> Result<bool, StoreError> {
        self.writer.run(move |connection| open_session(connection, &session)).await
    }

    async fn rotate(&self, rotation: RefreshRotation) -> Result<Rotated, StoreError> {
        self.writer.run(move |connection| rotate(connection, &rotation)).await
    }

    async fn revoke(&self, session: SessionId, now: Timestamp) -> Result<bool, StoreError> {
        self.writer.run(move |connection| revoke(connection, session, now)).await
    }

    async fn revocations(&self, since: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        self.readers.run(move |connection| revocations(connection, since)).await
    }

    async fn change_password(&self, change: PasswordChange) -> Result<Option<Vec<SessionId>>, StoreError> {
        self.writer.run(move |connection| change_password(connection, &change)).await
    }

    async fn revoke_all(&self, user: UserId, now: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        self.writer.run(move |connection| revoke_all(connection, user, None, now)).await
    }

    async fn sessions(&self, user: UserId, now: Timestamp) -> Result<Vec<OpenSession>, StoreError> {
        self.readers.run(move |connection| sessions(connection, user, now)).await
    }

    async fn username(&self, user: UserId) -> Result<Option<String>, StoreError> {
        self.readers.run(move |connection| username(connection, user)).await
    }
}

fn create(connection: &Connection, account: &NewAccount) -> Result<AccountCreated, Failure> {
    let inserted = connection
        .prepare_cached(
            "INSERT INTO users (id, username, username_folded, password_hash, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (username_folded) DO NOTHING",
        )?
        .execute(params![
            account.user.0,
            account.username.as_str(),
            account.username.folded(),
            account.password_hash,
            account.created_at.as_millis(),
        ])?;
    Ok(if inserted == 1 { AccountCreated::Created } else { AccountCreated::UsernameTaken })
}

fn find(connection: &Connection, folded: &str) -> Result<Option<Account>, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT id, username, password_hash FROM users WHERE username_folded = ?1")?;
    let mut rows = statement.query([folded])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (user, username) = (columns::user(row, 0)?, columns::name(row, 1)?);
    Ok(Some(Account { user, username, password_hash: row.get(2)? }))
}

fn open_session(connection: &Connection, session: &NewSession) -> Result<bool, Failure> {
    let opened = connection
        .prepare_cached(
            "INSERT INTO sessions (id, user, current_hash, created_at, expires_at)
             SELECT ?1, id, ?3, ?4, ?5 FROM users WHERE id = ?2 AND password_hash = ?6",
        )?
        .execute(params![
            session.session.0,
            session.user.0,
            session.refresh_hash.0,
            session.created_at.as_millis(),
            session.expires_at.as_millis(),
            session.password_hash,
        ])?;
    Ok(opened == 1)
}

/// A session that is neither ended nor expired.
struct Live {
    user: UserId,
    username: std::sync::Arc<str>,
    current: RefreshHash,
    previous: Option<RefreshHash>,
    rotated_at: Option<Timestamp>,
}

fn live_session(connection: &Connection, session: SessionId, now: Timestamp) -> Result<Option<Live>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT s.user, u.username, s.current_hash, s.previous_hash, s.rotated_at
         FROM sessions AS s JOIN users AS u ON u.id = s.user
         WHERE s.id = ?1 AND s.revoked_at IS NULL AND s.expires_at > ?2",
    )?;
    let mut rows = statement.query(params![session.0, now.as_millis()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Live {
        user: columns::user(row, 0)?,
        username: columns::name(row, 1)?,
        current: columns::refresh_hash(row, 2)?,
        previous: columns::optional_refresh_hash(row, 3)?,
        rotated_at: columns::optional_time(row, 4)?,
    }))
}

fn rotate(connection: &Connection, rotation: &RefreshRotation) -> Result<Rotated, Failure> {
    let Some(live) = live_session(connection, rotation.session, rotation.now)? else { return Ok(Rotated::Refused) };
    if live.current == rotation.presented {
        connection
            .prepare_cached(
                "UPDATE sessions SET previous_hash = current_hash, current_hash = ?2, rotated_at = ?3, expires_at = ?4
                 WHERE id = ?1",
            )?
            .execute(params![
                rotation.session.0,
                rotation.successor.0,
                rotation.now.as_millis(),
                rotation.expires_at.as_millis(),
            ])?;
    } else if !is_lost_answer(&live, rotation) {
        // A token of the past, however it came to be shown again: nobody can tell the thief from the owner.
        revoke(connection, rotation.session, rotation.now)?;
        return Ok(Rotated::Reused);
    }
    Ok(Rotated::Successor { user: live.user, username: live.username })
}

/// The previous token, shown again within the grace by somebody whose answer was lost: the successor is known and is
/// the session's token already, so giving it again makes no second chain.
fn is_lost_answer(live: &Live, rotation: &RefreshRotation) -> bool {
    live.previous == Some(rotation.presented)
        && live.current == rotation.successor
        && live.rotated_at.is_some_and(|rotated_at| rotation.now.millis_since(rotated_at) <= rotation.grace_ms)
}

fn revoke(connection: &Connection, session: SessionId, now: Timestamp) -> Result<bool, Failure> {
    let ended = connection
        .prepare_cached("UPDATE sessions SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL")?
        .execute(params![session.0, now.as_millis()])?;
    Ok(ended == 1)
}

fn revocations(connection: &Connection, since: Timestamp) -> Result<Vec<Revocation>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT id, revoked_at FROM sessions WHERE revoked_at IS NOT NULL AND revoked_at >= ?1 ORDER BY revoked_at",
    )?;
    let revocations = statement.query_and_then([since.as_millis()], |row| {
        Ok(Revocation { session: columns::session(row, 0)?, revoked_at: columns::time(row, 1)? })
    })?;
    revocations.collect()
}

fn change_password(connection: &Connection, change: &PasswordChange) -> Result<Option<Vec<SessionId>>, Failure> {
    let changed = connection
        .prepare_cached("UPDATE users SET password_hash = ?3 WHERE id = ?1 AND password_hash = ?2")?
        .execute(params![change.user.0, change.from_hash, change.to_hash])?;
    if changed == 0 {
        return Ok(None);
    }
    revoke_all(connection, change.user, Some(change.keep), change.now).map(Some)
}

fn revoke_all(
    connection: &Connection,
    user: UserId,
    keep: Option<SessionId>,
    now: Timestamp,
) -> Result<Vec<SessionId>, Failure> {
    let mut statement = connection.prepare_cached(
        "UPDATE sessions SET revoked_at = ?3
         WHERE user = ?1 AND revoked_at IS NULL AND (?2 IS NULL OR id <> ?2) RETURNING id",
    )?;
    let ended = statement.query_and_then(params![user.0, keep.map(|session| session.0), now.as_millis()], |row| {
        columns::session(row, 0)
    })?;
    ended.collect()
}

fn sessions(connection: &Connection, user: UserId, now: Timestamp) -> Result<Vec<OpenSession>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT id, created_at, coalesce(rotated_at, created_at), expires_at FROM sessions
         WHERE user = ?1 AND revoked_at IS NULL AND expires_at > ?2 ORDER BY created_at DESC, id LIMIT ?3",
    )?;
    let open = statement.query_and_then(params![user.0, now.as_millis(), SESSIONS_LISTED as i64], |row| {
        Ok(OpenSession {
            session: columns::session(row, 0)?,
            created_at: columns::time(row, 1)?,
            last_used_at: columns::time(row, 2)?,
            expires_at: columns::time(row, 3)?,
        })
    })?;
    open.collect()
}

fn username(connection: &Connection, user: UserId) -> Result<Option<String>, Failure> {
    let mut statement = connection.prepare_cached("SELECT username FROM users WHERE id = ?1")?;
    Ok(statement.query_row([user.0], |row| row.get(0)).optional()?)
}
