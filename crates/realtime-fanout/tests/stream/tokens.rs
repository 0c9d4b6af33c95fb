//! Streams that show a token: who is refused, what they hear, and when they end.

use std::time::Duration;

use common::account::Revocation;
use common::ids::SessionId;
use common::ports::{BoardRules as _, Event};
use serde_json::{Value, json};
use testkit::fixtures::session_id;
use testkit::waiting::{SOON, eventually, within};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::event_source::EventSource;
use crate::node::Node;
use crate::watcher::Watcher;

/// Within this a token that ended ends its streams.
const ENDED: Duration = Duration::from_secs(1);

impl Node {
    fn token(&self, player: usize, session: SessionId, lives_s: i64) -> String {
        self.door.token(&self.players[player], session, self.now(), lives_s)
    }

    async fn open_private(&self, token: &str) -> Watcher {
        let offer = format!("scoreboard.v1, bearer.{token}");
        let watcher = Watcher::try_open(&self.url(""), &[("sec-websocket-protocol", &offer)]).await.unwrap();
        assert_eq!(watcher.subprotocol.as_deref(), Some("scoreboard.v1"), "never the token");
        watcher
    }
}

#[tokio::test]
async fn refused_tokens_get_401_with_their_code_on_every_way_in() {
    let node = Node::start().await;
    let ended = session_id();
    node.door.revoked.lock().push(Revocation { session: ended, revoked_at: node.now() });
    let known = async {
        while Watcher::try_open(&node.url(""), &[("authorization", &bearer(&node.token(0, ended, 60)))]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    Box::pin(within(Duration::from_secs(3), "the revocation", known)).await;
    for (token, code) in [
        (node.token(0, session_id(), -5), "token_expired"),
        (node.token(0, ended, 60), "token_revoked"),
        ("x.y.z".to_owned(), "unauthenticated"),
        (format!("{}x", node.token(0, session_id(), 60)), "unauthenticated"),
    ] {
        let offer = format!("scoreboard.v1.delta, bearer.{token}");
        for header in [("sec-websocket-protocol", offer.as_str()), ("authorization", &bearer(&token))] {
            let refused = Watcher::try_open(&node.url(""), &[header]).await.err().expect("refused");
            assert_eq!((refused.status, &refused.body["error"]["code"]), (401, &code.into()), "{}", header.0);
            assert!(refused.challenge.is_some_and(|challenge| challenge.starts_with("Bearer")));
        }
        let refused = EventSource::request(&node.events_url(""), &[("authorization", &bearer(&token))]).await;
        assert_eq!(refused.status(), 401);
        assert!(refused.headers().contains_key("www-authenticate"));
        assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], code);
    }
    assert_eq!(node.state.open_sockets(), 0);
    node.ended().await;
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test]
async fn a_player_hears_of_its_own_changes_and_of_nobody_elses() {
    let node = Node::start().await;
    for player in 0..12 {
        node.score(player, 100 - i64::try_from(player).unwrap()).await;
    }
    let mut own = node.open_private(&node.token(11, session_id(), 60)).await;
    let mut stranger = Watcher::open(&node.url("")).await;
    own.state_at(12).await;
    stranger.state_at(12).await;
    // Below the visible ten: no frame of the board says so.
    let version = node.score(11, 2).await.version.0;
    let me = own.expect("score:me").await;
    let expected =
        json!({"board": node.board.as_str(), "version": version, "newScore": 91, "rank": 11, "previousRank": 12});
    assert_eq!(me, expected);
    // Somebody else's.
    let others = node.score(0, 1).await.version.0;
    assert_eq!(own.expect("score:update").await["version"], others);
    assert_eq!(stranger.expect("score:update").await["version"], others);
    // Into the visible: both events, and no version goes back.
    let version = node.score(11, 100).await.version.0;
    let (first, second) = (own.event().await, own.event().await);
    let mut events = [first.0.as_str(), second.0.as_str()];
    events.sort_unstable();
    assert_eq!(events, ["score:me", "score:update"]);
    assert!([&first, &second].iter().all(|(_, data)| data["version"] == version));
    let me = if first.0 == "score:me" { &first.1 } else { &second.1 };
    assert_eq!((&me["newScore"], &me["rank"], &me["previousRank"]), (&191.into(), &1.into(), &11.into()));
    assert_eq!(stranger.event().await.0, "score:update");
    node.ended().await;
}

#[tokio::test]
async fn an_own_change_that_no_event_told_or_ranked_is_told_all_the_same() {
    let node = Node::start().await;
    node.score(0, 30).await;
    node.score(1, 20).await;
    let token = bearer(&node.token(1, session_id(), 60));
    let mut source = EventSource::open(&node.events_url("&limit=1"), &[("authorization", &token)]).await;
    source.expect("scoreboard:snapshot").await;
    let version = node.score_untold(1, 5).await.version.0;
    let me = within(Duration::from_secs(3), "the untold change", source.expect("score:me")).await;
    assert_eq!((&me["version"], &me["newScore"], &me["rank"]), (&version.into(), &25.into(), &2.into()));
    let id = source.last_id.clone();
    let version = node.score_unranked(1, 1).await.version.0;
    let me = within(Duration::from_secs(3), "the unranked change", source.expect("score:me")).await;
    assert_eq!((&me["version"], &me["rank"], &me["previousRank"]), (&version.into(), &2.into(), &2.into()));
    assert_eq!(source.last_id, id, "no state to resume from");
    node.ended().await;
}

