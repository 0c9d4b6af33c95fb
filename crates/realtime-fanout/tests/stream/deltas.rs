//! `scoreboard.v1.delta`, and how clients that come back are led on.

use realtime_fanout::FanoutSettings;
use serde_json::json;
use std::time::Duration;
use testkit::waiting::{SOON, within};
use tokio_tungstenite::tungstenite::Message;

use crate::node::Node;
use crate::screen::Screen;
use crate::watcher::Watcher;

async fn follow_to(watcher: &mut Watcher, screen: &mut Screen, version: u64) {
    while screen.version < version {
        let (event, data) = watcher.any_event().await;
        screen.take(&event, &data);
    }
}

#[tokio::test]
async fn deltas_lead_from_the_snapshot_to_the_truth_and_carry_checks() {
    let node = Node::start().await;
    let urls = ["", "&limit=3", "&limit=100"].map(|limit| node.url(limit));
    let mut clients = Vec::new();
    for url in &urls {
        clients.push((Watcher::open_delta(url).await, Screen::default()));
    }
    let mut head = 0;
    for round in 0..400_usize {
        let points = i64::try_from(round * 37 % 101).unwrap() - 30;
        head = node.score(round * 31 % 120, points).await.version.0;
    }
    // A visible one, so that everybody hears of the end.
    head = head.max(node.score(7, 500_000).await.version.0);
    for ((watcher, screen), limit) in clients.iter_mut().zip([10, 3, 100]) {
        within(SOON, "the newest state", follow_to(watcher, screen, head)).await;
        screen.assert_shows(&node.top(limit).await);
        assert_eq!(screen.snapshots, 1, "the first alone");
        assert!(screen.deltas > 0 && screen.checks > 0, "{screen:?}");
        assert_eq!(screen.updates, 0);
    }
    node.ended().await;
}

#[tokio::test]
async fn whoever_comes_back_is_led_on_from_where_it_stood() {
    let node = Node::start().await;
    node.score(0, 30).await;
    let stood = node.score(1, 20).await;
    let shown = node.top(10).await;
    let mut present = Watcher::open(&node.url("")).await;
    present.state_at(2).await;
    node.score(2, 25).await;
    node.score(1, 15).await;
    node.score(2, 1).await;
    present.state_at(5).await;

    let mut delta = Watcher::open_delta(&node.url(&format!("&since={stood}"))).await;
    let mut screen = Screen::of(&shown);
    let (event, data) = delta.event().await;
    assert_eq!(event, "delta");
    screen.take(&event, &data);
    screen.assert_shows(&node.top(10).await);

    let mut update = Watcher::open(&node.url(&format!("&since={stood}"))).await;
    let data = update.expect("score:update").await;
    assert_eq!(data["version"], 5);
    let [first, second] = [1, 2].map(|player: usize| (node.players[player].user, &*node.players[player].username));
    let expected = json!([
        {"userId": first.0.to_string(), "username": first.1, "newScore": 35, "rank": 1, "previousRank": 2},
        {"userId": second.0.to_string(), "username": second.1, "newScore": 26, "rank": 3, "previousRank": null},
    ]);
    assert_eq!(data["updates"], expected, "everybody who moved since");
    node.ended().await;
}

#[tokio::test]
async fn whoever_comes_back_hears_the_newest_version_though_nothing_visible_changed() {
    let node = Node::start().await;
    let stood = node.score(0, 30).await;
    Watcher::open(&node.url("&limit=1")).await.state_at(1).await;
    node.score(1, 5).await;
    Watcher::open(&node.url("&limit=1")).await.state_at(2).await;
    let url = node.url(&format!("&limit=1&since={stood}"));
    let data = Watcher::open_delta(&url).await.expect("delta").await;
    assert_eq!(data, json!({"from": 1, "version": 2, "ops": []}));
    assert_eq!(Watcher::open(&url).await.expect("scoreboard:snapshot").await["version"], 2);
    // At the head nothing old is sent: a pong comes after whatever was to be sent first.
    let mut resumed = Watcher::open_delta(&node.url("&limit=1&since=e1.2")).await;
    resumed.send(Message::Ping("here".into())).await;
    assert_eq!(resumed.message().await, Some(Message::Pong("here".into())));
    node.ended().await;
}

#[tokio::test]
async fn what_no_delta_can_serve_is_a_snapshot() {
    let node = Node::start().await;
    // Read from the truth in one go: no node remembers the states between.
    node.score_untold(0, 30).await;
    node.score_untold(1, 20).await;
    let head = node.score(2, 10).await;
    Watcher::open(&node.url("")).await.state_at(head.version.0).await;
    for since in ["e1.1", "e0.2", "e1.999", "junk"] {
        let mut watcher = Watcher::open_delta(&node.url(&format!("&since={since}"))).await;
        assert_eq!(watcher.expect("scoreboard:snapshot").await["version"], 3, "since={since}");
    }
    node.ended().await;
}

#[tokio::test]
async fn newcomers_and_old_hands_get_each_the_delta_from_where_they_stand() {
    let settings = FanoutSettings { tick: Duration::from_millis(30), ..FanoutSettings::default() };
    let node = Node::start_with(settings).await;
    node.score(0, 1000).await;
    let mut clients = Vec::new();
    let mut head = 1;
    for round in 0..30 {
        let url = node.url("&limit=1");
        clients.push((Watcher::open_delta(&url).await, Screen::default()));
        // Most change nothing that is visible, so that everybody stands at another version.
        head = node.score(1 + round, 1).await.version.0;
        if round % 7 == 6 {
            head = node.score(0, 1).await.version.0;
        }
    }
    let last = node.score(0, 5).await.version.0;
    assert!(last > head);
    for (watcher, screen) in &mut clients {
        within(SOON, "the newest state", follow_to(watcher, screen, last)).await;
        screen.assert_shows(&node.top(1).await);
        assert_eq!(screen.snapshots, 1, "{screen:?}");
    }
    node.ended().await;
}

#[tokio::test]
async fn a_heartbeat_moves_no_delta() {
    let settings = FanoutSettings { heartbeat: Duration::from_millis(200), ..FanoutSettings::default() };
    let node = Node::start_with(settings).await;
    node.score(0, 30).await;
    let stood = node.score(1, 20).await.version.0;
    let mut watcher = Watcher::open_delta(&node.url("&limit=1")).await;
    let mut screen = Screen::default();
    within(SOON, "the rows", follow_to(&mut watcher, &mut screen, stood)).await;
    node.score(1, 1).await;
    let below = node.score(1, 1).await.version.0;
    while screen.beaten < below {
        let (event, data) = watcher.any_event().await;
        screen.take(&event, &data);
    }
    let head = node.score(1, 100).await.version.0;
    let (event, data) = watcher.event().await;
    assert_eq!((event.as_str(), data["from"].as_u64()), ("delta", Some(screen.version)), "from the rows");
    screen.take(&event, &data);
    assert_eq!(screen.version, head);
    screen.assert_shows(&node.top(1).await);
    node.ended().await;
}
