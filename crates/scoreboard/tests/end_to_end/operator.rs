//! The command line and the life of a process, as an operator meets them.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testkit::waiting::eventually;

use crate::deployment::Deployment;
use crate::process::{binary, command};
use crate::watcher::Watcher;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_run_prints_lines_that_work_when_pasted() {
    let deployment = Deployment::embedded().await;
    let printed = eventually(Duration::from_secs(5), "the greeting", async || {
        let printed = deployment.process().output();
        printed.contains("update-score").then_some(printed)
    })
    .await;
    let lines: Vec<&str> = printed.lines().filter(|line| line.contains("curl -s")).collect();
    assert!(lines.len() >= 2, "{printed}");
    for line in lines {
        let output = Command::new("sh").args(["-c", line]).output().expect("sh");
        assert!(output.status.success(), "{line}");
        let answered = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!answered.contains("\"error\""), "{line}\n{answered}");
        if line.contains("update-score") {
            assert!(answered.contains("\"newScore\":10") && answered.contains("\"applied\""), "{answered}");
        }
    }
    let secrets = deployment.dir().join("data/secrets/auth");
    assert!(secrets.is_dir(), "the first run makes its secrets in the data directory");
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_says_goodbye_to_every_screen() {
    let deployment = Deployment::embedded().await;
    let screen = Watcher::open(&deployment.stream_url).await;
    deployment.process().stop().await;
    assert_eq!(screen.closed().await, 1012);
    assert!(
        screen.frames().iter().any(|frame| frame["event"] == "server:bye" && frame["data"]["reconnectInMs"].is_u64())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_lets_players_play() {
    let dir = tempfile::tempdir().expect("a directory");
    let port = crate::process::free_port();
    let mut demo = command(&binary("scoreboard"));
    demo.args(["serve", "--demo"]).env("SCOREBOARD__DATA__DIR", dir.path().join("data"));
    for (listener, port) in
        [("HTTP", port), ("ADMIN", crate::process::free_port()), ("GRPC", crate::process::free_port())]
    {
        demo.env(format!("SCOREBOARD__{listener}__LISTEN"), format!("127.0.0.1:{port}"));
    }
    let process = crate::process::Process::start("demo", demo, dir.path());
    eventually(Duration::from_secs(40), "somebody to score", async || {
        process.must_run();
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/api/v1/scoreboard/top")).await.ok()?;
        let top: Value = answer.json().await.ok()?;
        (!top.as_array()?.is_empty()).then_some(())
    })
    .await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_tell_what_is_wrong_by_code_and_by_name() {
    let deployment = Deployment::embedded().await;
    let code = |settings: &[(&str, &str)], arguments: &[&str]| {
        let mut command = command(&binary("scoreboard"));
        let output = command.args(arguments).envs(settings.iter().copied()).output().expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (exit, told) = code(&[("SCOREBOARD__SUBMIT__WAIT_MSS", "1")], &["check-config"]);
    assert_eq!(exit, Some(78), "{told}");
    assert!(told.contains("SCOREBOARD__SUBMIT__WAIT_MS"), "{told}");
    let (exit, told) = code(&[("SCOREBOARD__REDIS__URL", "redis://127.0.0.1:1")], &["check-config"]);
    assert_eq!(exit, Some(78), "{told}");
    assert!(told.contains("SCOREBOARD__DATABASE__URL"), "{told}");
    let nowhere = [
        ("SCOREBOARD__DATABASE__URL", "postgres://u:hunter2@127.0.0.1:1/x"),
        ("SCOREBOARD__REDIS__URL", "redis://127.0.0.1:1"),
        ("SCOREBOARD__AMQP__URL", "amqp://u:hunter2@127.0.0.1:1/%2f"),
    ];
    let (exit, told) = code(&nowhere, &["migrate"]);
    assert_eq!(exit, Some(69), "{told}");
    assert!(told.contains("SCOREBOARD__DATABASE__URL") && !told.contains("hunter2"), "{told}");
    assert_eq!(code(&[], &["no-such-command"]).0, Some(2));

    // The command line plays by the public rules.
    let (exit, told) = deployment.operate(&["check-config", "--json"]);
    assert_eq!(exit, Some(0), "{told}");
    assert!(serde_json::from_str::<Value>(&told).is_ok(), "{told}");
    let ada = deployment.api.join("ada").await;
    let mut submit = command(&binary("scoreboard"));
    submit.args(["submit", "--user", "ada", "--password-env", "PASSWORD", "--action-id", "by-hand", "--points", "42"]);
    submit.args(["--url", &deployment.api.url]).env("PASSWORD", crate::client::PASSWORD);
    let output = submit.output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let own = deployment.api.get(&format!("/api/v1/scoreboard/users/{}", ada.id)).await.expect(200);
    assert_eq!(own.body["score"], 42);
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_tells_its_figures_and_no_label_is_made_up_by_a_client() {
    let deployment = Deployment::four_processes().await;
    let player = deployment.api.join("measured").await;
    let _screen = Watcher::open(&deployment.stream_url).await;
    deployment.api.score(&player, "figures", 5).await.expect(200);
    deployment.api.raw("FOO", "/api/v1/scoreboard/top", &[], "").await;
    let figures = deployment.metrics().await;
    for (service, expected) in [
        ("gateway", "scoreboard_http_request_duration_seconds_count{http_request_method=\"POST\""),
        ("gateway", "http_request_method=\"_OTHER\""),
        ("score-worker", "scoreboard_updates_total{result=\"applied\"} 1"),
        ("score-worker", "scoreboard_batch_size_count 1"),
        ("score-worker", "scoreboard_projection_lag_seconds_count"),
        ("realtime-fanout", "scoreboard_stream_sockets 1"),
        ("auth", "scoreboard_registrations_total"),
        // Alarms are there from the start, with zero: a step from nothing is none.
        ("gateway", "scoreboard_queue_topology_repairs_total{noticed_by=\"unroutable\"} 0"),
        ("score-worker", "scoreboard_queue_topology_repairs_total{noticed_by=\"consumer_ended\"} 0"),
        ("score-worker", "scoreboard_queue_dead_letters_total{why=\"refused\"} 0"),
        ("gateway", "scoreboard_queue_oldest_age_seconds{seen_by=\"gateway\"} 0"),
    ] {
        assert!(figures[service].contains(expected), "{service} lacks {expected}:\n{}", figures[service]);
    }
    let told: String = figures.values().map(String::as_str).collect();
    assert!(!told.contains(&player.id) && !told.contains("FOO"), "no label names a player or what a client made up");
    deployment.stop().await;
}

/// The embedded queue is in the serving process's memory; the command decides a letter by itself, beside that process.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_the_embedded_backend_are_retried_and_dropped_while_it_serves() {
    let deployment = Deployment::embedded().await;
    let ada = deployment.api.join("ada").await;
    let user = common::ids::UserId::parse(&ada.id).expect("an id");
    let store = embedded::SqliteStore::open(&deployment.dir().join("data")).expect("the store");
    let now = testkit::fixtures::noon();
    for action in ["again", "never"] {
        let update = testkit::fixtures::update(user, action).points(7).build();
        store.put_aside(&update, "it never succeeded", now).await.expect("put aside");
    }
    let list = || {
        let (exit, told) = deployment.operate(&["dead-letters", "list", "--json"]);
        assert_eq!(exit, Some(0), "{told}");
        let told: Value = serde_json::from_str(&told).expect("JSON");
        told["deadLetters"].as_array().expect("letters").clone()
    };
    let letters = list();
    let actions: Vec<_> = letters.iter().map(|letter| letter["update"]["actionId"].as_str().expect("an id")).collect();
    assert_eq!(actions, ["again", "never"]);
    let id = |n: usize| letters[n]["id"].as_str().expect("an id");
    let (exit, told) = deployment.operate(&["dead-letters", "retry", id(0)]);
    assert_eq!(exit, Some(0), "{told}");
    let (exit, told) = deployment.operate(&["dead-letters", "drop", id(1)]);
    assert_eq!(exit, Some(0), "{told}");
    let (exit, told) = deployment.operate(&["dead-letters", "drop", id(1)]);
    assert_eq!(exit, Some(1), "{told}");
    assert!(list().is_empty());
    // What happens next counts both.
    let answer = deployment.api.score(&ada, "next", 5).await.expect(200);
    assert_eq!(answer.body["newScore"], 12, "{}", answer.body);
    deployment.stop().await;
}
