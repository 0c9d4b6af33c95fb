//! The stream as Server-Sent Events.

use std::time::Duration;

use http_edge::origin::AllowedOrigins;
use realtime_fanout::FanoutSettings;
use serde_json::Value;
use testkit::waiting::{SOON, eventually};

use crate::event_source::EventSource;
use crate::node::Node;
use crate::screen::Screen;

#[tokio::test]
async fn the_same_events_come_with_ids_as_text_that_nobody_keeps_back() {
    let node = Node::start().await;
    node.score(0, 30).await;
    node.score(1, 20).await;
    eventually(SOON, "the view", || async {
        node.views.view(&node.board).is_some_and(|view| view.state().version.0 == 2)
    })
    .await;
    let mut source = EventSource::open(&node.events_url(""), &[]).await;
    let header = |name: &str| source.header(name);
    assert_eq!(header("content-type").as_deref(), Some("text/event-stream"));
    assert_eq!(header("cache-control").as_deref(), Some("no-cache"));
    assert_eq!(header("x-accel-buffering").as_deref(), Some("no"));
    assert!(header("x-request-id").is_some());
    let mut screen = Screen::default();
    let data = source.expect("scoreboard:snapshot").await;
    screen.take("scoreboard:snapshot", &data);
    screen.assert_shows(&node.top(10).await);
    assert_eq!(source.last_id.as_deref(), Some("e1.2"));
    assert!(source.retry.is_some_and(|ms| ms > 0));
    node.score(1, 15).await;
    let data = source.expect("score:update").await;
    assert_eq!(source.last_id.as_deref(), Some("e1.3"));
    assert_eq!(data["updates"][0]["previousRank"], 2);
    screen.take("score:update", &data);
    screen.assert_shows(&node.top(10).await);
    node.ended().await;
}

#[tokio::test]
async fn the_last_event_id_resumes_and_wins_over_since() {
    let node = Node::start().await;
    for player in 0..3 {
        node.score(player, 10).await;
    }
    let mut first = EventSource::open(&node.events_url(""), &[]).await;
    while first.last_id.as_deref() != Some("e1.3") {
        first.event().await.unwrap();
    }
    let url = node.events_url("&since=e1.1");
    let mut resumed = EventSource::open(&url, &[("last-event-id", "e1.3")]).await;
    node.score(0, 10).await;
    let data = resumed.expect("score:update").await;
    assert_eq!(data["version"], 4, "nothing old is sent");
    let mut behind = EventSource::open(&node.events_url(""), &[("last-event-id", "e1.3")]).await;
    let data = behind.expect("score:update").await;
    assert_eq!((&data["version"], data["updates"].as_array().unwrap().len()), (&4.into(), 1));
    for id in ["", "junk", "e0.3"] {
        let mut other = EventSource::open(&node.events_url(""), &[("last-event-id", id)]).await;
        assert_eq!(other.expect("scoreboard:snapshot").await["version"], 4, "{id}");
    }
    node.ended().await;
}

#[tokio::test]
async fn a_heartbeat_is_an_event_with_the_newest_version() {
    let settings = FanoutSettings { heartbeat: Duration::from_millis(200), ..FanoutSettings::default() };
    let node = Node::start_with(settings).await;
    node.score(0, 10).await;
    let mut source = EventSource::open(&node.events_url("&limit=1"), &[]).await;
    while source.last_id.as_deref() != Some("e1.1") {
        source.event().await.unwrap();
    }
    node.score(1, 5).await; // invisible at limit 1
    while source.last_id.as_deref() != Some("e1.2") {
        assert_eq!(source.event().await.unwrap().0, "heartbeat");
    }
    // Who comes back with a heartbeat's id stands there: nothing old is sent, and what comes next leads on from there.
    let mut resumed = EventSource::open(&node.events_url("&limit=1"), &[("last-event-id", "e1.2")]).await;
    node.score(1, 10).await;
    loop {
        let (event, data) = resumed.event().await.unwrap();
        if event != "heartbeat" {
            assert_eq!((event.as_str(), &data["version"]), ("score:update", &3.into()));
            assert_eq!(data["updates"].as_array().unwrap().len(), 1);
            break;
        }
        assert!(data["version"].as_u64() >= Some(2));
    }
    node.ended().await;
}

#[tokio::test]
async fn origins_limits_and_parameters_are_those_of_sockets() {
    let settings = FanoutSettings {
        sockets_per_address: 1,
        allowed_origins: AllowedOrigins::new(vec!["https://shop.example".into()]),
        ..FanoutSettings::default()
    };
    let node = Node::start_with(settings).await;
    let url = node.events_url("");
    for (url, headers, status, code) in [
        (&url, &[("origin", "https://evil.example")][..], 403, "origin_not_allowed"),
        (&node.events_url("&limit=0"), &[], 400, "invalid_request"),
        (&format!("http://127.0.0.1:{}/api/v1/scoreboard/stream?board=nowhere", node.port), &[], 404, "unknown_board"),
    ] {
        let refused = EventSource::request(url, headers).await;
        assert_eq!(refused.status(), status, "{code}");
        let body: Value = refused.json().await.unwrap();
        assert_eq!(body["error"]["code"], code);
    }
    let mut first = EventSource::open(&url, &[("origin", "https://shop.example")]).await;
    assert_eq!(first.header("access-control-allow-origin").as_deref(), Some("https://shop.example"));
    first.expect("scoreboard:snapshot").await;
    let refused = EventSource::request(&url, &[]).await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    drop(first);
    // Whoever goes is noticed though nothing is sent.
    eventually(SOON, "no open stream", || async { node.state.open_sockets() == 0 }).await;
    node.ended().await;
}

#[tokio::test]
async fn a_drain_says_when_to_come_back_and_ends_the_stream() {
    let node = Node::start().await;
    let mut source = EventSource::open(&node.events_url(""), &[]).await;
    source.expect("scoreboard:snapshot").await;
    node.ask_to_stop();
    let bye = source.expect("server:bye").await;
    assert_eq!(source.retry, bye["reconnectInMs"].as_u64(), "also for a browser's own EventSource");
    assert_eq!(source.event().await, None);
    node.ended().await;
}