#[tokio::test]
async fn a_logout_closes_the_sessions_streams_and_no_others() {
    let node = Node::start().await;
    let (ending, staying) = (session_id(), session_id());
    let mut ends = node.open_private(&node.token(0, ending, 60)).await;
    let mut stays = node.open_private(&node.token(0, staying, 60)).await;
    let token = bearer(&node.token(0, ending, 60));
    let mut source = EventSource::open(&node.events_url(""), &[("authorization", &token)]).await;
    for watcher in [&mut ends, &mut stays] {
        watcher.expect("scoreboard:snapshot").await;
    }
    source.expect("scoreboard:snapshot").await;
    let revocation = Revocation { session: ending, revoked_at: node.now() };
    node.bus().publish(Event::SessionRevoked(revocation)).await.unwrap();
    assert_eq!(within(ENDED, "the close", ends.close_code()).await, CloseCode::Policy);
    ends.ended().await;
    assert_eq!(within(ENDED, "the end", source.event()).await, None);
    stays.send(Message::Ping("still here".into())).await;
    assert_eq!(stays.message().await, Some(Message::Pong("still here".into())));

    // The same when the event was lost: auth is asked every second.
    node.door.revoked.lock().push(Revocation { session: staying, revoked_at: node.now() });
    assert_eq!(within(2 * ENDED, "the close", stays.close_code()).await, CloseCode::Policy);
    node.ended().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let node = Node::start().await;
    let mut watcher = node.open_private(&node.token(0, session_id(), 1)).await;
    watcher.expect("scoreboard:snapshot").await;
    node.pass(Duration::from_secs(2));
    assert_eq!(within(3 * ENDED, "the close", watcher.close_code()).await, CloseCode::Policy);
    let token = node.token(0, session_id(), -1);
    let refused = Watcher::try_open(&node.url(""), &[("authorization", &bearer(&token))]).await.err().unwrap();
    assert_eq!(refused.body["error"]["code"], "token_expired");
    node.ended().await;
}

#[tokio::test]
async fn a_board_that_demands_a_token_opens_no_stream_without_one() {
    let node = Node::start().await;
    assert!(node.embedded.store.set_stream_token(&node.board, true).await.unwrap());
    // Rules are read every five seconds.
    eventually(Duration::from_secs(20), "the rule to be read", || async {
        node.views.board(&node.board).is_some_and(|board| board.stream_token)
    })
    .await;
    for offer in ["scoreboard.v1", "scoreboard.v1.delta"] {
        let refused = Watcher::try_open(&node.url(""), &[("sec-websocket-protocol", offer)]).await.err().unwrap();
        assert_eq!((refused.status, &refused.body["error"]["code"]), (401, &json!("unauthenticated")), "{offer}");
        assert!(refused.challenge.is_some_and(|challenge| challenge.starts_with("Bearer")));
    }
    let refused = EventSource::request(&node.events_url(""), &[]).await;
    assert_eq!(refused.status(), 401);
    assert!(refused.headers().contains_key("www-authenticate"));
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], "unauthenticated");
    assert_eq!(node.state.open_sockets(), 0);

    let token = node.token(0, session_id(), 60);
    node.open_private(&token).await.expect("scoreboard:snapshot").await;
    let mut source = EventSource::open(&node.events_url(""), &[("authorization", &bearer(&token))]).await;
    source.expect("scoreboard:snapshot").await;
    node.ended().await;
}

#[tokio::test]
async fn a_board_that_begins_to_demand_a_token_ends_the_open_streams_that_showed_none() {
    let node = Node::start().await;
    let mut sockets = [Watcher::open(&node.url("")).await, Watcher::open_delta(&node.url("&limit=3")).await];
    let mut events = EventSource::open(&node.events_url(""), &[]).await;
    let mut private = node.open_private(&node.token(0, session_id(), 60)).await;
    for socket in &mut sockets {
        socket.expect("scoreboard:snapshot").await;
    }
    events.expect("scoreboard:snapshot").await;
    private.expect("scoreboard:snapshot").await;
    assert!(node.embedded.store.set_stream_token(&node.board, true).await.unwrap());
    for socket in &mut sockets {
        match socket.message().await {
            Some(Message::Close(Some(frame))) => {
                assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::Policy, "unauthenticated"));
            }
            other => panic!("a Close frame is expected, not {other:?}"),
        }
        socket.ended().await;
    }
    assert_eq!(events.event().await, None);
    eventually(SOON, "the places to be free", || async { node.state.open_sockets() == 1 }).await;
    // Who showed a token hears on.
    node.score(1, 10).await;
    private.expect("score:update").await;
    node.ended().await;
}

#[tokio::test]
async fn an_authorization_that_is_no_token_is_refused_and_not_taken_for_none() {
    let node = Node::start().await;
    for value in ["Bearer ", "Bearer", "Basic abc"] {
        let refused = Watcher::try_open(&node.url(""), &[("authorization", value)]).await.err().expect(value);
        assert_eq!((refused.status, &refused.body["error"]["code"]), (401, &"unauthenticated".into()), "{value}");
        let refused = EventSource::request(&node.events_url(""), &[("authorization", value)]).await;
        assert_eq!(refused.status(), 401, "{value}");
    }
    node.ended().await;
}
