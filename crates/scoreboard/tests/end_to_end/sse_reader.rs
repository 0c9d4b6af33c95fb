//! A screen on Server-Sent Events, which keeps every event as a WebSocket would have brought it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use testkit::waiting::{eventually, within};
use tokio::task::JoinHandle;

/// What a connection saw, in order.
#[derive(Default)]
struct Seen {
    frames: Vec<Value>,
    last_id: Option<String>,
    ended: bool,
}

/// An open response. It is given up when this is dropped.
pub(crate) struct SseReader {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl SseReader {
    /// Opens `url`, after the event with `last_id` if there was one.
    pub(crate) async fn open(url: &str, last_id: Option<&str>) -> Self {
        let mut request = reqwest::Client::new().get(url);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let mut response = within(Duration::from_secs(10), "the answer", request.send()).await.expect("an answer");
        assert_eq!(response.status(), 200);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                let mut bytes = Vec::new();
                while let Ok(Some(chunk)) = response.chunk().await {
                    bytes.extend_from_slice(&chunk);
                    while let Some(end) = bytes.windows(2).position(|two| two == b"\n\n") {
                        let block = bytes.drain(..end + 2).collect();
                        seen.lock().take(&String::from_utf8(block).expect("UTF-8"));
                    }
                }
                seen.lock().ended = true;
            }
        });
        Self { seen, task }
    }

    /// Every event so far.
    pub(crate) fn frames(&self) -> Vec<Value> {
        self.seen.lock().frames.clone()
    }

    /// The newest `id`.
    pub(crate) fn last_id(&self) -> Option<String> {
        self.seen.lock().last_id.clone()
    }

    /// Waits for the end of the response.
    pub(crate) async fn ended(&self) {
        eventually(Duration::from_secs(10), "the server to end the response", async || {
            self.seen.lock().ended.then_some(())
        })
        .await;
    }
}

impl Seen {
    fn take(&mut self, block: &str) {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        if let Some(id) = field("id") {
            self.last_id = Some(id.to_owned());
        }
        if let (Some(event), Some(data)) = (field("event"), field("data")) {
            let data: Value = serde_json::from_str(data).expect("data is JSON");
            self.frames.push(json!({"event": event, "data": data}));
        }
    }
}

impl Drop for SseReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}
