//! What sockets show, and when.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::ports::Event;
use common::standing::TopList;
use realtime_fanout::FanoutSettings;
use serde_json::Value;
use testkit::waiting::within;
use tokio_tungstenite::tungstenite::Message;

use crate::node::Node;
use crate::watcher::Watcher;

/// Within this a change must be visible.
const VISIBLE: Duration = Duration::from_secs(1);

fn assert_shows(data: &Value, top: &TopList) {
    let shown = data["leaderboard"].as_array().unwrap();
    assert_eq!(shown.len(), top.entries.len());
    for (line, entry) in shown.iter().zip(&top.entries) {
        assert_eq!(line["userId"], entry.user.to_string());
        assert_eq!(line["username"].as_str(), Some(&*entry.username));
        assert_eq!((line["score"].as_i64(), line["rank"].as_u64()), (Some(entry.score), Some(entry.rank)));
        assert_eq!(line["lastUpdated"], entry.updated_at.to_string());
    }
}

#[tokio::test]
async fn first_the_snapshot_then_an_update_within_a_second() {
    let node = Node::start().await;
    node.score(0, 30).await;
    node.score(1, 20).await;
    let mut watchers = [Watcher::open(&node.url("")).await, Watcher::open(&node.url("&limit=3")).await];
    for watcher in &mut watchers {
        let snapshot = watcher.expect("scoreboard:snapshot").await;
        let snapshot = if snapshot["version"] == 2 { snapshot } else { watcher.state_at(2).await };
        assert_eq!((snapshot["epoch"].as_str(), snapshot["board"].as_str()), (Some("e1"), Some(node.board.as_str())));
        assert_shows(&snapshot, &node.top(10).await);
    }
    node.score(1, 15).await;
    for watcher in &mut watchers {
        let update = within(VISIBLE, "the update", watcher.expect("score:update")).await;
        assert_eq!(update["version"], 3);
        assert_shows(&update, &node.top(10).await);
        let (user, username) = (node.players[1].user.to_string(), &*node.players[1].username);
        assert_eq!((update["userId"].as_str(), update["newScore"].as_i64()), (Some(&*user), Some(35)));
        let expected = serde_json::json!([
            {"userId": user, "username": username, "newScore": 35, "rank": 1, "previousRank": 2}
        ]);
        assert_eq!(update["updates"], expected);
    }
    node.ended().await;
}

#[tokio::test]
async fn newcomers_and_leavers_are_told_and_changes_below_the_visible_top_are_not() {
    let node = Node::start().await;
    for (player, points) in [(0, 30), (1, 20), (2, 10)] {
        node.score(player, points).await;
    }
    let mut watcher = Watcher::open(&node.url("&limit=2")).await;
    watcher.state_at(3).await;
    node.score(3, 1).await; // below
    node.score(4, 25).await; // pushes player 1 out
    let update = watcher.expect("score:update").await;
    assert_eq!(update["version"], 5, "the change below the top had no frame");
    let moves = update["updates"].as_array().unwrap();
    assert_eq!(moves.len(), 1);
    assert_eq!((&moves[0]["rank"], &moves[0]["previousRank"]), (&2.into(), &Value::Null));
    node.score(0, -29).await; // leaves by its own change
    let update = watcher.expect("score:update").await;
    assert_eq!(update["userId"], node.players[0].user.to_string());
    let moves = update["updates"].as_array().unwrap();
    assert_eq!(
        (&moves[0]["rank"], &moves[0]["previousRank"], &moves[0]["newScore"]),
        (&Value::Null, &1.into(), &1.into())
    );
    assert_shows(&update, &node.top(2).await);
    node.ended().await;
}

