//! Players: accounts that the public interface made, logged in.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::signing::Signer;
use crate::failure::Failure;
use crate::http::Connection;
use crate::progress::Progress;
use crate::target::Target;

/// Passwords are hashed: two at once keep two cores busy.
const AT_ONCE: usize = 4;

/// An access token lives an hour; a file of players is used while a run of some minutes fits in.
const FRESH: Duration = Duration::from_secs(40 * 60);

const PASSWORD: &str = "a password for load tests";

/// Somebody who can score.
#[derive(Clone, Debug)]
pub(crate) struct Player {
    pub(crate) user: Uuid,
    pub(crate) token: String,
    pub(crate) signer: Signer,
}

/// As a file keeps it, and as login answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Login {
    user_id: Uuid,
    access_token: String,
    signing_key: String,
}

impl Login {
    fn player(&self) -> Option<Player> {
        let key = URL_SAFE_NO_PAD.decode(self.signing_key.trim_end_matches('=')).ok()?;
        Some(Player { user: self.user_id, token: self.access_token.clone(), signer: Signer::new(&key)? })
    }
}

/// `count` players: from the file if it is young enough and its tokens are taken, else registered and logged in now, and
/// kept in the file. The server must not limit strangers (`SCOREBOARD__LIMITS__ADDRESS_ANONYMOUS_PER_HOUR=0`).
///
/// # Errors
/// [`Failure::Server`]
pub(crate) async fn players(
    target: &Target,
    count: usize,
    file: Option<&Path>,
    progress: &mut Progress,
) -> Result<Arc<[Player]>, Failure> {
    if let Some(path) = file
        && let Some(players) = remembered(target, count, path).await
    {
        return Ok(players);
    }
    let run = hex::encode(rand::random::<[u8; 4]>());
    let joining = (0..count).map(|n| join(target, format!("load-{run}-{n}")));
    let mut joining = stream::iter(joining).buffered(AT_ONCE);
    let mut logins = Vec::with_capacity(count);
    while let Some(login) = joining.next().await {
        logins.push(login?);
        progress.tell(&format!("players: {} of {count} registered and logged in", logins.len()));
    }
    if let Some(path) = file {
        keep(path, &logins)?;
    }
    all(&logins).ok_or_else(|| Failure::server("login", "its signing key is no base64url"))
}

fn all(logins: &[Login]) -> Option<Arc<[Player]>> {
    logins.iter().map(Login::player).collect()
}

async fn remembered(target: &Target, count: usize, path: &Path) -> Option<Arc<[Player]>> {
    let modified = std::fs::metadata(path).and_then(|file| file.modified()).ok()?;
    let age: Duration = modified.elapsed().unwrap_or_default();
    let mut logins: Vec<Login> = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    if age > FRESH || logins.len() < count {
        return None;
    }
    logins.truncate(count);
    let players = all(&logins)?;
    // Of another server, or of one that was set up anew: its tokens are refused.
    let mut connection = Connection::new(target.clone(), Duration::from_secs(10));
    let receipt = crate::http::get(&target.host, "/api/v1/score/updates/none?board=global", Some(&players[0].token));
    let answer = connection.exchange(receipt.as_bytes()).await.ok()?;
    (answer.status == 404).then_some(players)
}

fn keep(path: &Path, logins: &[Login]) -> Result<(), Failure> {
    let text = serde_json::to_string(logins).map_err(|error| Failure::server("the file of players", error))?;
    std::fs::write(path, text).map_err(Failure::system(format!("{} cannot be written", path.display())))
}

async fn join(target: &Target, name: String) -> Result<Login, Failure> {
    let mut connection = Connection::new(target.clone(), Duration::from_secs(30));
    let credentials = json!({"username": name, "password": PASSWORD});
    expect(&mut connection, "/api/v1/auth/register", &credentials, 201).await?;
    let login = expect(&mut connection, "/api/v1/auth/login", &credentials, 200).await?;
    serde_json::from_value(login).map_err(|error| Failure::server("login", error))
}

async fn expect(connection: &mut Connection, path: &str, body: &Value, status: u16) -> Result<Value, Failure> {
    let (found, answer) =
        connection.post_json(path, body).await.map_err(|error| Failure::server(format!("POST {path}"), error))?;
    if found == status { Ok(answer) } else { Err(Failure::server(format!("POST {path}"), format!("{found} {answer}"))) }
}

/// What each player has on each board now. A player without a score has 0.
///
/// # Errors
/// [`Failure::Server`]
pub(crate) async fn scores(
    target: &Target,
    players: &[Player],
    boards: &[String],
) -> Result<BTreeMap<(String, Uuid), i64>, Failure> {
    let mut connection = Connection::new(target.clone(), Duration::from_secs(10));
    let mut scores = BTreeMap::new();
    for board in boards {
        for player in players {
            let path = format!("/api/v1/scoreboard/users/{}?board={board}", player.user);
            let request = crate::http::get(&target.host, &path, None);
            let told = |problem: String| Failure::server(format!("GET {path}"), problem);
            let answer = connection.exchange(request.as_bytes()).await.map_err(|error| told(error.to_string()))?;
            let score = match answer.status {
                404 => 0,
                200 => {
                    let entry: Value = serde_json::from_slice(answer.body).map_err(|error| told(error.to_string()))?;
                    entry["score"].as_i64().ok_or_else(|| told("no score".to_owned()))?
                }
                other => return Err(told(format!("{other} {}", String::from_utf8_lossy(answer.body)))),
            };
            scores.insert((board.clone(), player.user), score);
        }
    }
    Ok(scores)
}
