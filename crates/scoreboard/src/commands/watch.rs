//! `scoreboard watch`: a board as it moves.

use std::fmt::Write as _;

use common::ids::BoardId;
use futures_util::StreamExt as _;
use runtime::backoff::Backoff;
use runtime::exit::{Exit, Failure};
use serde_json::Value;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::command_line::WatchArgs;
use crate::output::Output;

/// Follows until the process is stopped. A connection that breaks is made again from where the last one stood.
pub(crate) async fn run(args: WatchArgs, output: Output) -> Result<Exit, Failure> {
    let board = BoardId::parse(&args.board).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let base = args.server.url.trim_end_matches('/');
    let Some(place) = base.strip_prefix("http://") else {
        return Err(Failure::new(
            Exit::Usage,
            format!("--url {base}: must begin with http://; this client speaks no TLS"),
        ));
    };
    let url = format!("ws://{place}/ws/scoreboard?board={board}&limit={}", args.limit);
    let mut state: Option<String> = None;
    let mut backoff = Backoff::reconnect();
    loop {
        let since = state.as_ref().map(|state| format!("&since={state}")).unwrap_or_default();
        match tokio_tungstenite::connect_async(format!("{url}{since}")).await {
            Ok((mut socket, _)) => {
                backoff.reset();
                while let Some(Ok(message)) = socket.next().await {
                    if let Message::Text(frame) = message {
                        show(&frame, &mut state, output);
                    }
                }
            }
            // The first connection tells whether this can work at all.
            Err(error) if state.is_none() => return Err(refused(base, &error)),
            Err(_) => {}
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
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

fn show(frame: &str, state: &mut Option<String>, output: Output) {
    let Ok(frame) = serde_json::from_str::<Value>(frame) else { return };
    let data = &frame["data"];
    if let (Some(epoch), Some(version)) = (data["epoch"].as_str(), data["version"].as_u64()) {
        *state = Some(format!("{epoch}.{version}"));
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