#[tokio::test]
async fn a_change_is_visible_within_a_second_though_no_event_told_it() {
    let node = Node::start().await;
    let mut watcher = Watcher::open(&node.url("")).await;
    watcher.expect("scoreboard:snapshot").await;
    for version in 1..=3 {
        node.score_untold(version, 10).await;
        let data = within(VISIBLE, "the untold change", watcher.state_at(version as u64)).await;
        assert_shows(&data, &node.top(10).await);
    }
    node.ended().await;
}

#[tokio::test]
async fn since_at_the_head_sends_nothing_old_and_anything_else_a_snapshot() {
    let node = Node::start().await;
    node.score(0, 30).await;
    let head = node.score(1, 20).await;
    Watcher::open(&node.url("")).await.state_at(2).await;

    let mut resumed = Watcher::open(&node.url(&format!("&since={head}"))).await;
    // A pong comes after whatever was to be sent first.
    resumed.send(Message::Ping("here".into())).await;
    assert_eq!(resumed.message().await, Some(Message::Pong("here".into())), "nothing old is sent");
    for since in ["e0.7", "junk", "e1.x", ""] {
        let mut watcher = Watcher::open(&node.url(&format!("&since={since}"))).await;
        assert_eq!(watcher.expect("scoreboard:snapshot").await["version"], 2, "since={since}");
    }
    node.score(2, 25).await;
    let update = resumed.expect("score:update").await;
    assert_eq!(update["version"], 3);
    assert_shows(&update, &node.top(10).await);
    node.ended().await;
}

#[tokio::test]
async fn since_ahead_of_the_node_makes_it_read_the_truth_first() {
    // Far longer than anybody waits here: it is the truth's answer that is waited for.
    let settings = FanoutSettings { resume_wait: Duration::from_secs(3_600), ..FanoutSettings::default() };
    let node = Node::start_with(settings).await;
    let head = node.score_untold(0, 30).await;
    let mut watcher = Watcher::open(&node.url(&format!("&since={head}"))).await;
    watcher.send(Message::Ping("here".into())).await;
    assert_eq!(watcher.message().await, Some(Message::Pong("here".into())));
    // A claim that no truth bears out is answered with what there is.
    let mut liar = Watcher::open(&node.url("&since=e1.999")).await;
    assert_eq!(liar.expect("scoreboard:snapshot").await["version"], 1);
    node.ended().await;
}

#[tokio::test]
async fn since_ahead_of_the_node_is_answered_within_the_bound_though_the_truth_is_away() {
    let settings = FanoutSettings { resume_wait: Duration::from_millis(200), ..FanoutSettings::default() };
    let node = Node::start_with(settings).await;
    node.truth.away.store(true, Ordering::SeqCst);
    let mut watcher = Watcher::open(&node.url("&since=e1.7")).await;
    assert_eq!(watcher.expect("scoreboard:snapshot").await["version"], 0);
    node.ended().await;
}

#[tokio::test]
async fn staleness_is_said_and_ends_with_a_snapshot() {
    let node = Node::start().await;
    let mut watcher = Watcher::open(&node.url("")).await;
    watcher.expect("scoreboard:snapshot").await;
    node.truth.away.store(true, Ordering::SeqCst);
    let stale = within(Duration::from_secs(3), "staleness", watcher.expect("scoreboard:stale")).await;
    assert!(!stale["reason"].as_str().unwrap().is_empty());
    node.score_untold(0, 10).await;
    let mut newcomer = Watcher::open(&node.url("")).await;
    assert_eq!(newcomer.expect("scoreboard:snapshot").await["version"], 0, "what is known is shown");
    newcomer.expect("scoreboard:stale").await;
    node.truth.away.store(false, Ordering::SeqCst);
    for watcher in [&mut watcher, &mut newcomer] {
        let (event, data) = watcher.event().await;
        assert_eq!(event, "scoreboard:snapshot", "{data}");
        let data = if data["version"] == 1 { data } else { watcher.state_at(1).await };
        assert_shows(&data, &node.top(10).await);
    }
    node.ended().await;
}

