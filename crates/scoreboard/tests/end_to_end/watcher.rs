//! A screen: a WebSocket client that keeps every frame.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use serde_json::Value;
use testkit::waiting::{eventually, within};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};

/// What a connection saw, in order.
#[derive(Default)]
struct Seen {
    frames: Vec<Value>,
    closed_with: Option<(u16, String)>,
}

/// An open socket. It is closed when this is dropped.
pub(crate) struct Watcher {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Opens `url` and waits for the first snapshot.
    pub(crate) async fn open(url: &str) -> Self {
        Self::open_offering(url, "scoreboard.v1").await
    }

    /// The same, with subprotocols of its own.
    pub(crate) async fn open_offering(url: &str, offer: &str) -> Self {
        let watcher = Self::try_open(url, offer).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        watcher.first(Duration::from_secs(10), "a snapshot", |frame| frame["event"] == "scoreboard:snapshot").await;
        watcher
    }

    /// Opens `url` and waits for no frame.
    pub(crate) async fn try_open(url: &str, offer: &str) -> Result<Self, tungstenite::Error> {
        let mut request = url.into_client_request().expect("a request");
        request.headers_mut().insert("sec-websocket-protocol", offer.parse().expect("a header"));
        let handshake = tokio_tungstenite::connect_async(request);
        let (mut socket, _) = within(Duration::from_secs(10), "the handshake", handshake).await?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                while let Some(Ok(message)) = socket.next().await {
                    match message {
                        Message::Text(text) => {
                            seen.lock().frames.push(serde_json::from_str(&text).expect("a frame is JSON"));
                        }
                        Message::Close(frame) => {
                            let told = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                            seen.lock().closed_with = Some(told.unwrap_or_default());
                            // The closing handshake; the server may have gone.
                            let _ = socket.flush().await;
                        }
                        _ => {}
                    }
                }
            }
        });
        Ok(Self { seen, task })
    }

    /// Every frame so far.
    pub(crate) fn frames(&self) -> Vec<Value> {
        self.seen.lock().frames.clone()
    }

    /// The first frame that is looked for, also among those that came before.
    pub(crate) async fn first(&self, deadline: Duration, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(deadline, what, async || {
            let seen = self.seen.lock();
            let found = seen.frames.iter().find(|frame| wanted(frame)).cloned();
            found.ok_or_else(|| format!("{} frames, the last one {:?}", seen.frames.len(), seen.frames.last()))
        })
        .await
    }

    /// The code that the server closed with.
    pub(crate) async fn closed(&self) -> u16 {
        self.closed_within(Duration::from_secs(10)).await.0
    }

    /// The code and the reason.
    pub(crate) async fn closed_within(&self, deadline: Duration) -> (u16, String) {
        eventually(deadline, "the server to close the socket", async || self.seen.lock().closed_with.clone()).await
    }

    /// The leaderboard as the screen shows it now, as (user id, score, rank), with its version.
    pub(crate) fn shown(&self) -> (u64, Vec<(String, i64, u64)>) {
        let seen = self.seen.lock();
        let newest = seen.frames.iter().rev().find(|frame| frame["data"]["leaderboard"].is_array());
        newest
            .map(|frame| (frame["data"]["version"].as_u64().unwrap_or(0), lines(&frame["data"]["leaderboard"])))
            .unwrap_or_default()
    }

    /// A screen never goes back.
    pub(crate) fn must_never_have_gone_back(&self) {
        let versions: Vec<_> = self.frames().iter().filter_map(|frame| frame["data"]["version"].as_u64()).collect();
        assert!(versions.is_sorted(), "the versions on one socket: {versions:?}");
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The lines of a leaderboard as (user id, score, rank).
pub(crate) fn lines(leaderboard: &Value) -> Vec<(String, i64, u64)> {
    let line = |entry: &Value| {
        let user = entry["userId"].as_str().expect("a user id").to_owned();
        (user, entry["score"].as_i64().expect("a score"), entry["rank"].as_u64().expect("a rank"))
    };
    leaderboard.as_array().expect("a list").iter().map(line).collect()
}
