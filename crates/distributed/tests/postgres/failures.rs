//! What callers are told when the server is away, slow or refuses, and that work goes on afterwards.

use std::time::{Duration, Instant};

use common::ids::{BoardId, UserId};
use common::ports::{Accounts, Dependency, Ledger, StoreError, Truth};
use common::receipt::Outcome;
use common::score_update::ScoreUpdate;
use distributed::postgres::PgStore;
use testkit::fixtures::{noon, players, update};
use testkit::proxy::Proxy;
use testkit::waiting::{SOON, eventually, within};
use tokio_postgres::Client;

use crate::database::{Database, connect};

/// A database, a store with one connection, and somebody who may score.
async fn one_connection() -> (Database, PgStore, UserId) {
    let database = Database::migrated().await;
    let store = database.store_with(|settings| {
        settings.pool_size = 1;
        settings.lock_timeout = Duration::from_millis(300);
    });
    let user = players(&store, 1).await[0].user;
    (database, store, user)
}

/// Sessions of the store in a state, as the server's views tell.
pub(crate) async fn sessions(client: &Client, condition: &str) -> Vec<i32> {
    let sql = format!(
        "SELECT pid FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'scoreboard-test' AND {condition}"
    );
    client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Holds the board so that an applier has to wait in the middle of its transaction.
async fn hold_board(client: &Client) {
    client.batch_execute("BEGIN; SELECT * FROM boards WHERE board = 'global' FOR UPDATE").await.unwrap();
}

async fn applies_once(store: &PgStore, batch: &[ScoreUpdate]) {
    let applied = store.apply_batch(batch, noon()).await.unwrap();
    assert!(matches!(applied.outcomes[0], Outcome::Applied { replayed: false, .. }), "{:?}", applied.outcomes);
    let digest = store.digest(&BoardId::global()).await.unwrap().unwrap();
    assert_eq!((digest.ledger_actions, digest.score_sum), (1, 1));
}

#[tokio::test]
async fn a_session_that_is_killed_in_flight_is_unavailable_and_the_next_batch_goes_on() {
    let (database, _, user) = one_connection().await;
    let store = database.store_with(|settings| settings.pool_size = 1);
    let (holder, watcher) = (database.operator().await, database.operator().await);
    let batch = vec![update(user, "once").build()];
    hold_board(&holder).await;
    let applying = tokio::spawn({
        let (store, batch) = (store.clone(), batch.clone());
        async move { store.apply_batch(&batch, noon()).await }
    });
    let pid = eventually(SOON, "the applier to wait for the board", || async {
        sessions(&watcher, "wait_event_type = 'Lock'").await.first().copied()
    })
    .await;
    watcher.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    let error = applying.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    holder.batch_execute("ROLLBACK").await.unwrap();
    applies_once(&store, &batch).await;
}

#[tokio::test]
async fn a_lock_that_is_not_granted_is_unavailable() {
    let (database, store, user) = one_connection().await;
    let holder = database.operator().await;
    let batch = [update(user, "once").build()];
    hold_board(&holder).await;
    let error = store.apply_batch(&batch, noon()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    holder.batch_execute("ROLLBACK").await.unwrap();
    applies_once(&store, &batch).await;
}

#[tokio::test]
async fn a_batch_that_nobody_waits_for_any_more_leaves_no_transaction_behind() {
    let (database, store, user) = one_connection().await;
    let (holder, watcher) = (database.operator().await, database.operator().await);
    let batch = [update(user, "once").build()];
    hold_board(&holder).await;
    tokio::select! {
        _ = store.apply_batch(&batch, noon()) => panic!("the board is held"),
        () = eventually(SOON, "the applier to wait", || async {
            !sessions(&watcher, "wait_event_type = 'Lock'").await.is_empty()
        }) => {}
    }
    holder.batch_execute("ROLLBACK").await.unwrap();
    // Before anybody uses the pool again, and before the server's own patience ends.
    eventually(Duration::from_secs(3), "no session to be inside a transaction", || async {
        sessions(&watcher, "state <> 'idle'").await.is_empty()
    })
    .await;
    applies_once(&store, &batch).await;
}

#[tokio::test]
async fn data_that_the_server_cannot_take_is_refused_and_harms_nobody_else() {
    let (_database, store, user) = one_connection().await;
    let bad = ScoreUpdate { request_id: "with a \0 inside".to_owned(), ..update(user, "bad").build() };
    let good = update(user, "good").build();
    let error = store.apply_batch(&[good.clone(), bad], noon()).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }) && !error.is_transient(), "{error:?}");
    applies_once(&store, &[good]).await;
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_unavailable() {
    let (database, _, user) = one_connection().await;
    let read_only = format!("{}?options=-c%20default_transaction_read_only%3Don", database.url);
    let store = database.store_with(|settings| settings.url = read_only);
    let error = store.apply_batch(&[update(user, "once").build()], noon()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_missing_schema_is_unavailable_until_it_is_there() {
    let database = Database::empty().await;
    let store = database.store();
    let error = store.heads().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    distributed::postgres::migrate(&database.url).await.unwrap();
    assert_eq!(store.heads().await.unwrap().len(), 1);
}

#[tokio::test]
async fn connections_that_died_in_the_pool_are_replaced() {
    let (database, store, _) = one_connection().await;
    let watcher = database.operator().await;
    for _ in 0..3 {
        store.heads().await.unwrap();
        for pid in sessions(&watcher, "true").await {
            watcher.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
        }
        // The news of the death may be younger than the question: then that one answer is Unavailable.
        eventually(Duration::from_secs(2), "an answer over a new connection", || async {
            store.heads().await.map_err(|error| error.to_string())
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_costs_no_more_than_the_patience_for_a_connection() {
    // Accepts connections and never answers: a partitioned or stopped server.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://u@{}/d", listener.local_addr().unwrap());
    let store = PgStore::new(distributed::postgres::PgSettings::new(url, "scoreboard-test")).unwrap();
    let began = Instant::now();
    let words = within(Duration::from_secs(1), "readiness", store.check()).await.unwrap_err();
    assert!(words.contains("no answer"), "{words}");
    let error = within(Duration::from_secs(4), "an error", store.heads()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?} after {:?}", began.elapsed());
}

/// Connections that lead nowhere without having been told so: the first silence is enough to doubt those that lie idle.
#[tokio::test]
async fn half_open_connections_cost_one_patience_and_not_one_each() {
    let database = Database::migrated().await;
    let proxy = Proxy::before(&database.url).await;
    let store = database.store_with(|settings| {
        settings.url = proxy.url();
        settings.pool_size = 4;
        settings.statement_timeout = Duration::from_secs(1);
    });
    let user = players(&store, 1).await[0].user;
    let all_at_once = (0..8).map(|_| store.heads());
    futures_util::future::try_join_all(all_at_once).await.unwrap();
    assert_eq!(proxy.connections(), 4, "every connection was used");
    proxy.lose(true);
    proxy.lose(false);
    let batch = [update(user, "once").build()];
    let patience = Duration::from_millis(2_000 + 500);
    let error = within(patience, "an error", store.apply_batch(&batch, noon())).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    within(patience, "a commit", applies_once(&store, &batch)).await;

    // As a worker does, which gives up before the store does.
    futures_util::future::try_join_all((0..8).map(|_| store.heads())).await.unwrap();
    proxy.lose(true);
    proxy.lose(false);
    let gave_up = tokio::time::timeout(Duration::from_millis(1_500), store.apply_batch(&batch, noon())).await;
    assert!(gave_up.is_err(), "{gave_up:?}");
    let again = within(patience, "an answer", store.apply_batch(&batch, noon())).await.unwrap();
    assert!(matches!(again.outcomes[0], Outcome::Applied { .. }), "{again:?}");
}

#[tokio::test]
async fn more_callers_than_connections_wait_their_turn_and_not_for_ever() {
    let (database, _, user) = one_connection().await;
    let store = database.store_with(|settings| {
        settings.pool_size = 1;
        settings.wait_timeout = Duration::from_millis(200);
    });
    let (holder, watcher) = (database.operator().await, connect(&database.url).await);
    hold_board(&holder).await;
    let applying = tokio::spawn({
        let store = store.clone();
        async move { store.apply_batch(&[update(user, "once").build()], noon()).await }
    });
    eventually(SOON, "the only connection to be busy", || async {
        !sessions(&watcher, "wait_event_type = 'Lock'").await.is_empty()
    })
    .await;
    let error = store.username(user).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    holder.batch_execute("ROLLBACK").await.unwrap();
    applying.await.unwrap().unwrap();
    assert!(store.username(user).await.unwrap().is_some());
}
