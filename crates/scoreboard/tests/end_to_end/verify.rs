//! `scoreboard verify` tells exactly what differs, also of running nodes, and nothing where nothing does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_redis::redis;
use serde_json::{Value, json};

use crate::canned_node::CannedNode;
use crate::client::Player;
use crate::deployment::Deployment;
use crate::sse_reader::SseReader;

/// The addresses that clients of this deployment use.
fn nodes(deployment: &Deployment) -> Vec<String> {
    let stream = deployment.stream_url.replace("ws://", "http://").replace("/ws/scoreboard", "");
    let api = deployment.api.url.clone();
    if stream == api { vec![api] } else { vec![api, stream] }
}

/// Exit code and report.
fn verify(deployment: &Deployment, nodes: &[String]) -> (Option<i32>, Value) {
    let mut arguments = vec!["verify", "--json"];
    nodes.iter().for_each(|node| arguments.extend(["--node", node]));
    let (exit, told) = deployment.operate(&arguments);
    (exit, serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}")))
}

/// The differences of the only board as `(part, row, expected, seen)`.
fn differences(report: &Value) -> Vec<[String; 4]> {
    let told = |difference: &Value| {
        ["part", "row", "expected", "seen"].map(|field| difference[field].as_str().expect(field).to_owned())
    };
    report["boards"][0]["differences"].as_array().expect("a list").iter().map(told).collect()
}

/// That there is such a difference, each text a part of its field.
#[track_caller]
fn must_tell(report: &Value, wanted: [&str; 4]) {
    let found = differences(report).iter().any(|one| one.iter().zip(wanted).all(|(told, part)| told.contains(part)));
    assert!(found, "no {wanted:?} in {report:#}");
}

/// That nothing of these parts differs.
#[track_caller]
fn must_not_tell(report: &Value, parts: &[&str]) {
    let told = differences(report);
    assert!(!told.iter().any(|one| parts.iter().any(|part| one[0].starts_with(part))), "{report:#}");
}

/// Changes the database behind everybody's back.
async fn meddle(deployment: &Deployment, in_postgres: &str, in_sqlite: &str) {
    if let Some(place) = &deployment.place {
        place.operator().await.batch_execute(in_postgres).await.expect("PostgreSQL does it");
        return;
    }
    let file = deployment.dir().join("data/scoreboard.db");
    let database = rusqlite::Connection::open(file).expect("the database opens");
    database.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
    database.execute_batch(in_sqlite).expect("SQLite does it");
}

/// Ada has 50 points, Bob 40.
async fn ada_and_bob(deployment: &Deployment) -> (Player, Player) {
    let (ada, bob) = (deployment.api.join("ada").await, deployment.api.join("bob").await);
    deployment.api.score(&ada, "first", 50).await.expect(200);
    deployment.api.score(&bob, "first", 40).await.expect(200);
    (ada, bob)
}

fn blob(player: &Player) -> String {
    format!("x'{}'", player.id.replace('-', ""))
}

