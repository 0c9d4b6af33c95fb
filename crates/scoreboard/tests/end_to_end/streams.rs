//! The live stream of the whole product: every way to read it shows the same, and what is private stays so.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::waiting::eventually;
use tokio_tungstenite::tungstenite;

use crate::client::{Client, Player};
use crate::deployment::Deployment;
use crate::sse_reader::SseReader;
use crate::token_mint::TokenMint;
use crate::watcher::Watcher;

/// A change is on every screen within this of its answer, and an ended session off every stream.
const SOON: Duration = Duration::from_secs(1);

/// How long a service that starts again may take.
const RESTARTED: Duration = Duration::from_secs(60);

const TEXT: &str = "scoreboard.v1";
const DELTAS: &str = "scoreboard.v1.delta";

/// The rows of a board as a client shows them: user and score, the best first.
type Rows = Vec<(String, i64)>;

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_read_shows_the_same_embedded() {
    every_way_to_read_shows_the_same(Deployment::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_read_shows_the_same_on_four_processes() {
    every_way_to_read_shows_the_same(Deployment::four_processes().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_brings_its_players_own_changes_and_ends_the_stream_with_it_embedded() {
    tokens(Deployment::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_brings_its_players_own_changes_and_ends_the_stream_with_it_on_four_processes() {
    tokens(Deployment::four_processes().await).await;
}

/// What a client shows after `frames`. Every event must fit what it stands on.
fn shown(frames: &[Value], since: (u64, Rows)) -> (u64, Rows) {
    let (mut version, mut rows) = since;
    for Frame { event, data } in frames.iter().map(Frame::of) {
        let to = data["version"].as_u64();
        match event {
            "scoreboard:snapshot" | "score:update" => rows = board_rows(&data["leaderboard"]),
            "delta" => {
                assert_eq!(data["from"], version, "a delta for somebody who stands elsewhere");
                data["ops"].as_array().expect("a list").iter().for_each(|op| step(&mut rows, op));
            }
            _ => continue,
        }
        assert!(to >= Some(version), "{event} went from {version} back to {to:?}");
        version = to.expect("a version");
    }
    (version, rows)
}

struct Frame<'a> {
    event: &'a str,
    data: &'a Value,
}

impl<'a> Frame<'a> {
    fn of(frame: &'a Value) -> Self {
        Self { event: frame["event"].as_str().expect("an event"), data: &frame["data"] }
    }
}

fn step(rows: &mut Rows, op: &Value) {
    let at = |index: usize| usize::try_from(op[index].as_u64().expect("a position")).expect("small");
    let score = |index: usize| op[index].as_i64().expect("a score");
    match op[0].as_str() {
        Some("-") => drop(rows.remove(at(1))),
        Some("+") => rows.insert(at(1), (op[2].as_str().expect("a user").to_owned(), score(4))),
        Some("=") => rows[at(1)].1 = score(2),
        Some("m") => {
            let row = rows.remove(at(1));
            rows.insert(at(2), (row.0, score(3)));
        }
        _ => panic!("no such operation: {op}"),
    }
}

fn board_rows(leaderboard: &Value) -> Rows {
    crate::watcher::lines(leaderboard).into_iter().map(|(user, score, _)| (user, score)).collect()
}

/// The board by its HTTP reads, which follow within a second, once it stands at `version`.
async fn read(deployment: &Deployment, version: u64) -> (u64, Rows) {
    eventually(SOON, &format!("version {version} in HTTP reads"), async || {
        let now = deployment.version().await;
        if now == version { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    let top = deployment.api.get("/api/v1/scoreboard/top?limit=10").await.expect(200).body;
    (version, board_rows(&top))
}

/// Waits until a client that stood at `since` shows `expected`.
async fn shows(expected: &(u64, Rows), since: &(u64, Rows), frames: impl Fn() -> Vec<Value>) {
    eventually(SOON, &format!("the list at version {}", expected.0), async || {
        let shown = shown(&frames(), since.clone());
        if shown == *expected { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
}

fn nothing() -> (u64, Rows) {
    (0, Vec::new())
}

fn events_url(deployment: &Deployment) -> String {
    deployment.stream_url.replace("ws://", "http://").replace("/ws/scoreboard", "/api/v1/scoreboard/stream")
}

async fn every_way_to_read_shows_the_same(deployment: Deployment) {
    let api = deployment.api.clone();
    let mut players = Vec::new();
    for n in 0..5 {
        players.push(api.join(&format!("player-{n}")).await);
    }
    let text = Watcher::open_offering(&deployment.stream_url, TEXT).await;
    let deltas = Watcher::open_offering(&deployment.stream_url, DELTAS).await;
    let events = SseReader::open(&events_url(&deployment), None).await;
    fifty_updates(&api, &players).await;
    // Computed from what was answered, without a word of the server's lists.
    let mut expected: Rows = players.iter().zip(1..).map(|(player, n)| (player.id.clone(), 10 * n)).collect();
    expected.reverse();
    let expected = (50, expected);
    let from = nothing();
    tokio::join!(
        shows(&expected, &from, || text.frames()),
        shows(&expected, &from, || deltas.frames()),
        shows(&expected, &from, || events.frames()),
    );
    assert_eq!(read(&deployment, 50).await, expected);
    let has = |frames: &[Value], event: &str| frames.iter().any(|frame| frame["event"] == event);
    assert!(has(&deltas.frames(), "delta") && !has(&deltas.frames(), "score:update"));
    assert!(has(&text.frames(), "score:update") && !has(&text.frames(), "delta"));
    for screen in [&text, &deltas] {
        screen.must_never_have_gone_back();
    }
    let events = events_resume(&deployment, &players[0], events, &expected).await;
    a_stop_says_goodbye(deployment, [text, deltas], events).await;
}

/// Ten rounds; in each the n-th player gains n. The players act at once.
async fn fifty_updates(api: &Client, players: &[Player]) {
    let mut playing = tokio::task::JoinSet::new();
    for (player, points) in players.iter().cloned().zip(1..) {
        let api = api.clone();
        playing.spawn(async move {
            for round in 0..10 {
                api.score(&player, &format!("round-{round}"), points).await.expect(200);
            }
        });
    }
    playing.join_all().await;
}

/// An SSE reader that comes back with its last id is led on from there, and hears nothing twice.
async fn events_resume(deployment: &Deployment, player: &Player, events: SseReader, stands: &(u64, Rows)) -> SseReader {
    let (url, api) = (events_url(deployment), &deployment.api);
    let id = events.last_id().expect("an id");
    assert!(id.ends_with(".50"), "{id}");
    drop(events);
    let at_the_head = SseReader::open(&url, Some(&id)).await;
    api.score(player, "while-away", 100).await.expect(200);
    let next = read(deployment, 51).await;
    shows(&next, stands, || at_the_head.frames()).await;
    let frames = at_the_head.frames();
    assert_eq!((&frames[0]["event"], &frames[0]["data"]["version"]), (&json!("score:update"), &json!(51)));
    drop(at_the_head);
    // Behind the head: from the older id.
    let behind = SseReader::open(&url, Some(&id)).await;
    shows(&next, stands, || behind.frames()).await;
    assert_eq!(behind.last_id(), Some(id.replace(".50", ".51")));
    behind
}

/// TERM: a goodbye with a wait, 1012, and an exit within 10 s, which [`Deployment::stop`] looks at.
async fn a_stop_says_goodbye(deployment: Deployment, screens: [Watcher; 2], events: SseReader) {
    deployment.stop().await;
    events.ended().await;
    for screen in &screens {
        assert_eq!(screen.closed().await, 1012);
    }
    let [text, deltas] = screens;
    for frames in [text.frames(), deltas.frames(), events.frames()] {
        let last = frames.last().expect("frames");
        assert_eq!(last["event"], "server:bye", "{last}");
        assert!(last["data"]["reconnectInMs"].is_u64() && last["data"]["reason"].is_string(), "{last}");
    }
}

fn own_changes(screen: &Watcher) -> Vec<Value> {
    let frames = screen.frames();
    frames.iter().filter(|frame| frame["event"] == "score:me").map(|frame| frame["data"].clone()).collect()
}

async fn private(deployment: &Deployment, player: &Player) -> Watcher {
    Watcher::open_offering(&deployment.stream_url, &format!("{TEXT}, bearer.{}", player.token)).await
}

async fn tokens(deployment: Deployment) {
    let api = deployment.api.clone();
    let (ada, bob) = (api.join("ada").await, api.join("bob").await);
    let ada_again = api.login("ada").await;
    let (own, again) = (private(&deployment, &ada).await, private(&deployment, &ada_again).await);
    let (others, public) = (private(&deployment, &bob).await, Watcher::open(&deployment.stream_url).await);

    let me = |version: u64, score: i64, rank: u64, before: Option<u64>| json!({"board": "global", "version": version, "newScore": score, "rank": rank, "previousRank": before});
    let told = async |screen: &Watcher, version: u64| {
        let wanted = |frame: &Value| frame["event"] == "score:me" && frame["data"]["version"] == version;
        screen.first(SOON, "score:me", wanted).await["data"].clone()
    };
    api.score(&ada, "first", 5).await.expect(200);
    assert_eq!(told(&own, 1).await, me(1, 5, 1, None));
    assert_eq!(told(&again, 1).await, me(1, 5, 1, None));
    api.score(&bob, "first", 3).await.expect(200);
    assert_eq!(told(&others, 2).await, me(2, 3, 2, None));
    // Bob's came after ada's on every stream: what is not there by now never will be.
    for screen in [&own, &again, &others, &public] {
        screen.first(SOON, "bob's change", |frame| frame["data"]["version"] == 2).await;
    }
    assert_eq!((own_changes(&own).len(), own_changes(&others).len(), own_changes(&public).len()), (1, 1, 0));

    api.post("/api/v1/auth/logout", &json!({}), &[("authorization", &ada.bearer())]).await.expect(204);
    assert_eq!(own.closed_within(SOON).await, (1008, "token_revoked".to_owned()));
    api.score(&ada_again, "second", 4).await.expect(200);
    assert_eq!(told(&again, 3).await, me(3, 9, 1, Some(1)), "another session goes on");
    refused_tokens(&deployment, &ada, &bob).await;
    // Where one process holds the data, the operator changes boards while it is stopped.
    if deployment.place.is_some() {
        a_board_demands_a_token(&deployment, &bob, &public).await;
    }
    deployment.stop().await;
}

/// Running servers follow within seconds, also on streams that are `open`.
async fn a_board_demands_a_token(deployment: &Deployment, player: &Player, open: &Watcher) {
    let operate = |arguments: &[&str]| {
        let (exit, told) = deployment.operate(arguments);
        assert_eq!(exit, Some(0), "{told}");
        told
    };
    assert!(operate(&["board", "set", "global", "--stream-token", "on"]).contains("demands an access token"));
    let made: Value =
        serde_json::from_str(&operate(&["--json", "board", "create", "members", "--stream-token"])).unwrap();
    assert_eq!(made["streamToken"], true);
    let refused =
        eventually(
            Duration::from_secs(20),
            "a stream without a token to be refused",
            async || match Watcher::try_open(&deployment.stream_url, TEXT).await {
                Err(tungstenite::Error::Http(answer)) if answer.status() == 401 => Some(answer),
                _ => None,
            },
        )
        .await;
    let body: Value = serde_json::from_slice(refused.body().as_deref().unwrap_or_default()).expect("JSON");
    assert_eq!(body["error"]["code"], "unauthenticated");
    assert!(refused.headers().contains_key("www-authenticate"));
    assert_eq!(open.closed_within(SOON).await, (1008, "unauthenticated".to_owned()));
    private(deployment, player).await;
    let board = deployment.api.get("/api/v1/boards/global").await.expect(200).body;
    assert!(board.get("streamToken").is_none(), "the public answer stays as it was: {board}");
}

async fn refused_tokens(deployment: &Deployment, logged_out: &Player, player: &Player) {
    let mint = TokenMint::of(deployment, player);
    for (token, code) in [
        (logged_out.token.clone(), "token_revoked"),
        (mint.expired(), "token_expired"),
        (mint.foreign(true), "unauthenticated"),
        ("x.y.z".to_owned(), "unauthenticated"),
    ] {
        let opened = Watcher::try_open(&deployment.stream_url, &format!("{TEXT}, bearer.{token}")).await;
        let Err(tungstenite::Error::Http(answer)) = opened else { panic!("{code}: it was let in") };
        let body: Value = serde_json::from_slice(answer.body().as_deref().unwrap_or_default()).expect("JSON");
        assert_eq!((answer.status().as_u16(), &body["error"]["code"]), (401, &json!(code)));
        assert!(answer.headers().contains_key("www-authenticate"), "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_opens_as_many_streams_as_its_settings_say_and_says_when_to_come_back() {
    let limits = [("SCOREBOARD__LIMITS__NODE_SOCKETS", "2"), ("SCOREBOARD__LIMITS__ADDRESS_SOCKETS", "0")];
    let deployment = Deployment::embedded_with(&limits).await;
    let events = SseReader::open(&events_url(&deployment), None).await;
    let screen = Watcher::open(&deployment.stream_url).await;
    let Err(tungstenite::Error::Http(refused)) = Watcher::try_open(&deployment.stream_url, TEXT).await else {
        panic!("a third stream was opened")
    };
    let wait = refused.headers().get("retry-after").and_then(|wait| wait.to_str().ok()).map(str::parse::<u64>);
    assert!(refused.status() == 429 && wait.is_some_and(|wait| wait.is_ok_and(|wait| wait > 0)), "{refused:?}");
    let refused = deployment.api.get("/api/v1/scoreboard/stream").await.expect(429);
    assert_eq!((refused.code(), &refused.body["error"]["details"]["limit"]), ("rate_limited", &json!("node-sockets")));
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|wait| wait > 0), "{:?}", refused.headers);
    drop(screen);
    eventually(RESTARTED, "a free place", async || Watcher::try_open(&deployment.stream_url, TEXT).await.ok()).await;
    drop(events);
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_resumes_on_a_fan_out_that_was_killed_and_started_again() {
    let mut deployment = Deployment::four_processes().await;
    let api = deployment.api.clone();
    let (ada, bob) = (api.join("ada").await, api.join("bob").await);
    let screen = Watcher::open_offering(&deployment.stream_url, DELTAS).await;
    api.score(&ada, "before", 5).await.expect(200);
    shows(&(1, vec![(ada.id.clone(), 5)]), &nothing(), || screen.frames()).await;
    let stood = shown(&screen.frames(), nothing());
    let epoch = screen.frames()[0]["data"]["epoch"].as_str().expect("an epoch").to_owned();

    deployment.named("realtime-fanout").kill().await;
    api.score(&bob, "meanwhile", 7).await.expect(200);
    deployment.start_service_again("realtime-fanout");
    let resumed = format!("{}?since={epoch}.{}", deployment.stream_url, stood.0);
    let behind = eventually(RESTARTED, "the new process to let the client in", async || {
        Watcher::try_open(&resumed, DELTAS).await.map_err(|error| error.to_string())
    })
    .await;
    let now = read(&deployment, 2).await;
    assert_eq!(now, (2, vec![(bob.id.clone(), 7), (ada.id.clone(), 5)]));
    shows(&now, &stood, || behind.frames()).await;

    // At the head: nothing old, and on from there.
    let resumed = format!("{}?since={epoch}.2", deployment.stream_url);
    let at_the_head = Watcher::try_open(&resumed, DELTAS).await.expect("let in");
    api.score(&ada, "after", 5).await.expect(200);
    let next = (3, vec![(ada.id.clone(), 10), (bob.id.clone(), 7)]);
    shows(&next, &now, || at_the_head.frames()).await;
    shows(&next, &stood, || behind.frames()).await;
    assert_eq!(at_the_head.frames()[0]["event"], "delta", "nothing old came first");
    deployment.stop().await;
}
