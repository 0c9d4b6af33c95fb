//! What clients may send, and how sockets end.

use std::time::Duration;

use realtime_fanout::FanoutSettings;
use testkit::waiting::{SOON, eventually};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::node::Node;
use crate::watcher::Watcher;

#[tokio::test]
async fn small_messages_are_ignored_and_large_ones_close_with_1009() {
    let node = Node::start().await;
    let mut watcher = Watcher::open(&node.url("")).await;
    watcher.expect("scoreboard:snapshot").await;
    watcher.send(Message::text("x".repeat(1024))).await;
    watcher.send(Message::binary(vec![0; 10])).await;
    watcher.send(Message::Ping("still there".into())).await;
    assert_eq!(watcher.message().await, Some(Message::Pong("still there".into())));
    watcher.send(Message::text("x".repeat(1025))).await;
    assert_eq!(watcher.close_code().await, CloseCode::Size);
    watcher.ended().await;
    eventually(SOON, "no open socket", || async { node.state.open_sockets() == 0 }).await;
    node.ended().await;
}

#[tokio::test]
async fn a_close_is_answered_and_the_place_is_free() {
    let node = Node::start().await;
    let mut watcher = Watcher::open(&node.url("")).await;
    watcher.expect("scoreboard:snapshot").await;
    assert_eq!(node.state.open_sockets(), 1);
    watcher.send(Message::Close(None)).await;
    watcher.ended().await;
    // One that just goes.
    drop(Watcher::open(&node.url("")).await);
    eventually(SOON, "no open socket", || async { node.state.open_sockets() == 0 }).await;
    node.ended().await;
}

#[tokio::test]
async fn a_drain_says_goodbye_and_closes_with_1012() {
    let node = Node::start().await;
    let mut watchers = Vec::new();
    for _ in 0..20 {
        let mut watcher = Watcher::open(&node.url("")).await;
        watcher.expect("scoreboard:snapshot").await;
        watchers.push(watcher);
    }
    let started = tokio::time::Instant::now();
    node.ask_to_stop();
    let mut waits = std::collections::BTreeSet::new();
    for watcher in &mut watchers {
        let bye = watcher.expect("server:bye").await;
        assert!(!bye["reason"].as_str().unwrap().is_empty());
        let wait_ms = bye["reconnectInMs"].as_u64().unwrap();
        assert!(wait_ms <= 60_000);
        waits.insert(wait_ms);
        assert_eq!(watcher.close_code().await, CloseCode::Restart);
        watcher.ended().await;
    }
    assert!(waits.len() > 10, "the waits are spread: {waits:?}");
    node.ended().await;
    assert!(started.elapsed() < Duration::from_secs(5), "drained in {:?}", started.elapsed());
}

#[tokio::test]
async fn whoever_is_sent_away_comes_back_within_a_window_of_the_nodes_size_whatever_the_reason() {
    for reason in ["draining", "the board was restored", "the board is gone"] {
        // 20 sockets make a window of 40 s.
        let settings = FanoutSettings { return_per_socket: Duration::from_secs(2), ..FanoutSettings::default() };
        let node = Node::start_with(settings).await;
        for player in 0..3 {
            node.score(player, 10).await;
        }
        let mut watchers = Vec::new();
        for _ in 0..20 {
            let mut watcher = Watcher::open(&node.url("")).await;
            watcher.state_at(3).await;
            watchers.push(watcher);
        }
        match reason {
            "draining" => node.ask_to_stop(),
            "the board was restored" => assert_eq!(node.restore("e1").await.version.0, 1),
            _ => node.lose_board(),
        }
        let mut waits = Vec::new();
        for watcher in &mut watchers {
            let bye = watcher.expect("server:bye").await;
            assert_eq!(bye["reason"], reason);
            waits.push(bye["reconnectInMs"].as_u64().unwrap());
            assert_eq!(watcher.close_code().await, CloseCode::Restart);
        }
        assert!(waits.iter().all(|wait| *wait <= 40_000), "{reason}: {waits:?}");
        // All within a quarter of it: once in 4^20.
        assert!(waits.iter().any(|wait| *wait > 10_000), "{reason}: {waits:?}");
        node.ended().await;
    }
}

#[tokio::test]
async fn a_group_starts_anew_after_its_last_socket_left() {
    let node = Node::start().await;
    for version in 1..=3 {
        let state = node.score(0, 10).await;
        assert_eq!(state.version.0, version);
        let mut watcher = Watcher::open(&node.url("")).await;
        watcher.state_at(version).await;
        drop(watcher);
        eventually(SOON, "no open socket", || async { node.state.open_sockets() == 0 }).await;
    }
    node.ended().await;
}
