//! The life of a process: starting too early, being ready, being stopped and being killed while it works.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_redis::redis;
use serde_json::{Value, json};
use testkit::waiting::eventually;
use tokio::task::JoinSet;

use crate::client::{Client, PASSWORD, Player};
use crate::deployment::Deployment;
use crate::process::{Process, binary, command, free_port};
use crate::watcher::Watcher;

const SERVICES: [&str; 4] = ["gateway", "auth", "score-worker", "realtime-fanout"];

/// What a server promised: the player, the action, and its 200.
type Promise = (Player, String, Value);

/// Players who act one after the other until nobody answers any more, and what they were promised.
struct Playing {
    players: JoinSet<Vec<Promise>>,
    promises: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
}

impl Playing {
    async fn start(api: &Client, count: usize) -> Self {
        let (promises, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let mut joined = Vec::new();
        for n in 0..count {
            joined.push(api.join(&format!("player-{n}")).await);
        }
        let mut players = JoinSet::new();
        for player in joined {
            let (api, promises, stopped) = (api.clone(), Arc::clone(&promises), Arc::clone(&stopped));
            players.spawn(async move { play(&api, &player, &promises, &stopped).await });
        }
        Self { players, promises, stopped }
    }

    async fn has_promises(&self, wanted: usize) {
        eventually(Duration::from_secs(20), "updates to run", async || {
            let made = self.promises.load(Ordering::Relaxed);
            if made >= wanted { Ok(()) } else { Err(format!("{made} of {wanted}")) }
        })
        .await;
    }

    async fn ended(self) -> Vec<Promise> {
        self.stopped.store(true, Ordering::Relaxed);
        self.players.join_all().await.into_iter().flatten().collect()
    }
}

async fn play(api: &Client, player: &Player, promises: &AtomicUsize, stopped: &AtomicBool) -> Vec<Promise> {
    let bearer = player.bearer();
    let mut kept = Vec::new();
    for n in 0.. {
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        let action = format!("action-{n}");
        let body = player.signed(&action, 3);
        match api.try_post("/api/v1/score/update", &body, &[("authorization", &bearer)]).await {
            Ok(answer) if answer.status == 200 => {
                promises.fetch_add(1, Ordering::Relaxed);
                kept.push((player.clone(), action, answer.body));
            }
            // Not promised, and safe to repeat.
            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.body),
            // Nobody answers: the server is gone.
            Err(_) => break,
        }
    }
    kept
}

