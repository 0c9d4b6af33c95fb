//! A running server as its clients see it: what it shows of a board, by HTTP and by its stream.

use std::fmt;
use std::time::Duration;

use common::ids::{BoardId, UserId};
use common::state::{Epoch, StatePoint, Version};
use common::top_window::MAX_TOP;
use reqwest::{Response, StatusCode};
use runtime::exit::{Exit, Failure, causes};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A node that does not answer within this does not answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The most of a stream that is read for its first state, bytes: a hundred lines take about 20 KB.
const MAX_STREAM_BYTES: usize = 1 << 20;

/// A gateway, a fan-out or an all-in-one by its public address.
pub(crate) struct Node {
    http: reqwest::Client,
    base: String,
}

/// What a node can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    /// `/api/v1/scoreboard/top`
    Top,
    /// The first state on a new stream.
    Stream,
}

impl fmt::Display for Surface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Top => "/top",
            Self::Stream => "stream",
        })
    }
}

/// A board as a node shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) state: StatePoint,
    /// Best first; fewer than [`MAX_TOP`] are the whole board.
    pub(super) lines: Vec<ShownLine>,
}

/// A line as a node shows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownLine {
    pub(super) user_id: String,
    pub(super) username: String,
    pub(super) score: i64,
    pub(super) rank: u64,
    pub(super) last_updated: String,
}

/// A player's line with those around it.
#[derive(Debug, Deserialize)]
pub(super) struct ShownAround {
    pub(super) neighbors: Vec<ShownLine>,
}

/// What came of a question.
#[derive(Debug)]
pub(super) enum Told<T> {
    Answer(T),
    /// The node does not serve this path at all.
    NotServed,
    /// It may not be asked so: why.
    Closed(String),
    /// It did not answer as a node does: what it did instead.
    Not(String),
}

impl Node {
    pub(crate) fn new(url: &str) -> Result<Self, Failure> {
        let base = url.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") {
            return Err(Failure::new(
                Exit::Usage,
                format!("--node {url}: must begin with http://; this client speaks no TLS"),
            ));
        }
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .build()
            .map_err(|error| Failure::new(Exit::Bug, format!("no HTTP client: {}", causes(&error))))?;
        Ok(Self { http, base })
    }

    /// What the board shows now.
    pub(super) async fn shown(&self, surface: Surface, board: &BoardId) -> Told<Shown> {
        match surface {
            Surface::Top => {
                let path = format!("/api/v1/scoreboard/top?board={board}&limit={MAX_TOP}");
                self.ask(&path, read_top).await
            }
            Surface::Stream => {
                let path = format!("/api/v1/scoreboard/stream?board={board}&limit={MAX_TOP}");
                self.ask(&path, read_stream).await
            }
        }
    }

    /// A player's line and up to 50 on each side.
    pub(super) async fn around(&self, board: &BoardId, user: UserId, around: usize) -> Told<ShownAround> {
        let path = format!("/api/v1/scoreboard/users/{user}?board={board}&around={around}");
        self.ask(&path, async |response| read_json(response).await).await
    }

    async fn ask<T>(&self, path: &str, read: impl AsyncFnOnce(Response) -> Result<T, String>) -> Told<T> {
        let response = match self.http.get(format!("{}{path}", self.base)).send().await {
            Ok(response) => response,
            Err(error) => return Told::Not(format!("no answer: {}", causes(&error))),
        };
        let status = response.status();
        if status == StatusCode::OK {
            return match read(response).await {
                Ok(answer) => Told::Answer(answer),
                Err(problem) => Told::Not(problem),
            };
        }
        let body: Value = response.json().await.unwrap_or_default();
        let code = body["error"]["code"].as_str().unwrap_or_default();
        match (status, code) {
            (StatusCode::NOT_FOUND, "not_found") if !path.contains("/users/") => Told::NotServed,
            (StatusCode::UNAUTHORIZED, _) => Told::Closed("it demands an access token".to_owned()),
            (StatusCode::TOO_MANY_REQUESTS, _) => Told::Closed("it lets this address ask no more for now".to_owned()),
            _ => Told::Not(format!("{status} {code}")),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

async fn read_json<T: DeserializeOwned>(response: Response) -> Result<T, String> {
    response.json().await.map_err(|error| format!("an answer that is none of ours: {}", causes(&error)))
}

async fn read_top(response: Response) -> Result<Shown, String> {
    let tag = response.headers().get("etag").and_then(|tag| tag.to_str().ok()).unwrap_or_default();
    let state = StatePoint::parse(tag.trim_matches('"')).ok_or_else(|| format!("an ETag that is no state: {tag:?}"))?;
    Ok(Shown { state, lines: read_json(response).await? })
}

/// The first snapshot of a stream of Server-Sent Events, which is closed then.
async fn read_stream(mut response: Response) -> Result<Shown, String> {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_STREAM_BYTES {
        let chunk = response.chunk().await.map_err(|error| format!("a stream that broke: {}", causes(&error)))?;
        let Some(chunk) = chunk else { break };
        bytes.extend_from_slice(&chunk);
        while let Some(end) = bytes.windows(2).position(|two| two == b"\n\n") {
            let block: Vec<u8> = bytes.drain(..end + 2).collect();
            if let Some(shown) = read_snapshot(&String::from_utf8_lossy(&block))? {
                return Ok(shown);
            }
        }
    }
    Err("a stream without a snapshot".to_owned())
}

#[derive(Deserialize)]
struct Snapshot {
    epoch: String,
    version: u64,
    leaderboard: Vec<ShownLine>,
}

/// `None`: another event.
fn read_snapshot(block: &str) -> Result<Option<Shown>, String> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    if field("event") != Some("scoreboard:snapshot") {
        return Ok(None);
    }
    let damaged = || "a snapshot that is none of ours".to_owned();
    let snapshot: Snapshot = serde_json::from_str(field("data").unwrap_or_default()).map_err(|_| damaged())?;
    let epoch = Epoch::parse(&snapshot.epoch).ok_or_else(damaged)?;
    let state = StatePoint { epoch, version: Version(snapshot.version) };
    Ok(Some(Shown { state, lines: snapshot.leaderboard }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_snapshot_is_taken_for_one() {
        let snapshot =
            "event: scoreboard:snapshot\nid: e.4\ndata: {\"epoch\":\"e\",\"version\":4,\"leaderboard\":[]}\n\n";
        let shown = read_snapshot(snapshot).unwrap().expect("a snapshot");
        assert_eq!((shown.state.to_string().as_str(), shown.lines.len()), ("e.4", 0));
        assert_eq!(read_snapshot("retry: 2000\n\n").unwrap(), None);
        assert_eq!(read_snapshot("event: heartbeat\ndata: {}\n\n").unwrap(), None);
        assert!(read_snapshot("event: scoreboard:snapshot\ndata: {}\n\n").is_err());
    }
}