/// Bob gets 5 points that no action brought, without a version: every snapshot shows the old line at the same version.
async fn a_tampered_score_is_told(deployment: Deployment) {
    let (ada, bob) = ada_and_bob(&deployment).await;
    let nodes = nodes(&deployment);
    let (exit, report) = verify(&deployment, &nodes);
    assert_eq!((exit, &report["equal"]), (Some(0), &json!(true)), "{report:#}");
    assert_eq!(report["boards"][0]["leftOut"], json!([]), "{report:#}");

    let postgres = format!("UPDATE scores SET score = score + 5 WHERE user_id = '{}'", bob.id);
    let sqlite = format!("UPDATE scores SET score = score + 5 WHERE user = {}", blob(&bob));
    meddle(&deployment, &postgres, &sqlite).await;
    let (exit, report) = verify(&deployment, &nodes);
    assert_eq!((exit, &report["equal"]), (Some(1), &json!(false)), "{report:#}");
    must_tell(&report, ["scores", &format!("player {}", bob.id), "40 points at version 2", "45 points at version 2"]);
    must_tell(&report, ["ledger", "sum of points", "95", "90"]);
    for node in &nodes {
        let expected = format!("{} (bob) with 45 points, rank 2", bob.id);
        let seen = format!("{} (bob) with 40 points, rank 2", bob.id);
        must_tell(&report, [&format!("node {node}"), "position 2 at version 2", &expected, &seen]);
    }
    if deployment.place.is_some() {
        must_tell(&report, ["ranks", "position 2", &format!("{} with 45 points", bob.id), "with 40 points"]);
    }
    assert!(!differences(&report).iter().any(|one| one[2].contains(&ada.id)), "ada's lines are right: {report:#}");
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_score_is_told_embedded() {
    a_tampered_score_is_told(Deployment::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_score_is_told_on_four_processes() {
    a_tampered_score_is_told(Deployment::four_processes().await).await;
}

/// The scores and everything that shows them agree; only the ledger does not hold what they came from.
async fn a_missing_row_of_the_ledger_is_told(deployment: Deployment) {
    let (_, bob) = ada_and_bob(&deployment).await;
    let postgres = format!("DELETE FROM actions WHERE user_id = '{}'", bob.id);
    let sqlite = format!("DELETE FROM actions WHERE user = {}", blob(&bob));
    meddle(&deployment, &postgres, &sqlite).await;
    let (exit, report) = verify(&deployment, &nodes(&deployment));
    assert_eq!(exit, Some(1), "{report:#}");
    must_tell(&report, ["ledger", "applied actions", "2", "1"]);
    must_tell(&report, ["ledger", "sum of points", "90", "50"]);
    must_tell(&report, ["scores", &format!("player {}", bob.id), "no applied action", "40 points at version 2"]);
    must_not_tell(&report, &["ranks", "node", "database"]);
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_row_of_the_ledger_is_told_embedded() {
    a_missing_row_of_the_ledger_is_told(Deployment::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_row_of_the_ledger_is_told_on_servers() {
    a_missing_row_of_the_ledger_is_told(Deployment::distributed().await).await;
}

/// Two wrongs that cancel out in every sum.
#[tokio::test(flavor = "multi_thread")]
async fn points_that_were_moved_from_one_player_to_another_are_told() {
    let deployment = Deployment::embedded().await;
    let (ada, bob) = ada_and_bob(&deployment).await;
    let sqlite = format!(
        "UPDATE scores SET score = score - 3 WHERE user = {}; UPDATE scores SET score = score + 3 WHERE user = {}",
        blob(&ada),
        blob(&bob)
    );
    meddle(&deployment, "", &sqlite).await;
    let (exit, report) = verify(&deployment, &[]);
    assert_eq!(exit, Some(1), "{report:#}");
    must_tell(&report, ["scores", &ada.id, "50 points", "47 points"]);
    must_tell(&report, ["scores", &bob.id, "40 points", "43 points"]);
    must_not_tell(&report, &["ledger"]);
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_rank_and_a_wrong_name_in_redis_are_told() {
    let deployment = Deployment::distributed().await;
    let (ada, bob) = ada_and_bob(&deployment).await;
    let place = deployment.place.as_ref().expect("on servers");
    let client = redis::Client::open(place.redis_url.as_str()).expect("a Redis URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
    let member = place.redis_ranks("global").await[1].0.clone();
    let mut rank = redis::cmd("ZADD");
    rank.arg("leaderboard:{global}:scores").arg(60).arg(member);
    let mut name = redis::cmd("HSET");
    name.arg(format!("user:{{{}}}:details", ada.id)).arg("username").arg("mallory");
    for meddling in [rank, name] {
        meddling.query_async::<()>(&mut connection).await.expect("Redis does it");
    }
    let (exit, report) = verify(&deployment, &[]);
    assert_eq!(exit, Some(1), "{report:#}");
    must_tell(&report, ["ranks", "position 1", &ada.id, &bob.id]);
    must_tell(&report, ["details", &format!("name of {}", ada.id), "ada", "mallory"]);
    must_not_tell(&report, &["scores", "ledger", "database"]);
    // For people: part, row, what should be there and what is.
    let (_, told) = deployment.operate(&["verify"]);
    assert!(told.contains("DIFFERENT") && told.contains("ranks, position 1: expected"), "{told}");
    deployment.stop().await;
}

/// A node that shows an old state for longer than it may is told by its version; so is one that is ahead of the truth, one
/// whose lines are damaged, and one that does not answer. The real one beside them is fine.
async fn a_node_that_is_stale_ahead_damaged_or_gone_is_told(deployment: Deployment) {
    let real = nodes(&deployment);
    let (ada, bob) = ada_and_bob(&deployment).await;
    let top = deployment.api.get("/api/v1/scoreboard/top?limit=100").await.expect(200);
    let (epoch, version) = top.header("etag").trim_matches('"').rsplit_once('.').expect("a state");
    assert_eq!(version, "2");
    let events = SseReader::open(&format!("{}/api/v1/scoreboard/stream?limit=100", real[real.len() - 1]), None).await;
    let snapshot = testkit::waiting::eventually(std::time::Duration::from_secs(5), "a snapshot", async || {
        events.frames().into_iter().find(|frame| frame["event"] == "scoreboard:snapshot")
    })
    .await["data"]
        .clone();
    // What was true once.
    let stale = CannedNode::start(top.header("etag"), &top.body, &snapshot).await;
    let mut ahead_snapshot = snapshot.clone();
    ahead_snapshot["version"] = 99.into();
    let ahead = CannedNode::start(&format!("\"{epoch}.99\""), &top.body, &ahead_snapshot).await;
    let mut damaged_top = top.body.clone();
    damaged_top[1]["score"] = 41.into();
    let mut damaged_snapshot = snapshot.clone();
    damaged_snapshot["leaderboard"].as_array_mut().expect("a list").pop();
    let damaged = CannedNode::start(top.header("etag"), &damaged_top, &damaged_snapshot).await;

    let (exit, report) = verify(&deployment, std::slice::from_ref(&damaged.url));
    assert_eq!(exit, Some(1), "{report:#}");
    let (good, bad) = (format!("{} (bob) with 40 points", bob.id), format!("{} (bob) with 41 points", bob.id));
    must_tell(&report, [&format!("node {} /top", damaged.url), "position 2 at version 2", &good, &bad]);
    let stream = format!("node {} stream", damaged.url);
    must_tell(&report, [&stream, "players at version 2", "2", &format!("1 missing, {} the first", bob.id)]);

    deployment.api.score(&ada, "second", 7).await.expect(200);
    let gone = "http://127.0.0.1:9".to_owned();
    let nodes = [real.clone(), vec![stale.url.clone(), ahead.url.clone(), gone.clone()]].concat();
    let (exit, report) = verify(&deployment, &nodes);
    assert_eq!(exit, Some(1), "{report:#}");
    must_tell(
        &report,
        [&format!("node {} /top", stale.url), "version", &format!("{epoch}.3"), &format!("{epoch}.2 for")],
    );
    must_tell(&report, [&format!("node {} /top", ahead.url), "version", &format!("{epoch}.3"), "does not know"]);
    must_tell(&report, [&format!("node {gone}"), "version", "", "no answer"]);
    must_not_tell(&report, &["scores", "ledger", "ranks", "database"]);
    real.iter().for_each(|node| must_not_tell(&report, &[&format!("node {node}")]));
    // A stream alone, as a fan-out has it.
    let lone = CannedNode::stream_only(&snapshot).await;
    let (_, report) = verify(&deployment, std::slice::from_ref(&lone.url));
    must_tell(
        &report,
        [&format!("node {} stream", lone.url), "version", &format!("{epoch}.3"), &format!("{epoch}.2 for")],
    );
    must_not_tell(&report, &[&format!("node {} /top", lone.url)]);
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_stale_ahead_damaged_or_gone_is_told_embedded() {
    a_node_that_is_stale_ahead_damaged_or_gone_is_told(Deployment::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_stale_ahead_damaged_or_gone_is_told_on_four_processes() {
    a_node_that_is_stale_ahead_damaged_or_gone_is_told(Deployment::four_processes().await).await;
}

/// Nothing differs, so nothing may be told, however the board moves meanwhile.
async fn nothing_is_told_while_updates_run(deployment: Deployment) {
    let mut players = Vec::new();
    for n in 0..8 {
        players.push(deployment.api.join(&format!("player-{n}")).await);
    }
    let stopped = Arc::new(AtomicBool::new(false));
    let playing: Vec<_> = players
        .into_iter()
        .map(|player| {
            let (api, stopped) = (deployment.api.clone(), Arc::clone(&stopped));
            tokio::spawn(async move {
                for n in 0_i64.. {
                    if stopped.load(Ordering::Relaxed) {
                        return n;
                    }
                    api.score(&player, &format!("a-{n}"), n % 9 + 1).await.expect(200);
                }
                0
            })
        })
        .collect();
    let nodes = nodes(&deployment);
    let mut versions = Vec::new();
    for _ in 0..3 {
        let (exit, report) = tokio::task::block_in_place(|| verify(&deployment, &nodes));
        assert_eq!(exit, Some(0), "{report:#}");
        versions.push(report["boards"][0]["ledgerActions"].as_u64().expect("a count"));
    }
    stopped.store(true, Ordering::Relaxed);
    for playing in playing {
        assert!(playing.await.expect("everybody played") > 0);
    }
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "updates ran meanwhile: {versions:?}");
    let (exit, report) = verify(&deployment, &nodes);
    assert_eq!((exit, &report["boards"][0]["leftOut"]), (Some(0), &json!([])), "{report:#}");
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_while_updates_run_embedded() {
    nothing_is_told_while_updates_run(Deployment::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_while_updates_run_on_four_processes() {
    nothing_is_told_while_updates_run(Deployment::four_processes().await).await;
}