/// Every 200 has its receipt, with the same version and score.
async fn every_promise_is_kept(api: &Client, promises: &[Promise]) {
    for (player, action, promised) in promises {
        let receipt = api.get_as(player, &format!("/api/v1/score/updates/{action}")).await.expect(200).body;
        assert_eq!(receipt["status"], "applied", "{action} of {}", player.name);
        assert_eq!((&receipt["version"], &receipt["newScore"]), (&promised["version"], &promised["newScore"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_told_ready_is_not_refused() {
    for _ in 0..5 {
        let deployment = Deployment::embedded().await;
        // `open` fails on any refusal, and `join` and `score` on any but success.
        let (_screen, player) = tokio::join!(Watcher::open(&deployment.stream_url), deployment.api.join("early"));
        deployment.api.score(&player, "first", 5).await.expect(200);
        deployment.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_start_before_their_database_and_become_ready_by_themselves() {
    let deployment = Deployment::four_processes_too_early().await;
    eventually(Duration::from_secs(20), "every service to say that the database is away", async || {
        let told = deployment.admin("/readyz").await;
        let waits = |said: &Option<(u16, Value)>| {
            said.as_ref().is_some_and(|(status, body)| *status == 503 && body["checks"]["postgresql"] != "ok")
        };
        if told.iter().all(waits) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    let alive = deployment.admin("/livez").await;
    assert!(alive.iter().all(|said| said.as_ref().is_some_and(|(status, _)| *status == 200)), "{alive:?}");

    let place = deployment.place.as_ref().expect("on servers");
    let (exit, told) = deployment.operate(&["check-config", "--connect"]);
    assert_eq!(exit, Some(69), "{told}");
    assert!(told.contains("SCOREBOARD__DATABASE__URL") && told.contains("redis: ok"), "{told}");
    place.create_database().await;
    let (exit, told) = deployment.operate(&["check-config", "--connect"]);
    assert_eq!(exit, Some(69), "{told}");
    assert!(told.contains("scoreboard migrate"), "the next step: {told}");
    let (exit, told) = deployment.operate(&["migrate"]);
    assert_eq!(exit, Some(0), "{told}");

    deployment.ready().await;
    let (exit, told) = deployment.operate(&["check-config", "--connect"]);
    assert_eq!(exit, Some(0), "{told}");
    let player = deployment.api.join("patient").await;
    let screen = Watcher::open(&deployment.stream_url).await;
    deployment.api.score(&player, "first", 5).await.expect(200);
    screen.first(Duration::from_secs(1), "the update", |frame| frame["data"]["newScore"] == 5).await;
    deployment.stop().await;
}

#[test]
fn a_service_that_cannot_run_names_the_setting() {
    let dir = tempfile::tempdir().expect("a directory");
    let urls = [
        ("SCOREBOARD__DATABASE__URL", "postgres://u:hunter2@127.0.0.1:1/x"),
        ("SCOREBOARD__REDIS__URL", "redis://:hunter2@127.0.0.1:1"),
        ("SCOREBOARD__AMQP__URL", "amqp://u:hunter2@127.0.0.1:1/%2f"),
    ];
    let refused = |service: &str, settings: &[(&str, &str)], setting: &str| {
        let output = command(&binary(service)).envs(settings.iter().copied()).output().expect("it starts");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{service}: {told}");
        assert!(told.contains(setting) && !told.contains("hunter2"), "{service}: {told}");
        assert_eq!(told.lines().count(), 1, "told once: {told}");
    };
    for service in SERVICES {
        refused(service, &[], "SCOREBOARD__DATABASE__URL");
        refused(service, &[("SCOREBOARD__DATABSE__URL", "x")], "SCOREBOARD__DATABASE__URL");
        let version = command(&binary(service)).arg("--version").output().expect("it starts");
        assert!(version.status.success() && String::from_utf8_lossy(&version.stdout).starts_with(service));
    }
    for service in ["gateway", "auth"] {
        refused(service, &urls, "SCOREBOARD__SECRETS__DIR");
    }
    // In distributed mode our own secrets are never made up.
    refused("scoreboard", &urls, "SCOREBOARD__SECRETS__DIR");
    let secrets = dir.path().join("secrets").display().to_string();
    let made = command(&binary("scoreboard")).args(["key", "init", &secrets]).output().expect("it starts");
    assert!(made.status.success());
    refused("gateway", &[&urls[..], &[("SCOREBOARD__SECRETS__DIR", &secrets)]].concat(), "SCOREBOARD__AUTH__URL");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_while_updates_run_has_every_answer_it_gave() {
    let mut deployment = Deployment::embedded().await;
    let playing = Playing::start(&deployment.api, 16).await;
    playing.has_promises(300).await;
    deployment.process().kill().await;
    let promises = playing.ended().await;
    deployment.start_again().await;
    every_promise_is_kept(&deployment.api, &promises).await;
    deployment.process().stop().await;
    let (exit, told) = deployment.operate(&["verify"]);
    assert_eq!(exit, Some(0), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_updates_run_finishes_what_was_accepted() {
    let mut deployment = Deployment::embedded().await;
    let screen = Watcher::open(&deployment.stream_url).await;
    let playing = Playing::start(&deployment.api, 16).await;
    playing.has_promises(200).await;
    // Code 0 within 10 s, with an open socket and connections that are kept alive.
    deployment.process().stop().await;
    let promises = playing.ended().await;
    assert_eq!(screen.closed().await, 1012);
    deployment.start_again().await;
    every_promise_is_kept(&deployment.api, &promises).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_that_are_stopped_while_updates_run_keep_their_promises() {
    let deployment = Deployment::four_processes().await;
    let playing = Playing::start(&deployment.api, 16).await;
    playing.has_promises(200).await;
    let (_, gateway) = deployment.processes.iter().find(|(name, _)| name == "gateway").expect("a gateway");
    gateway.stop().await;
    let promises = playing.ended().await;
    assert!(promises.len() >= 200);
    for (name, process) in deployment.processes.iter().filter(|(name, _)| name != "gateway") {
        process.must_run();
        assert!(!process.log().contains("panic"), "{name}");
    }
    let place = deployment.place.as_ref().expect("on servers");
    let (exit, told) = deployment.operate(&["verify", "--json"]);
    assert_eq!(exit, Some(0), "{told}");
    let report: Value = serde_json::from_str(&told).expect("JSON");
    let applied = report["boards"][0]["ledgerActions"].as_u64().expect("a count");
    assert!(applied >= promises.len() as u64, "{applied} applied, {} promised", promises.len());
    let client = place.operator().await;
    for (player, action, promised) in &promises {
        let version = i64::try_from(promised["version"].as_u64().expect("a version")).expect("small");
        let row = client
            .query_opt(
                "SELECT 1 FROM actions WHERE user_id = $1 AND action_id = $2 AND version = $3",
                &[&uuid::Uuid::parse_str(&player.id).expect("a user id"), action, &version],
            )
            .await
            .expect("an answer");
        assert!(row.is_some(), "{action} of {} was promised", player.name);
    }
    for (_, process) in deployment.processes.iter().rev().filter(|(name, _)| name != "gateway") {
        process.stop().await;
    }
    deployment.place.expect("on servers").give_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_players_are_the_same_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let http = free_port();
    let (data, api) = (dir.path().join("data"), Client::new(&format!("http://127.0.0.1:{http}")));
    let start = || {
        let mut demo = command(&binary("scoreboard"));
        demo.args(["serve", "--demo", "--set", &format!("data.dir={}", data.display())]);
        for (listener, port) in [("http", http), ("admin", free_port()), ("grpc", free_port())] {
            demo.args(["--set", &format!("{listener}.listen=127.0.0.1:{port}")]);
        }
        Process::start("demo", demo, dir.path())
    };
    let users = async |process: &Process| {
        eventually(Duration::from_secs(30), "all six to have scored", async || {
            process.must_run();
            let answer = reqwest::get(format!("{}/api/v1/scoreboard/top", api.url)).await.ok()?;
            let top: Value = answer.json().await.ok()?;
            let mut players: Vec<_> =
                top.as_array()?.iter().map(|one| (one["username"].clone(), one["userId"].clone())).collect();
            players.sort_by_key(|(name, _)| name.to_string());
            (players.len() == 6).then_some(players)
        })
        .await
    };
    let process = start();
    let before = users(&process).await;
    assert!(before.iter().any(|(name, _)| name == "ada"), "{before:?}");
    process.stop().await;
    let mode = std::fs::metadata(data.join("demo.json")).expect("their passwords are kept").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let (exit, version) = version_of(&data);
    assert_eq!(exit, Some(0));
    let process = start();
    eventually(Duration::from_secs(30), "them to play on", async || {
        process.must_run();
        let board = reqwest::get(format!("{}/api/v1/boards/global", api.url)).await.ok()?;
        let board: Value = board.json().await.ok()?;
        (board["version"].as_u64()? > version).then_some(())
    })
    .await;
    assert_eq!(users(&process).await, before, "nobody was registered again");
    process.stop().await;
}

/// Where a stopped data directory stands, by `verify`.
fn version_of(data: &std::path::Path) -> (Option<i32>, u64) {
    let mut verify = command(&binary("scoreboard"));
    let output = verify.args(["verify", "--json"]).env("SCOREBOARD__DATA__DIR", data).output().expect("it starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    (output.status.code(), report["boards"][0]["ledgerActions"].as_u64().expect("a count"))
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_tells_a_projection_that_differs() {
    let deployment = Deployment::distributed().await;
    let (ada, bob) = (deployment.api.join("ada").await, deployment.api.join("bob").await);
    deployment.api.score(&ada, "first", 50).await.expect(200);
    deployment.api.score(&bob, "first", 40).await.expect(200);
    let (exit, told) = deployment.operate(&["verify"]);
    assert_eq!(exit, Some(0), "{told}");

    // Somebody meddles with Redis: bob is put before ada.
    let place = deployment.place.as_ref().expect("on servers");
    let member = place.redis_ranks("global").await[1].0.clone();
    let client = redis::Client::open(place.redis_url.as_str()).expect("a Redis URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
    let mut meddle = redis::cmd("ZADD");
    meddle.arg("leaderboard:{global}:scores").arg(60).arg(member);
    meddle.query_async::<()>(&mut connection).await.expect("Redis does it");
    let (exit, told) = deployment.operate(&["verify"]);
    assert_eq!(exit, Some(1), "{told}");
    assert!(told.contains(&bob.id) && told.contains("position 1"), "{told}");
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_made_by_the_operator_where_no_server_holds_the_data() {
    let deployment = Deployment::embedded().await;
    let (exit, told) = deployment.operate(&["user", "create", "olga"]);
    assert_eq!(exit, Some(69), "{told}");
    assert!(told.contains("/api/v1/auth/register"), "the next step: {told}");
    deployment.stop().await;

    let deployment = Deployment::distributed().await;
    let (exit, told) = deployment.operate(&["--json", "user", "create", "olga"]);
    assert_eq!(exit, Some(0), "{told}");
    let made: Value = serde_json::from_str(&told).expect("JSON");
    let credentials = json!({"username": "olga", "password": made["password"]});
    let grant = deployment.api.post("/api/v1/auth/login", &credentials, &[]).await.expect(200).body;
    assert_eq!(grant["userId"], made["userId"]);
    let (exit, told) = deployment.operate(&["user", "create", "OLGA"]);
    assert_eq!(exit, Some(1), "{told}");
    assert!(told.contains("username_taken"), "{told}");
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_watches_a_board_and_goes_on_after_a_restart() {
    let mut deployment = Deployment::embedded().await;
    let player = deployment.api.join("watched").await;
    let mut watch = command(&binary("scoreboard"));
    watch.args(["watch", "--url", &deployment.api.url]);
    let watch = Process::start("watch", watch, deployment.dir());
    let printed = async |what: &str| {
        eventually(Duration::from_secs(10), what, async || {
            watch.must_run();
            let printed = watch.output();
            if printed.contains(what) { Ok(()) } else { Err(printed) }
        })
        .await;
    };
    printed("global at version 0").await;
    deployment.api.score(&player, "first", 7).await.expect(200);
    printed("watched 7 (#1, new)").await;
    deployment.process().stop().await;
    deployment.start_again().await;
    let player = deployment.api.login("watched").await;
    deployment.api.score(&player, "second", 5).await.expect(200);
    printed("12").await;

    // A board whose stream is for players: nobody else sees it, and the token is nowhere to be read.
    let (exit, told) = deployment.operate(&["board", "create", "private", "--stream-token"]);
    assert_eq!(exit, Some(0), "{told}");
    let see = |with_token: bool| {
        let mut see = command(&binary("scoreboard"));
        see.args(["watch", "--board", "private", "--url", &deployment.api.url]);
        if with_token {
            see.args(["--token-env", "TOKEN"]).env("TOKEN", &player.token);
        }
        see
    };
    eventually(Duration::from_secs(20), "the board to be known", async || {
        let answer = deployment.api.get("/api/v1/boards/private").await;
        if answer.status == 200 { Ok(()) } else { Err(answer.status) }
    })
    .await;
    let seeing = Process::start("see", see(true), deployment.dir());
    eventually(Duration::from_secs(10), "the private board", async || {
        seeing.must_run();
        let printed = seeing.output();
        if printed.contains("private at version 0") { Ok(()) } else { Err(printed) }
    })
    .await;
    assert!(!seeing.output().contains(&player.token) && !seeing.log().contains(&player.token));
    let output = see(false).output().expect("it starts");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("unauthenticated"), "{told}");

    let wrong = |arguments: &[&str]| {
        let mut submit = command(&binary("scoreboard"));
        submit.args(["--json", "submit", "--user", "watched", "--password-env", "PASSWORD", "--action-id", "first"]);
        let output = submit.args(arguments).env("PASSWORD", PASSWORD).output().expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (exit, told) = wrong(&["--url", &deployment.api.url]);
    assert_eq!(exit, Some(1), "{told}");
    assert!(told.contains("duplicate_action"), "{told}");
    let (exit, told) = wrong(&["--url", "http://127.0.0.1:1"]);
    assert_eq!(exit, Some(69), "{told}");
    let told: Value = serde_json::from_str(&told).expect("errors are JSON where results are");
    assert_eq!(told["error"]["exitCode"], 69);
    deployment.stop().await;
}
