//! What was promised is in the truth exactly once, and every projection shows the truth: under load, while Redis forgets
//! everything, and after a crash.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::json;
use testkit::waiting::eventually;

use crate::client::{Client, Player};
use crate::deployment::Deployment;
use crate::servers::Place;
use crate::watcher::Watcher;

const PLAYERS: usize = 100;
const UPDATES: usize = 20;
const AT_ONCE: usize = 32;

/// Scores by user.
type Scores = BTreeMap<String, i64>;

async fn players(api: &Client, count: usize) -> Vec<Player> {
    let joining = (0..count).map(|n| {
        let api = api.clone();
        async move { api.join(&format!("player-{n}")).await }
    });
    stream::iter(joining).buffered(4).collect().await
}

/// Everybody scores; the sum of what was answered, by user.
async fn play(api: &Client, players: &[Player], updates: usize) -> Scores {
    let mut rounds = Vec::with_capacity(updates * players.len());
    for n in 0..updates {
        rounds.extend(players.iter().map(|player| (n, player.clone())));
    }
    let answers = rounds.into_iter().map(|(n, player)| {
        let api = api.clone();
        async move {
            let points = i64::try_from((n * 7 + player.name.len()) % 50 + 1).expect("small");
            let answer = api.score(&player, &format!("a-{n}"), points).await.expect(200).body;
            let told = |field: &str| answer[field].as_i64().unwrap_or_else(|| panic!("{field} in {answer}"));
            (player.id, points, told("newScore"), told("version"))
        }
    });
    let answers: Vec<(String, i64, i64, i64)> = stream::iter(answers).buffer_unordered(AT_ONCE).collect().await;
    let (mut sums, mut told) = (Scores::new(), Scores::new());
    for (user, points, new_score, _) in &answers {
        *sums.entry(user.clone()).or_default() += points;
        let best = told.entry(user.clone()).or_default();
        *best = (*new_score).max(*best);
    }
    assert_eq!(told, sums, "the highest score that each player was told is the sum of what it played");
    let mut versions: Vec<i64> = answers.iter().map(|(.., version)| *version).collect();
    versions.sort_unstable();
    assert!(
        versions.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "each answer has a version of its own, without a gap"
    );
    sums
}

async fn scores_in(place: &Place, statement: &str) -> Scores {
    let rows = place.operator().await.query(statement, &[]).await.expect("rows");
    rows.iter().map(|row| (row.get::<_, uuid::Uuid>(0).to_string(), row.get::<_, i64>(1))).collect()
}

const LEDGER: &str =
    "SELECT user_id, sum(points)::bigint FROM actions WHERE board = 'global' AND version IS NOT NULL GROUP BY user_id";
const SCORES: &str = "SELECT user_id, score FROM scores WHERE board = 'global'";

async fn scores_in_redis(place: &Place) -> Scores {
    let member = |member: &str| member.split_once(':').expect("version and user").1.to_owned();
    place.redis_ranks("global").await.iter().map(|(name, score)| (member(name), *score)).collect()
}

/// The best ten as the truth has them: score, then who reached it first.
async fn best(place: &Place) -> Vec<(String, i64, u64)> {
    let rows = place
        .operator()
        .await
        .query("SELECT user_id, score FROM scores WHERE board = 'global' ORDER BY score DESC, version LIMIT 10", &[])
        .await
        .expect("rows");
    rows.iter().zip(1..).map(|(row, rank)| (row.get::<_, uuid::Uuid>(0).to_string(), row.get(1), rank)).collect()
}

async fn all_agree(deployment: &Deployment, promised: &Scores, screens: &[Watcher]) {
    let place = deployment.place.as_ref().expect("on servers");
    assert_eq!(&scores_in(place, LEDGER).await, promised, "ledger");
    assert_eq!(&scores_in(place, SCORES).await, promised, "scores");
    assert_eq!(&scores_in_redis(place).await, promised, "Redis");
    let version = deployment.version().await;
    let best = best(place).await;
    for screen in screens {
        eventually(Duration::from_secs(2), "the screen to show the truth", async || {
            let (shown, lines) = screen.shown();
            if lines == best { Ok(()) } else { Err(format!("version {shown} of {version}: {lines:?}")) }
        })
        .await;
        screen.must_never_have_gone_back();
    }
    for (user, score, rank) in &best {
        let own = deployment.api.get(&format!("/api/v1/scoreboard/users/{user}")).await.expect(200).body;
        assert_eq!((&own["score"], &own["rank"]), (&json!(score), &json!(rank)));
    }
    let (exit, told) = deployment.operate(&["verify"]);
    assert_eq!(exit, Some(0), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_players_at_once_on_four_processes() {
    let deployment = Deployment::four_processes().await;
    let players = players(&deployment.api, PLAYERS).await;
    let screens = [Watcher::open(&deployment.stream_url).await, Watcher::open(&deployment.stream_url).await];
    let promised = play(&deployment.api, &players, UPDATES).await;
    assert_eq!(deployment.version().await, (PLAYERS * UPDATES) as u64, "one version for each update");
    all_agree(&deployment, &promised, &screens).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_forgets_everything_while_updates_run() {
    let deployment = Deployment::four_processes().await;
    let players = players(&deployment.api, 20).await;
    let screens = [Watcher::open(&deployment.stream_url).await];
    let api = Arc::new(deployment.api.clone());
    let playing = tokio::spawn({
        let (api, players) = (Arc::clone(&api), players.clone());
        async move { play(&api, &players, 100).await }
    });
    let place = deployment.place.as_ref().expect("on servers");
    eventually(Duration::from_secs(20), "updates to run", async || deployment.version().await > 100).await;
    place.flush_redis().await;
    // Right again while updates go on: within 5 s Redis holds every player.
    eventually(Duration::from_secs(5), "every player to be in Redis again", async || {
        let found = scores_in_redis(place).await.len();
        if found == players.len() { Ok(()) } else { Err(found) }
    })
    .await;
    assert!(!playing.is_finished(), "updates ran all the time");
    let promised = playing.await.expect("everybody played");
    eventually(Duration::from_secs(5), "Redis to show the truth", async || {
        let found = scores_in_redis(place).await;
        if found == promised { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    all_agree(&deployment, &promised, &screens).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_has_every_answer_it_gave() {
    let mut deployment = Deployment::embedded().await;
    let players = players(&deployment.api, 8).await;
    let promised = play(&deployment.api, &players, 10).await;
    let keyed = &[("authorization", players[0].bearer()), ("idempotency-key", "before-the-crash".to_owned())];
    let keyed: Vec<(&str, &str)> = keyed.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let path = "/api/v1/score/update";
    let first = deployment.api.post(path, &players[0].signed("last", 9), &keyed).await.expect(200);
    deployment.process().kill().await;
    deployment.start_again().await;

    for (player, score) in players.iter().map(|player| (player, promised[&player.id])) {
        let expected = if player.id == players[0].id { score + 9 } else { score };
        let own = deployment.api.get(&format!("/api/v1/scoreboard/users/{}", player.id)).await.expect(200);
        assert_eq!(own.body["score"], json!(expected));
    }
    // The key's answer is in the ledger, whatever memory was lost.
    let again = deployment.api.post(path, &players[0].signed("last", 9), &keyed).await.expect(200);
    assert_eq!(again.header("idempotent-replayed"), "true");
    for field in ["newScore", "version", "status"] {
        assert_eq!(again.body[field], first.body[field], "{field}");
    }
    deployment.process().stop().await;
    let (exit, told) = deployment.operate(&["verify"]);
    assert_eq!(exit, Some(0), "{told}");
}