#[tokio::test]
async fn a_quiet_socket_hears_a_heartbeat_with_the_newest_version() {
    let settings = FanoutSettings { heartbeat: Duration::from_millis(200), ..FanoutSettings::default() };
    let node = Node::start_with(settings).await;
    node.score(0, 10).await;
    let mut watcher = Watcher::open(&node.url("&limit=1")).await;
    watcher.state_at(1).await;
    node.score(1, 5).await; // invisible at limit 1
    loop {
        let Some(Message::Text(text)) = watcher.message().await else { panic!("a text frame") };
        let frame: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(frame["event"], "heartbeat");
        assert_eq!((&frame["data"]["board"], &frame["data"]["epoch"]), (&node.board.as_str().into(), &"e1".into()));
        if frame["data"]["version"] == 2 {
            break;
        }
    }
    node.ended().await;
}

#[tokio::test]
async fn another_history_with_lower_versions_begins_with_its_snapshot_on_open_sockets() {
    let node = Node::start().await;
    for _ in 0..5 {
        node.score(0, 30).await;
    }
    let mut watchers = [Watcher::open(&node.url("")).await, Watcher::open_delta(&node.url("")).await];
    for watcher in &mut watchers {
        watcher.state_at(5).await;
    }
    let restored = node.restore("e2").await;
    assert_eq!(restored.version.0, 1);
    for watcher in &mut watchers {
        let snapshot = within(Duration::from_secs(3), "the other history", watcher.expect("scoreboard:snapshot")).await;
        assert_eq!((&snapshot["epoch"], &snapshot["version"]), (&"e2".into(), &1.into()));
    }
    node.ended().await;
}

#[tokio::test]
async fn what_a_socket_was_wrongly_shown_is_put_right_by_the_self_check() {
    let settings = FanoutSettings { tick: Duration::from_millis(5), ..FanoutSettings::default() };
    let node = Node::start_checking(settings, Duration::from_secs(2)).await;
    node.score(0, 30).await;
    let mut sockets = [Watcher::open(&node.url("")).await, Watcher::open_delta(&node.url("")).await];
    for socket in &mut sockets {
        socket.state_at(1).await;
    }
    // An event that does not tell what was committed, at the version at which it was.
    let (mut change, _) = node.commit(1, 20).await;
    change.rows[0].score = Some(999);
    let event = Event::BoardChanged { change: Arc::new(change), ranks: Vec::new(), traces: Vec::new() };
    node.bus().publish(event).await.unwrap();
    for socket in &mut sockets {
        let wrong = socket.state_at(2).await;
        assert!(wrong.to_string().contains("999"), "{wrong}");
        let right = within(Duration::from_secs(5), "the self-check", socket.expect("scoreboard:snapshot")).await;
        assert_eq!(right["version"], 2);
        assert_shows(&right, &node.top(10).await);
    }
    // From there on it goes on as ever.
    node.score(0, 5).await;
    for (socket, event) in sockets.iter_mut().zip(["score:update", "delta"]) {
        assert_eq!(socket.expect(event).await["version"], 3);
    }
    node.ended().await;
}

#[tokio::test]
async fn since_ahead_is_never_answered_with_an_older_state_though_the_frames_lag() {
    let settings = FanoutSettings { tick: Duration::from_millis(450), ..FanoutSettings::default() };
    let node = Node::start_with(settings).await;
    node.score(0, 30).await;
    let mut present = Watcher::open(&node.url("")).await;
    present.state_at(1).await;
    node.score(0, 30).await;
    present.state_at(2).await;
    // The next frame waits for its tick. A state that no view remembers, as the truth is further by then.
    let since = node.score_untold(1, 20).await;
    node.score_untold(2, 20).await;
    let mut watcher = Watcher::open(&node.url(&format!("&since={since}"))).await;
    let (event, data) = watcher.event().await;
    assert!(data["version"].as_u64() >= Some(since.version.0), "{event}: {data}");
    node.ended().await;
}
