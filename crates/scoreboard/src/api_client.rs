//! The public HTTP interface as the command line uses it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::error_code::ErrorCode;
use common::ids::{ActionId, ActionType, BoardId, UserId};
use common::signature::{SignedAction, SigningKey};
use runtime::exit::{Exit, Failure, causes};
use serde_json::{Value, json};

/// Longer than the server itself ever takes: its queue gives up after 2 s plus the wait.
const PATIENCE: Duration = Duration::from_secs(15);

/// A running server.
pub(crate) struct ApiClient {
    http: reqwest::Client,
    base: String,
}

/// Somebody who has logged in.
pub(crate) struct LoggedIn {
    user: UserId,
    access_token: String,
    signing_key: SigningKey,
}

/// What a player did.
pub(crate) struct Action {
    pub(crate) action_id: ActionId,
    pub(crate) board: BoardId,
    pub(crate) action_type: ActionType,
    pub(crate) points: Option<i64>,
    pub(crate) idempotency_key: Option<String>,
}

impl ApiClient {
    pub(crate) fn new(url: &str) -> Result<Self, Failure> {
        let base = url.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") {
            return Err(Failure::new(
                Exit::Usage,
                format!("--url {url}: must begin with http://; this client speaks no TLS"),
            ));
        }
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .build()
            .map_err(|error| Failure::new(Exit::Bug, format!("no HTTP client: {}", causes(&error))))?;
        Ok(Self { http, base })
    }

    pub(crate) async fn login(&self, username: &str, password: &str) -> Result<LoggedIn, Failure> {
        let body = json!({"username": username, "password": password});
        let grant = self.post("/api/v1/auth/login", &body, None).await?;
        let text = |name: &str| grant[name].as_str().ok_or_else(|| not_ours(&self.base));
        let key = URL_SAFE_NO_PAD.decode(text("signingKey")?).ok().and_then(|key| <[u8; 32]>::try_from(key).ok());
        Ok(LoggedIn {
            user: UserId::parse(text("userId")?).ok_or_else(|| not_ours(&self.base))?,
            access_token: text("accessToken")?.to_owned(),
            signing_key: key.map(SigningKey::from_bytes).ok_or_else(|| not_ours(&self.base))?,
        })
    }

    /// Signs the action and posts it; `timestamp` is RFC 3339.
    pub(crate) async fn submit(&self, who: &LoggedIn, action: &Action, timestamp: &str) -> Result<Value, Failure> {
        let signed = SignedAction {
            board: &action.board,
            user: who.user,
            action_id: &action.action_id,
            action_type: &action.action_type,
            points: action.points,
            timestamp,
        };
        let mut body = json!({
            "board": action.board.as_str(),
            "actionId": action.action_id.as_str(),
            "actionType": action.action_type.as_str(),
            "timestamp": timestamp,
            "signature": signed.sign(&who.signing_key),
        });
        if let Some(points) = action.points {
            body["points"] = points.into();
        }
        if let Some(key) = &action.idempotency_key {
            body["idempotencyKey"] = key.as_str().into();
        }
        self.post("/api/v1/score/update", &body, Some(&who.access_token)).await
    }

    async fn post(&self, path: &str, body: &Value, token: Option<&str>) -> Result<Value, Failure> {
        let mut request = self.http.post(format!("{}{path}", self.base)).json(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|error| unreachable(&self.base, &error))?;
        let status = response.status();
        let answer: Value = response.json().await.map_err(|_| not_ours(&self.base))?;
        if status.is_success() {
            return Ok(answer);
        }
        let error = &answer["error"];
        let code = error["code"].as_str().ok_or_else(|| not_ours(&self.base))?;
        let exit = if code == ErrorCode::Unavailable.as_str() { Exit::Unavailable } else { Exit::Refused };
        let details = if error["details"].is_null() { String::new() } else { format!(" {}", error["details"]) };
        Err(Failure::new(exit, format!("{code}: {}{details}", error["message"].as_str().unwrap_or_default())))
    }
}

fn unreachable(base: &str, error: &reqwest::Error) -> Failure {
    Failure::new(
        Exit::Unavailable,
        format!(
            "no server answers at {base}: {}. Start one with `scoreboard serve`, or say where it is with --url",
            causes(error)
        ),
    )
}

fn not_ours(base: &str) -> Failure {
    Failure::new(
        Exit::Unavailable,
        format!("what answers at {base} is not a scoreboard server; say where it is with --url"),
    )
}
