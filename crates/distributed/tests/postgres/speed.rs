//! How fast batches are applied; run by hand:
//! `cargo test --release -p distributed --test postgres -- --ignored --nocapture speed`.

use std::time::{Duration, Instant};

use common::ports::Ledger;
use common::score_update::ScoreUpdate;
use testkit::fixtures::{noon, players, update};

use crate::database::store;

const PLAYERS: usize = 2000;
const BATCH: usize = 100;
const FOR: Duration = Duration::from_secs(10);

#[tokio::test]
#[ignore = "a measurement"]
async fn speed_of_batches_of_100_one_after_the_other() {
    let (database, store) = store().await;
    let players = players(&store, PLAYERS).await;
    let (mut applied, mut slowest) = (0_usize, Duration::ZERO);
    let mut spent = Duration::ZERO;
    while spent < FOR {
        let batch: Vec<ScoreUpdate> = (applied..applied + BATCH)
            // A stride that is coprime to the number of players, so that neighbours in a batch are not neighbours.
            .map(|n| update(players[n * 997 % PLAYERS].user, &format!("action-{n}")).key(&format!("key-{n}")).build())
            .collect();
        let began = Instant::now();
        store.apply_batch(&batch, noon()).await.unwrap();
        let took = began.elapsed();
        (applied, spent, slowest) = (applied + BATCH, spent + took, slowest.max(took));
    }
    let rate = applied as f64 / spent.as_secs_f64();
    let mean = spent.as_secs_f64() * 1000.0 / (applied / BATCH) as f64;
    let rewritten = "SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE n_tup_upd > 0 ORDER BY 1";
    for row in database.operator().await.query(rewritten, &[]).await.unwrap() {
        let (table, all, in_place): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        println!("{table}: {all} rows rewritten, {in_place} in place (HOT)");
    }
    println!("{applied} updates: {rate:.0}/s, {mean:.2} ms a batch, slowest {slowest:.2?}");
}
