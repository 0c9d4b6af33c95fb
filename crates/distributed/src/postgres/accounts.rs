//! Accounts and sessions.

use std::sync::Arc;

use async_trait::async_trait;
use common::account::{
    Account, NewAccount, NewSession, OpenSession, PasswordChange, RefreshRotation, Revocation, Rotated,
};
use common::clock::Timestamp;
use common::ids::{SessionId, UserId, Username};
use common::ports::{AccountCreated, Accounts, SESSIONS_LISTED, StoreError};
use tokio_postgres::Row;

use super::facts::BEGIN;
use super::lease::{Lease, Params};
use super::values::{PgTime, column, time};
use super::{PgStore, statements};

#[async_trait]
impl Accounts for PgStore {
    async fn create(&self, account: NewAccount) -> Result<AccountCreated, StoreError> {
        let NewAccount { user, username, password_hash, created_at } = account;
        let params: &Params<'_> = &[&user.0, &username.as_str(), &password_hash, &PgTime(created_at)];
        let added = self.change(statements::CREATE_ACCOUNT, params).await?;
        Ok(if added == 1 { AccountCreated::Created } else { AccountCreated::UsernameTaken })
    }

    async fn find(&self, username: &str) -> Result<Option<Account>, StoreError> {
        // Nobody can be registered under anything else, and not every text is one to PostgreSQL (a NUL byte is not).
        if Username::parse(username).is_err() {
            return Ok(None);
        }
        let rows = self.rows(statements::FIND_ACCOUNT, &[&username]).await?;
        let account = |row: &Row| {
            Ok(Account {
                user: UserId(column(row, 0)?),
                username: Arc::from(column::<&str>(row, 1)?),
                password_hash: column(row, 2)?,
            })
        };
        rows.first().map(account).transpose()
    }

    async fn open_session(&self, session: NewSession) -> Result<bool, StoreError> {
        let NewSession { session, user, password_hash, refresh_hash, created_at, expires_at } = session;
        let (created_at, expires_at) = (PgTime(created_at), PgTime(expires_at));
        let params: &Params<'_> =
            &[&session.0, &user.0, &refresh_hash.0.as_slice(), &created_at, &expires_at, &password_hash];
        Ok(self.change(statements::OPEN_SESSION, params).await? == 1)
    }

    async fn rotate(&self, rotation: RefreshRotation) -> Result<Rotated, StoreError> {
        self.counted(match self.lease().await {
            Ok(lease) => rotate_under_lock(lease, &rotation).await,
            Err(error) => Err(error),
        })
    }

    async fn revoke(&self, session: SessionId, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.change(statements::REVOKE_SESSION, &[&session.0, &PgTime(now)]).await? == 1)
    }

    async fn revocations(&self, since: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        let rows = self.rows(statements::REVOCATIONS, &[&PgTime(since)]).await?;
        rows.iter()
            .map(|row| Ok(Revocation { session: SessionId(column(row, 0)?), revoked_at: time(row, 1)? }))
            .collect()
    }

    async fn change_password(&self, change: PasswordChange) -> Result<Option<Vec<SessionId>>, StoreError> {
        self.counted(match self.lease().await {
            Ok(lease) => change_in_transaction(lease, &change).await,
            Err(error) => Err(error),
        })
    }

    async fn revoke_all(&self, user: UserId, now: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        let nobody: Option<uuid::Uuid> = None;
        session_ids(&self.rows(statements::REVOKE_SESSIONS, &[&user.0, &nobody, &PgTime(now)]).await?)
    }

    async fn sessions(&self, user: UserId, now: Timestamp) -> Result<Vec<OpenSession>, StoreError> {
        let params: &Params<'_> = &[&user.0, &PgTime(now), &(SESSIONS_LISTED as i64)];
        let rows = self.rows(statements::OPEN_SESSIONS, params).await?;
        let open = |row: &Row| {
            Ok(OpenSession {
                session: SessionId(column(row, 0)?),
                created_at: time(row, 1)?,
                last_used_at: time(row, 2)?,
                expires_at: time(row, 3)?,
            })
        };
        rows.iter().map(open).collect()
    }

    async fn username(&self, user: UserId) -> Result<Option<String>, StoreError> {
        let rows = self.rows(statements::USERNAME, &[&user.0]).await?;
        rows.first().map(|row| column(row, 0)).transpose()
    }
}

