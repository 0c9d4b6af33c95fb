//! What every [`Housekeeping`] must do. The past that it forgets is long before that of any other suite, so a database may be
//! shared.

use std::any::Any;
use std::sync::Arc;

use common::account::{NewSession, RefreshHash, RefreshRotation, Rotated};
use common::clock::{Timestamp, UtcDay};
use common::error_code::ErrorCode;
use common::ids::{SessionId, UserId};
use common::ports::{Accounts, Housekeeping, Ledger, StoreError};
use common::receipt::{Outcome, ReceiptStatus};
use uuid::Uuid;

use super::ledger_and_truth::BoardMaker;
use crate::fixtures::{PASSWORD_HASH, board_id, noon, players, rules, session_id, update};

/// The store under test.
pub struct Fixture {
    /// It.
    pub housekeeping: Arc<dyn Housekeeping>,
    /// Where its sessions are opened.
    pub accounts: Arc<dyn Accounts>,
    /// Where its sums come from.
    pub ledger: Arc<dyn Ledger>,
    /// Where its boards are made.
    pub boards: Arc<dyn BoardMaker>,
    /// What it stands on, dropped with it.
    pub guard: Box<dyn Any + Send + Sync>,
}

/// A test of each case of the suite.
#[macro_export]
macro_rules! housekeeping_contract {
    ($fixture:path) => {
        $crate::contract_tests!(
            housekeeping as housekeeping_contract,
            $fixture,
            [
                expired_sessions_are_forgotten_in_batches_and_no_others,
                an_ended_session_is_remembered_until_it_would_have_expired,
                daily_sums_are_forgotten_when_their_day_is_past,
            ]
        );
    };
}

const DAY_MS: i64 = 24 * 3_600_000;

/// Long before everything else.
fn long_ago() -> Timestamp {
    noon().plus_millis(-7_000 * DAY_MS)
}

fn token() -> RefreshHash {
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(Uuid::new_v4().as_bytes());
    RefreshHash(hash)
}

async fn open(fixture: &Fixture, user: UserId, expires_at: Timestamp) -> (SessionId, RefreshHash) {
    let (session, refresh_hash) = (session_id(), token());
    let password_hash = PASSWORD_HASH.to_owned();
    let created_at = long_ago();
    let opened = NewSession { session, user, password_hash, refresh_hash, created_at, expires_at };
    assert!(fixture.accounts.open_session(opened).await.expect("open_session"));
    (session, refresh_hash)
}

/// Everything there is, in batches of at most two; how many.
async fn all<F: Future<Output = Result<usize, StoreError>>>(mut forget: impl FnMut() -> F) -> usize {
    let mut forgotten = 0;
    loop {
        let batch = forget().await.expect("it forgets");
        assert!(batch <= 2, "{batch} rows at once");
        forgotten += batch;
        if batch == 0 {
            return forgotten;
        }
    }
}

/// Those that expired before the moment; one that was refreshed since lives on.
pub async fn expired_sessions_are_forgotten_in_batches_and_no_others(fixture: &Fixture) {
    let user = players(&*fixture.accounts, 1).await[0].user;
    let expired = long_ago().plus_millis(DAY_MS);
    for _ in 0..5 {
        open(fixture, user, expired).await;
    }
    let (live, first) = open(fixture, user, expired.plus_millis(DAY_MS)).await;
    let second = token();
    let rotate = async |presented: RefreshHash, successor: RefreshHash, now: Timestamp| {
        let expires_at = noon().plus_millis(DAY_MS);
        let rotation = RefreshRotation { session: live, presented, successor, now, expires_at, grace_ms: 0 };
        matches!(fixture.accounts.rotate(rotation).await.unwrap(), Rotated::Successor { .. })
    };
    assert!(rotate(first, second, expired).await);
    let forget = |before: Timestamp| all(move || fixture.housekeeping.forget_sessions(before, 2));
    forget(expired).await;
    assert!(forget(expired.plus_millis(1)).await >= 5, "not before they expired, and then all");
    assert_eq!(forget(expired.plus_millis(3 * DAY_MS)).await, 0, "the refreshed one expires later");
    assert!(rotate(second, token(), noon()).await, "it lives on");
}

/// Nodes that come back ask which sessions were ended while their tokens might live.
pub async fn an_ended_session_is_remembered_until_it_would_have_expired(fixture: &Fixture) {
    let user = players(&*fixture.accounts, 1).await[0].user;
    let (ended_at, expires_at) = (long_ago().plus_millis(1_000), long_ago().plus_millis(5 * DAY_MS));
    let (session, _) = open(fixture, user, expires_at).await;
    assert!(fixture.accounts.revoke(session, ended_at).await.unwrap());
    let is_told = async || {
        let told = fixture.accounts.revocations(ended_at).await.unwrap();
        told.iter().any(|revocation| revocation.session == session)
    };
    all(|| fixture.housekeeping.forget_sessions(expires_at, 2)).await;
    assert!(is_told().await);
    all(|| fixture.housekeeping.forget_sessions(expires_at.plus_millis(1), 2)).await;
    assert!(!is_told().await, "forgotten");
}

/// The cap of a day holds as long as its sum is kept.
pub async fn daily_sums_are_forgotten_when_their_day_is_past(fixture: &Fixture) {
    let board = board_id();
    fixture.boards.make(&board, &rules()).await;
    let users = players(&*fixture.accounts, 3).await;
    let (day, next) = (long_ago(), long_ago().plus_millis(DAY_MS));
    let act = async |user: UserId, action: &str, points: i64, now: Timestamp| {
        let update = update(user, action).board(&board).points(points).build();
        match fixture.ledger.apply_batch(&[update], now).await.unwrap().outcomes.remove(0) {
            Outcome::Applied { .. } => true,
            Outcome::Rejected { receipt, .. } => {
                assert_eq!(receipt.status, ReceiptStatus::Rejected(ErrorCode::DailyCapReached));
                false
            }
            other => panic!("{other:?}"),
        }
    };
    for player in &users {
        for (name, now) in [("day", day), ("next", next)] {
            assert!(act(player.user, &format!("all-{name}"), 1_000_000, now).await, "the whole cap of the day");
        }
    }
    let forget = |before: UtcDay| all(move || fixture.housekeeping.forget_daily_sums(before, 2));
    forget(day.utc_day()).await;
    for player in &users {
        assert!(!act(player.user, "too-much", 1, day).await, "the sums of the day itself are kept");
    }
    assert!(forget(next.utc_day()).await >= users.len());
    for player in &users {
        assert!(act(player.user, "nobody-knows", 1, day).await, "its sum is gone");
        assert!(!act(player.user, "still-too-much", 1, next).await, "that of the next day is kept");
    }
    forget(next.utc_day()).await;
}
