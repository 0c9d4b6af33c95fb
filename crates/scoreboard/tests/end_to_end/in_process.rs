//! The application object, as a program of somebody else's would hold it.

use std::time::Duration;

use runtime::lifecycle::Lifecycle;
use runtime::settings::{Settings, Sources};
use runtime::telemetry::Metrics;
use scoreboard::ScoreboardApp;
use testkit::waiting::{eventually, within};

use crate::client::Client;

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_product_runs_inside_another_program() {
    let dir = tempfile::tempdir().expect("a directory");
    let listeners = ["http", "admin", "grpc"].map(|name| (format!("{name}.listen"), "127.0.0.1:0".to_owned()));
    let data = ("data.dir".to_owned(), dir.path().join("data").display().to_string());
    let sources = Sources { flags: listeners.into_iter().chain([data]).collect(), ..Sources::default() };
    let settings = Settings::load(&sources).expect("settings");

    let lifecycle = Lifecycle::new();
    let app = ScoreboardApp::build(&settings, lifecycle.clone(), Metrics::default()).expect("it is built");
    let addresses = app.addresses().expect("it listens");
    let running = tokio::spawn(app.run_until_stopped());

    let ready = format!("http://{}/readyz", addresses.admin);
    eventually(Duration::from_secs(20), "it to be ready", async || {
        reqwest::get(&ready).await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    let api = Client::new(&format!("http://{}", addresses.http));
    let player = api.join("embedding").await;
    assert_eq!(api.score(&player, "first", 12).await.expect(200).body["rank"], 1);

    // Another program cannot serve from the same directory meanwhile.
    let again = ScoreboardApp::build(&settings, Lifecycle::new(), Metrics::default()).err().expect("it is in use");
    assert!(again.message.contains("SCOREBOARD__DATA__DIR"), "{}", again.message);

    lifecycle.stop();
    within(Duration::from_secs(10), "it to stop", running).await.expect("no panic").expect("a clean end");
}