impl PgStore {
    /// One statement that changes rows, in a transaction of its own; how many.
    pub(super) async fn change(&self, sql: &'static str, params: &Params<'_>) -> Result<u64, StoreError> {
        self.counted(match self.lease().await {
            Ok(lease) => lease.execute(sql, params).await,
            Err(error) => Err(error),
        })
    }
}

/// Two statements, because the second must see sessions that a login opened while the first waited for the user's row.
async fn change_in_transaction(lease: Lease, change: &PasswordChange) -> Result<Option<Vec<SessionId>>, StoreError> {
    lease.transaction_begins();
    lease.exchange(lease.client()?.batch_execute(BEGIN)).await?;
    let params: &Params<'_> = &[&change.user.0, &change.from_hash, &change.to_hash];
    let ended = if lease.execute(statements::CHANGE_PASSWORD, params).await? == 1 {
        let params: &Params<'_> = &[&change.user.0, &Some(change.keep.0), &PgTime(change.now)];
        Some(session_ids(&lease.query(statements::REVOKE_SESSIONS, params).await?)?)
    } else {
        None
    };
    lease.exchange(lease.client()?.batch_execute("COMMIT")).await?;
    lease.transaction_ended();
    Ok(ended)
}

fn session_ids(rows: &[Row]) -> Result<Vec<SessionId>, StoreError> {
    rows.iter().map(|row| Ok(SessionId(column(row, 0)?))).collect()
}

/// What a presented token means for its session.
enum Verdict {
    /// It is the session's token: the successor takes its place.
    Rotate,
    /// It was exchanged for this very successor a moment ago, and the answer got lost.
    Repeat,
    /// It belongs to the session's past: somebody else may hold it.
    End,
    /// The session is over.
    Refuse,
}

/// Two that race take turns on the session's row.
async fn rotate_under_lock(lease: Lease, rotation: &RefreshRotation) -> Result<Rotated, StoreError> {
    lease.transaction_begins();
    lease.exchange(lease.client()?.batch_execute(BEGIN)).await?;
    let rotated = match lease.query_opt(statements::LOCK_SESSION, &[&rotation.session.0]).await? {
        Some(row) => carry_out(&lease, &row, rotation).await?,
        None => Rotated::Refused,
    };
    lease.exchange(lease.client()?.batch_execute("COMMIT")).await?;
    lease.transaction_ended();
    Ok(rotated)
}

async fn carry_out(lease: &Lease, session: &Row, rotation: &RefreshRotation) -> Result<Rotated, StoreError> {
    let now = PgTime(rotation.now);
    match verdict(session, rotation)? {
        Verdict::Rotate => {
            let (successor, expires_at) = (rotation.successor.0.as_slice(), PgTime(rotation.expires_at));
            lease.execute(statements::ROTATE_SESSION, &[&rotation.session.0, &successor, &now, &expires_at]).await?;
        }
        Verdict::Repeat => {}
        Verdict::End => {
            lease.execute(statements::REVOKE_SESSION, &[&rotation.session.0, &now]).await?;
            return Ok(Rotated::Reused);
        }
        Verdict::Refuse => return Ok(Rotated::Refused),
    }
    Ok(Rotated::Successor { user: UserId(column(session, 0)?), username: Arc::from(column::<&str>(session, 1)?) })
}

/// Columns `user_id, username, current_hash, previous_hash, rotated_at, expires_at, revoked_at`.
fn verdict(session: &Row, rotation: &RefreshRotation) -> Result<Verdict, StoreError> {
    let (current, previous): (&[u8], Option<&[u8]>) = (column(session, 2)?, column(session, 3)?);
    let rotated_at = column::<Option<PgTime>>(session, 4)?.map(|time| time.0);
    let revoked = column::<Option<PgTime>>(session, 6)?.is_some();
    if revoked || time(session, 5)? <= rotation.now {
        return Ok(Verdict::Refuse);
    }
    if current == rotation.presented.0 {
        return Ok(Verdict::Rotate);
    }
    let in_grace = rotated_at.is_some_and(|at| rotation.now.millis_since(at) <= rotation.grace_ms);
    let same_again = previous == Some(rotation.presented.0.as_slice()) && current == rotation.successor.0;
    Ok(if same_again && in_grace { Verdict::Repeat } else { Verdict::End })
}
