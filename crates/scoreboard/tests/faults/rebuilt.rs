//! Ranks that are wrong are told by `verify` and rebuilt while updates run.

use std::time::Duration;

use deadpool_redis::redis;

use crate::instance::Instance;
use crate::load::Load;

#[tokio::test(flavor = "multi_thread")]
async fn ranks_that_somebody_spoiled_are_told_and_rebuilt_while_updates_run() {
    let instance = Instance::start("rebuilt");
    let deployment = instance.four_processes().await;
    let load = Load::start(&deployment, 20, 100).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // A player who does not exist, in order and with a line of its own: what contradicts itself heals by itself.
    let place = deployment.place.as_ref().unwrap();
    let client = redis::Client::open(place.redis_url.clone()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let ghost = uuid::Uuid::new_v4();
    let mut spoil = redis::pipe();
    spoil.cmd("ZADD").arg("leaderboard:{global}:scores").arg(500_000).arg(format!("fffffffffffffffe:{ghost}")).ignore();
    spoil.cmd("HSET").arg("leaderboard:{global}:members").arg(ghost.to_string()).arg("1:500000:1700000000000").ignore();
    spoil.query_async::<()>(&mut connection).await.unwrap();
    let (exit, told) = deployment.operate(&["verify"]);
    assert_eq!(exit, Some(1), "{told}");
    let before = load.promised();
    for _ in 0..10 {
        let (exit, told) = deployment.operate(&["rebuild-ranks", "--json"]);
        assert_eq!(exit, Some(0), "{told}");
    }
    assert!(load.promised() > before, "updates run meanwhile");
    let promised = load.stop("ranks rebuilt").await;
    promised.is_in_the_truth(&deployment, Duration::from_secs(15)).await;
    deployment.stop().await;
}
