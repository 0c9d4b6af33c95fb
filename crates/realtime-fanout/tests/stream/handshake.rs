//! Who may open a socket, and what is said to those who may not.

use realtime_fanout::FanoutSettings;
use testkit::waiting::{SOON, eventually};

use crate::node::Node;
use crate::watcher::{Refused, Watcher};
use http_edge::origin::AllowedOrigins;

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
