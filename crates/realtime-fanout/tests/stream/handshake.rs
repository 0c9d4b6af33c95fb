//! Who may open a socket, and what is said to those who may not.

use std::time::Duration;

use http_edge::origin::AllowedOrigins;
use realtime_fanout::FanoutSettings;
use serde_json::Value;
use testkit::waiting::{SOON, eventually, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::event_source::EventSource;
use crate::node::Node;
use crate::watcher::{Refused, Watcher};

async fn refused(url: &str, headers: &[(&str, &str)]) -> Refused {
    match Watcher::try_open(url, headers).await {
        Ok(_) => panic!("{url} with {headers:?} must be refused"),
        Err(refused) => refused,
    }
}

#[tokio::test]
async fn only_our_own_pages_and_listed_origins_are_let_in() {
    let settings = FanoutSettings {
        allowed_origins: AllowedOrigins::new(vec!["https://shop.example".into()]),
        ..FanoutSettings::default()
    };
    let node = Node::start_with(settings).await;
    let url = node.url("");
    let own = format!("http://127.0.0.1:{}", node.port);
    for origin in [own.as_str(), "https://shop.example"] {
        assert!(Watcher::try_open(&url, &[("origin", origin)]).await.is_ok(), "{origin}");
    }
    assert!(Watcher::try_open(&url, &[]).await.is_ok(), "not a browser");
    for origin in
        ["null", "https://evil.example", "http://shop.example", "https://shop.example.evil", "http://127.0.0.1"]
    {
        let refused = refused(&url, &[("origin", origin)]).await;
        assert_eq!(refused.status, 403, "{origin}");
        assert_eq!(refused.body["error"]["code"], "origin_not_allowed");
        assert_eq!(refused.body["error"]["details"]["setting"], "SCOREBOARD__HTTP__ALLOWED_ORIGINS");
        assert_eq!(refused.body["error"]["requestId"].as_str(), refused.request_id.as_deref());
    }
    node.ended().await;
}

#[tokio::test]
async fn parameters_out_of_range_and_unknown_boards_are_refused_at_the_handshake() {
    let node = Node::start().await;
    for query in ["&limit=0", "&limit=101", "&limit=-1", "&limit=ten", "&limit="] {
        let refused = refused(&node.url(query), &[]).await;
        assert_eq!(refused.status, 400, "{query}");
        assert_eq!(refused.body["error"]["code"], "invalid_request");
        assert_eq!(refused.body["error"]["details"]["field"], "limit");
    }
    let unknown = refused(&format!("ws://127.0.0.1:{}/ws/scoreboard?board=nowhere", node.port), &[]).await;
    assert_eq!((unknown.status, &unknown.body["error"]["code"]), (404, &"unknown_board".into()));
    let nothing = refused(&format!("ws://127.0.0.1:{}/elsewhere", node.port), &[]).await;
    assert_eq!((nothing.status, &nothing.body["error"]["code"]), (404, &"not_found".into()));
    node.ended().await;
}

#[tokio::test]
async fn both_paths_and_the_default_board_show_ten_lines() {
    let node = Node::start().await;
    for path in ["/ws/scoreboard", "/api/v1/ws/scoreboard"] {
        let mut watcher = Watcher::open(&format!("ws://127.0.0.1:{}{path}", node.port)).await;
        assert_eq!(watcher.expect("scoreboard:snapshot").await["board"], "global");
    }
    for player in 0..12 {
        node.score(player, 5).await;
    }
    let mut watcher = Watcher::open(&node.url("")).await;
    assert_eq!(watcher.state_at(12).await["leaderboard"].as_array().unwrap().len(), 10);
    node.ended().await;
}

#[tokio::test]
async fn the_subprotocol_is_answered_where_it_is_offered() {
    let node = Node::start().await;
    let offer = |offer: &'static str| [("sec-websocket-protocol", offer)];
    let spoken = Watcher::try_open(&node.url(""), &offer("chat, scoreboard.v1")).await.unwrap();
    assert_eq!(spoken.subprotocol.as_deref(), Some("scoreboard.v1"));
    assert_eq!(Watcher::open(&node.url("")).await.subprotocol, None);
    node.ended().await;
}

#[tokio::test]
async fn an_upgrade_over_http_1_0_is_refused() {
    let node = Node::start().await;
    let handshake = |version: &str| {
        format!(
            "GET /ws/scoreboard?board={} HTTP/{version}\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            node.board
        )
    };
    let opened = answer(node.port, &handshake("1.1")).await;
    assert!(opened.starts_with("HTTP/1.1 101 "), "{opened}");
    let refused = answer(node.port, &handshake("1.0")).await;
    assert!(refused.split_once(' ').is_some_and(|(_, rest)| rest.starts_with("400 ")), "{refused}");
    assert!(refused.contains("\"code\":\"invalid_request\"") && refused.contains("HTTP/1.1"), "{refused}");
    eventually(SOON, "no open socket", || async { node.state.open_sockets() == 0 }).await;
    node.ended().await;
}

/// The head of the answer and what follows it at once.
async fn answer(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
        assert!(within(SOON, "an answer", stream.read_buf(&mut bytes)).await.unwrap() > 0);
    }
    // A refusal has a body, and ends with it.
    if bytes.windows(5).any(|five| five == b" 400 ") {
        within(SOON, "the body", stream.read_to_end(&mut bytes)).await.unwrap();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Opens streams until one is refused; what that is told, by WebSocket and as Server-Sent Events.
async fn refused_by_both(node: &Node, limit: &str) {
    let socket = refused(&node.url(""), &[]).await;
    assert_eq!((socket.status, &socket.body["error"]["code"]), (429, &"rate_limited".into()));
    assert_eq!(socket.body["error"]["details"]["limit"], limit);
    let waits_s = |retry_after: Option<&str>| retry_after.and_then(|wait| wait.parse::<u64>().ok());
    assert!(waits_s(socket.retry_after.as_deref()).is_some_and(|wait| (1..=60).contains(&wait)), "{socket:?}");
    assert!(socket.limits.iter().flatten().all(|told| told.starts_with(&format!("\"{limit}\";"))), "{socket:?}");
    let events = EventSource::request(&node.events_url(""), &[]).await;
    assert_eq!(events.status(), 429);
    let retry_after = events.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    assert!(waits_s(retry_after.as_deref()).is_some_and(|wait| (1..=60).contains(&wait)), "{retry_after:?}");
    assert_eq!(events.json::<Value>().await.unwrap()["error"]["details"]["limit"], limit);
}

#[tokio::test]
async fn a_node_has_so_many_streams_of_both_kinds_together_and_gets_places_back() {
    let node = Node::start_with(FanoutSettings { sockets_per_node: 2, ..FanoutSettings::default() }).await;
    let mut socket = Watcher::open(&node.url("")).await;
    socket.expect("scoreboard:snapshot").await;
    let mut events = EventSource::open(&node.events_url(""), &[]).await;
    events.expect("scoreboard:snapshot").await;
    refused_by_both(&node, "node-sockets").await;
    drop(events);
    eventually(SOON, "a free place", || async {
        Watcher::try_open(&node.url(""), &[]).await.map_err(|refused| refused.status)
    })
    .await;
    node.ended().await;
}

#[tokio::test]
async fn a_node_takes_so_many_handshakes_in_a_second_and_the_next_ones_later() {
    let node = Node::start_with(FanoutSettings { handshakes_per_second: 3, ..FanoutSettings::default() }).await;
    let (first, second) = (Watcher::open(&node.url("")).await, Watcher::open(&node.url("")).await);
    let _events = EventSource::open(&node.events_url(""), &[]).await;
    // The node's clock stands still: no second begins.
    refused_by_both(&node, "node-handshakes").await;
    drop((first, second));
    refused_by_both(&node, "node-handshakes").await;
    node.pass(Duration::from_secs(1));
    Watcher::open(&node.url("")).await.expect("scoreboard:snapshot").await;
    node.ended().await;
}

#[tokio::test]
async fn an_address_has_so_many_sockets_and_gets_places_back() {
    let node = Node::start_with(FanoutSettings { sockets_per_address: 2, ..FanoutSettings::default() }).await;
    let url = node.url("");
    let first = Watcher::open(&url).await;
    let _second = Watcher::open(&url).await;
    let refused = refused(&url, &[]).await;
    assert_eq!((refused.status, &refused.body["error"]["code"]), (429, &"rate_limited".into()));
    assert_eq!(refused.body["error"]["details"]["limit"], "address-sockets");
    assert!(refused.retry_after.is_some());
    let [policy, left] = refused.limits.map(Option::unwrap);
    assert!(policy.starts_with("\"address-sockets\";q=2;w="), "{policy}");
    assert!(left.starts_with("\"address-sockets\";r=0;t="), "{left}");
    drop(first);
    eventually(SOON, "a free place", || async { Watcher::try_open(&url, &[]).await.map_err(|r| r.status) }).await;
    node.ended().await;
}
