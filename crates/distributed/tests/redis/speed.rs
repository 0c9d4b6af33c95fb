//! How fast changes are projected; run by hand:
//! `cargo test --release -p distributed --test redis -- --ignored --nocapture speed`.

use std::time::{Duration, Instant};

use common::ports::{Projected, RankIndex};
use common::standing::ScoreRow;
use common::state::Version;
use distributed::redis::RedisRanks;
use testkit::fixtures::{board_id, change, epoch, row, seeded_user};
use uuid::Uuid;

use crate::server::{PrivateServer, ask};

const PLAYERS: usize = 100_000;
const FOR: Duration = Duration::from_secs(5);

#[tokio::test]
#[ignore = "a measurement"]
async fn speed_of_changes_on_a_board_of_100_000_players() {
    let server = PrivateServer::start().await;
    let (ranks, board, filler) = (RedisRanks::new(server.link()), board_id(), Uuid::new_v4());
    let rows: Vec<ScoreRow> =
        (0..PLAYERS).map(|n| row(seeded_user(n), (n * 7_919 % 50_000) as i64, n as u64 + 1)).collect();
    let mut head = PLAYERS as u64;
    let began = Instant::now();
    ranks.begin_fill(&board, &epoch("e1"), Version(head), filler).await.unwrap();
    for page in rows.chunks(5_000) {
        ranks.fill(&board, filler, page).await.unwrap();
    }
    let state = change(&board, 0, head, vec![]).state();
    ranks.finish_fill(&board, filler, &state).await.unwrap();
    println!("filled with {PLAYERS} players in {:.2?}", began.elapsed());
    let mut redis = server.operator().await;
    for size in [1, 10, 100, 500] {
        ask::<()>(&mut redis, "CONFIG RESETSTAT").await;
        let (mut calls, mut spent, mut slowest) = (0_u32, Duration::ZERO, Duration::ZERO);
        while spent < FOR {
            let rows = (0..size)
                .map(|n| {
                    let version = head + n as u64 + 1;
                    row(seeded_user(version as usize * 997 % PLAYERS), (version * 31 % 60_000) as i64, version)
                })
                .collect();
            let change = change(&board, head, head + size as u64, rows);
            let began = Instant::now();
            assert!(matches!(ranks.apply(&change).await.unwrap(), Projected::Standing(_)));
            let took = began.elapsed();
            head += size as u64;
            (calls, spent, slowest) = (calls + 1, spent + took, slowest.max(took));
        }
        let stats: String = ask(&mut redis, "INFO commandstats").await;
        let inside = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:")).unwrap_or_default();
        let inside = inside.split("usec_per_call=").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default();
        println!("{size} rows: {:.2?} a call, {inside} us of it in redis, slowest {slowest:.2?}", spent / calls);
    }
    let began = Instant::now();
    for n in 0..1_000 {
        ranks.neighborhood(&board, seeded_user(n), 5).await.unwrap();
    }
    println!("a neighborhood of 11: {:.2?}", began.elapsed() / 1_000);
    let began = Instant::now();
    for _ in 0..1_000 {
        ranks.top(&board, 100).await.unwrap();
    }
    println!("a top of 100: {:.2?}", began.elapsed() / 1_000);
}
