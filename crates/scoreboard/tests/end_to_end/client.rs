//! The public interface, as somebody else's program uses it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::clock::{Clock as _, Timestamp};
use common::ids::{ActionId, ActionType, BoardId, UserId};
use common::signature::{SignedAction, SigningKey};
use reqwest::header::HeaderMap;
use runtime::clock::SystemClock;
use serde_json::{Value, json};

pub(crate) const PASSWORD: &str = "correct horse battery";

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The code of a refusal.
    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The same, if it has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

/// A client of one server.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    pub(crate) url: String,
}

/// Somebody who is logged in.
#[derive(Clone)]
pub(crate) struct Player {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) refresh_token: String,
    pub(crate) key: SigningKey,
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().expect("a client");
        Self { http, url: url.to_owned() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(format!("{}{path}", self.url))).await.expect("an answer")
    }

    pub(crate) async fn get_with(&self, path: &str, header: (&str, &str)) -> Answer {
        self.send(self.http.get(format!("{}{path}", self.url)).header(header.0, header.1)).await.expect("an answer")
    }

    /// What a player may see.
    pub(crate) async fn get_as(&self, player: &Player, path: &str) -> Answer {
        self.get_with(path, ("authorization", &format!("Bearer {}", player.token))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        self.try_post(path, body, headers).await.expect("an answer")
    }

    /// The error is that nobody answered.
    pub(crate) async fn try_post(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Result<Answer, String> {
        let mut request = self.http.post(format!("{}{path}", self.url)).json(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, String> {
        let response = request.send().await.map_err(|error| error.to_string())?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.map_err(|error| error.to_string())?;
        let body =
            if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
        Ok(Answer { status, headers, body })
    }

    /// Any request, with its body as it is.
    pub(crate) async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.url)).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request).await.expect("an answer")
    }

    /// A new player, logged in.
    pub(crate) async fn join(&self, name: &str) -> Player {
        let credentials = json!({"username": name, "password": PASSWORD});
        self.post("/api/v1/auth/register", &credentials, &[]).await.expect(201);
        self.login(name).await
    }

    pub(crate) async fn login(&self, name: &str) -> Player {
        let credentials = json!({"username": name, "password": PASSWORD});
        let grant = self.post("/api/v1/auth/login", &credentials, &[]).await.expect(200).body;
        let key = URL_SAFE_NO_PAD.decode(grant["signingKey"].as_str().expect("a key")).expect("base64url");
        Player {
            id: grant["userId"].as_str().expect("an id").to_owned(),
            name: name.to_owned(),
            token: grant["accessToken"].as_str().expect("a token").to_owned(),
            refresh_token: grant["refreshToken"].as_str().expect("a token").to_owned(),
            key: SigningKey::from_bytes(key.try_into().expect("32 bytes")),
        }
    }

    /// Posts a signed action.
    pub(crate) async fn score(&self, player: &Player, action: &str, points: i64) -> Answer {
        self.post("/api/v1/score/update", &player.signed(action, points), &[("authorization", &player.bearer())]).await
    }
}

impl Player {
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// The key that signed the token.
    pub(crate) fn kid(&self) -> String {
        let header = self.token.split('.').next().expect("a header");
        let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64url")).expect("JSON");
        header["kid"].as_str().expect("a kid").to_owned()
    }

    /// The body of an action, signed now.
    pub(crate) fn signed(&self, action: &str, points: i64) -> Value {
        self.signed_at(SystemClock.now(), action, points)
    }

    /// The body of an action, signed at another time.
    pub(crate) fn signed_at(&self, time: Timestamp, action: &str, points: i64) -> Value {
        let timestamp = time.to_string();
        let signed = SignedAction {
            board: &BoardId::global(),
            user: UserId::parse(&self.id).expect("a user id"),
            action_id: &ActionId::parse(action).expect("an action id"),
            action_type: &ActionType::default_type(),
            points: Some(points),
            timestamp: &timestamp,
        };
        json!({"actionId": action, "points": points, "timestamp": timestamp, "signature": signed.sign(&self.key)})
    }
}
