//! The curve of a board, for those who ask for it.

use std::time::Duration;

use realtime_fanout::FanoutSettings;
use serde_json::json;

use crate::event_source::EventSource;
use crate::node::Node;
use crate::watcher::Watcher;

#[tokio::test]
async fn the_curve_comes_to_those_who_ask_and_again_only_when_it_changed() {
    let settings = FanoutSettings {
        tick: Duration::from_millis(5),
        curve: Duration::from_millis(50),
        heartbeat: Duration::from_millis(300),
        ..FanoutSettings::default()
    };
    let node = Node::start_with(settings).await;
    for player in 0..25 {
        node.score(player, 1000 - 10 * i64::try_from(player).unwrap()).await;
    }
    let mut plain = Watcher::open(&node.url("")).await;
    plain.state_at(25).await;
    let mut watcher = Watcher::open_delta(&node.url("&limit=1&curve=1")).await;
    watcher.state_at(25).await;
    let curve = watcher.expect("scoreboard:curve").await;
    let points = json!([[1, 1000], [2, 990], [5, 960], [10, 910], [20, 810]]);
    let expected = json!({"board": node.board.as_str(), "epoch": "e1", "version": 25, "players": 25, "points": points});
    assert_eq!(curve, expected);

    let mut source = EventSource::open(&node.events_url("&limit=1&curve=1"), &[]).await;
    let first = [source.event().await.unwrap().0, source.event().await.unwrap().0];
    assert!(first.contains(&"scoreboard:curve".to_owned()), "a newcomer has it at once: {first:?}");

    // Between two of the ranks: nothing of the curve changes, and nothing of the visible line.
    let version = node.score(12, 1).await.version.0;
    loop {
        let (event, data) = watcher.any_event().await;
        assert_eq!(event, "heartbeat", "{data}");
        if data["version"] == version {
            break;
        }
    }
    let version = node.score(30, 5).await.version.0;
    let curve = watcher.expect("scoreboard:curve").await;
    assert_eq!((&curve["version"], &curve["players"], &curve["points"]), (&version.into(), &26.into(), &points));
    // Whoever did not ask has nothing to hear: the next event is of the board.
    let version = node.score(0, 1).await.version.0;
    assert_eq!(plain.expect("score:update").await["version"], version);
    node.ended().await;
}
