//! `scoreboard watch`: a board as it moves.

use std::fmt::Write as _;
use std::time::Duration;

use common::ids::BoardId;
use futures_util::StreamExt as _;
use runtime::backoff::Backoff;
use runtime::exit::{Exit, Failure};
use serde_json::Value;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::{Error, Message};
use zeroize::Zeroizing;

use super::given_secret;
use crate::command_line::WatchArgs;
use crate::output::Output;

/// The longest that a server's goodbye keeps us away.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// Follows until the process is stopped. A connection that breaks is made again from where the last one stood.
pub(crate) async fn run(args: WatchArgs, output: Output) -> Result<Exit, Failure> {
    let authorization = authorization(given_secret::token(&args.token)?)?;
    let board = BoardId::parse(&args.board).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let base = args.server.url.trim_end_matches('/');
    let Some(place) = base.strip_prefix("http://") else {
        return Err(Failure::new(
            Exit::Usage,
            format!("--url {base}: must begin with http://; this client speaks no TLS"),
        ));
    };
    let url = format!("ws://{place}/ws/scoreboard?board={board}&limit={}", args.limit);
    let mut seen = Seen::default();
    let mut backoff = Backoff::reconnect();
    loop {
        let since = seen.state.as_ref().map(|state| format!("&since={state}")).unwrap_or_default();
        let mut request = format!("{url}{since}").into_client_request().map_err(|error| refused(base, &error))?;
        request.headers_mut().extend(authorization.iter().map(|token| (AUTHORIZATION, token.clone())));
        match tokio_tungstenite::connect_async(request).await {
            Ok((mut socket, _)) => {
                backoff.reset();
                while let Some(Ok(message)) = socket.next().await {
                    if let Message::Text(frame) = message {
                        show(&frame, &mut seen, output);
                    }
                }
            }
            // The first connection tells whether this can work at all; later ones, whether it still may.
            Err(error) if seen.state.is_none() || is_final(&error) => return Err(refused(base, &error)),
            Err(_) => {}
        }
        let asked = seen.asked_to_wait.take().map(|wait| wait.min(LONGEST_WAIT));
        tokio::time::sleep(asked.unwrap_or_else(|| backoff.next_wait())).await;
    }
}

/// What the stream has told so far.
#[derive(Default)]
struct Seen {
    /// `epoch.version`, to go on from.
    state: Option<String>,
    /// How long the server wants us to stay away.
    asked_to_wait: Option<Duration>,
}

/// The header with the token, which no log shows.
fn authorization(token: Option<Zeroizing<String>>) -> Result<Option<HeaderValue>, Failure> {
    let Some(token) = token else { return Ok(None) };
    let mut value = HeaderValue::from_str(&format!("Bearer {}", *token))
        .map_err(|_| Failure::new(Exit::Usage, "the token holds what no token may hold"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Whether trying again cannot help: the token is good no more, say, or the board is gone.
fn is_final(error: &Error) -> bool {
    matches!(error, Error::Http(answer) if matches!(answer.status().as_u16(), 400 | 401 | 403 | 404))
}

fn refused(base: &str, error: &Error) -> Failure {
    let Error::Http(answer) = error else {
        let text = format!(
            "no stream at {base}: {error}. Start a server with `scoreboard serve`, or say where it is with --url"
        );
        return Failure::new(Exit::Unavailable, text);
    };
    let said: Option<Value> = answer.body().as_deref().and_then(|body| serde_json::from_slice(body).ok());
    let said = said.as_ref().map(|body| (&body["error"]["code"], &body["error"]["message"]));
    match said {
        Some((Value::String(code), Value::String(message))) => {
            Failure::new(Exit::Refused, format!("{code}: {message}"))
        }
        _ => Failure::new(Exit::Refused, format!("{base} refuses the stream: HTTP {}", answer.status())),
    }
}

fn show(frame: &str, seen: &mut Seen, output: Output) {
    let Ok(frame) = serde_json::from_str::<Value>(frame) else { return };
    let data = &frame["data"];
    if let (Some(epoch), Some(version)) = (data["epoch"].as_str(), data["version"].as_u64()) {
        seen.state = Some(format!("{epoch}.{version}"));
    }
    if frame["event"] == "server:bye" {
        seen.asked_to_wait = data["reconnectInMs"].as_u64().map(Duration::from_millis);
    }
    output.print(&frame, || in_words(&frame));
}

fn in_words(frame: &Value) -> String {
    let data = &frame["data"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match frame["event"].as_str() {
        Some("scoreboard:snapshot") => {
            let mut table = format!("{} at version {}", text(&data["board"]), data["version"]);
            for entry in data["leaderboard"].as_array().into_iter().flatten() {
                let rank = entry["rank"].to_string();
                // Writing to a text cannot fail.
                let _ =
                    write!(table, "\n{rank:>5}  {:<32} {:>12}", text(&entry["username"]), entry["score"].to_string());
            }
            table
        }
        Some("score:update") => {
            let moves: Vec<_> = data["updates"].as_array().into_iter().flatten().map(moved).collect();
            format!("{:>8}  {}", data["version"].to_string(), moves.join(", "))
        }
        Some("heartbeat") => format!("{:>8}  (nothing moves)", data["version"].to_string()),
        Some(event) => format!("          {event} {data}"),
        None => frame.to_string(),
    }
}

fn moved(update: &Value) -> String {
    let name = update["username"].as_str().unwrap_or_default();
    let (score, rank, previous) = (&update["newScore"], &update["rank"], &update["previousRank"]);
    if previous.is_null() {
        format!("{name} {score} (#{rank}, new)")
    } else if previous == rank {
        format!("{name} {score} (#{rank})")
    } else {
        format!("{name} {score} (#{rank}, was #{previous})")
    }
}
