//! Refresh rotation where PostgreSQL's locks matter, and texts that it cannot hold.

use common::account::{NewSession, RefreshHash, RefreshRotation, Rotated};
use common::ids::SessionId;
use common::ports::Accounts;
use distributed::postgres::PgStore;
use testkit::fixtures::{PASSWORD_HASH, noon, players, session_id};

use crate::database::store;

const GRACE_MS: i64 = 10_000;

fn hash(n: u8) -> RefreshHash {
    RefreshHash([n; 32])
}

async fn session(store: &PgStore) -> SessionId {
    let (session, user) = (session_id(), players(store, 1).await[0].user);
    let (created_at, expires_at) = (noon(), noon().plus_millis(86_400_000));
    let password_hash = PASSWORD_HASH.to_owned();
    let new = NewSession { session, user, password_hash, refresh_hash: hash(1), created_at, expires_at };
    assert!(store.open_session(new).await.unwrap());
    session
}

async fn rotate(store: &PgStore, session: SessionId, presented: u8, successor: u8, after_ms: i64) -> &'static str {
    let now = noon().plus_millis(after_ms);
    let (presented, successor, expires_at) = (hash(presented), hash(successor), now.plus_millis(86_400_000));
    let rotation = RefreshRotation { session, presented, successor, now, expires_at, grace_ms: GRACE_MS };
    match store.rotate(rotation).await.unwrap() {
        Rotated::Successor { .. } => "successor",
        Rotated::Reused => "reused",
        Rotated::Refused => "refused",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotations_of_one_token_at_once_get_one_successor() {
    let (_database, store) = store().await;
    let session = session(&store).await;
    let racing: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { rotate(&store, session, 1, 2, 0).await })
        })
        .collect();
    for racer in racing {
        assert_eq!(racer.await.unwrap(), "successor");
    }
    assert_eq!(rotate(&store, session, 2, 3, 1).await, "successor");
}

#[tokio::test]
async fn the_previous_token_works_through_its_grace_and_ends_the_session_after_it() {
    let (_database, store) = store().await;
    let session = session(&store).await;
    assert_eq!(rotate(&store, session, 1, 2, 0).await, "successor");
    assert_eq!(rotate(&store, session, 1, 2, GRACE_MS).await, "successor");
    assert_eq!(rotate(&store, session, 1, 2, GRACE_MS + 1).await, "reused");
    assert_eq!(rotate(&store, session, 2, 3, GRACE_MS + 2).await, "refused");
    let revocations = store.revocations(noon()).await.unwrap();
    assert_eq!(revocations.len(), 1);
    assert_eq!(revocations[0].revoked_at, noon().plus_millis(GRACE_MS + 1));
}

#[tokio::test]
async fn the_previous_token_never_opens_a_second_chain() {
    let (_database, store) = store().await;
    let session = session(&store).await;
    assert_eq!(rotate(&store, session, 1, 2, 0).await, "successor");
    assert_eq!(rotate(&store, session, 1, 9, 1).await, "reused");
    assert_eq!(rotate(&store, session, 2, 3, 2).await, "refused");
}

#[tokio::test]
async fn a_name_that_no_account_can_have_is_absent_and_no_error() {
    let (_database, store) = store().await;
    for name in ["", "nul\0byte", "Ünïcode", "x' OR 'a'='a", &"long".repeat(1000)] {
        assert!(store.find(name).await.unwrap().is_none(), "{name:?}");
    }
}

/// Only tokens that auth made get this far (it checks their MAC first), so one that is neither the current nor the
/// previous one is of the session's past.
#[tokio::test]
async fn a_token_that_is_neither_current_nor_previous_ends_the_session() {
    let (_database, store) = store().await;
    let session = session(&store).await;
    assert_eq!(rotate(&store, session, 77, 78, 0).await, "reused");
    assert_eq!(rotate(&store, session, 1, 2, 1).await, "refused");
    assert_eq!(rotate(&store, session_id(), 1, 2, 0).await, "refused");
}
