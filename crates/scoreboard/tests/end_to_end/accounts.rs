//! Accounts as a whole: sessions, passwords, and keys that are rotated while players play.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::waiting::eventually;

use crate::client::{Client, Player};
use crate::deployment::Deployment;

const OLD: &str = "correct horse battery";
const NEW: &str = "a better horse battery";

/// What the contract allows until every node refuses an ended session.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

async fn sessions(api: &Client, player: &Player) -> Vec<Value> {
    let answer = api.get_as(player, "/api/v1/auth/sessions").await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.body.as_array().expect("a list").clone()
}

async fn refused(api: &Client, player: &Player) {
    eventually(REVOKED_WITHIN, "the token to be refused", async || {
        let answer = api.get_as(player, "/api/v1/auth/sessions").await;
        if answer.status == 401 && answer.code() == "token_revoked" { Ok(()) } else { Err(answer.body.to_string()) }
    })
    .await;
}

async fn players_manage_their_sessions(deployment: &Deployment) {
    let api = &deployment.api;
    let (one, stranger) = (api.join("Sessions.One").await, api.join("Sessions.Two").await);
    let other = api.login("sessions.one").await;
    let listed = sessions(api, &one).await;
    assert_eq!(listed.len(), 2);
    assert_eq!(listed.iter().filter(|session| session["current"] == json!(true)).count(), 1);
    for session in &listed {
        for field in ["sessionId", "createdAt", "lastUsedAt", "expiresAt"] {
            assert!(session[field].is_string(), "{session}");
        }
        assert_eq!(session["createdAt"], session["lastUsedAt"]);
    }

    let change = |current: &str, new: &str| json!({"currentPassword": current, "newPassword": new});
    let path = "/api/v1/auth/password";
    let bearer = one.bearer();
    let post = async |body: Value| api.post(path, &body, &[("authorization", &bearer)]).await;
    let answer = post(change("not the password", NEW)).await.expect(401);
    assert_eq!(answer.code(), "invalid_credentials");
    let answer = post(change(OLD, "short")).await.expect(400);
    assert_eq!((answer.code(), &answer.body["error"]["details"]["field"]), ("invalid_request", &json!("newPassword")));
    let answer = post(json!({"newPassword": NEW})).await.expect(400);
    assert_eq!(answer.body["error"]["details"]["field"], json!("currentPassword"));
    assert_eq!(api.post(path, &change(OLD, NEW), &[]).await.expect(401).code(), "unauthenticated");
    assert_eq!(sessions(api, &other).await.len(), 2, "refusals end nothing");

    assert_eq!(post(change(OLD, NEW)).await.expect(204).body, Value::Null);
    refused(api, &other).await;
    assert_eq!(sessions(api, &one).await.len(), 1, "this session goes on");
    let login = |password: &str| json!({"username": "Sessions.One", "password": password});
    api.post("/api/v1/auth/login", &login(OLD), &[]).await.expect(401);
    let second = api.post("/api/v1/auth/login", &login(NEW), &[]).await.expect(200).body;

    api.post("/api/v1/auth/logout-all", &json!({}), &[("authorization", &bearer)]).await.expect(204);
    refused(api, &one).await;
    let refresh = json!({"refreshToken": second["refreshToken"]});
    assert_eq!(api.post("/api/v1/auth/refresh", &refresh, &[]).await.expect(401).code(), "unauthenticated");
    assert_eq!(sessions(api, &stranger).await.len(), 1, "nobody else is logged out");
}

/// Players go on logging in, refreshing and scoring while keys are rotated: none is refused.
struct Crowd {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    players: Vec<tokio::task::JoinHandle<BTreeSet<String>>>,
}

impl Crowd {
    fn start(api: &Client, size: usize) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let players = (0..size).map(|n| {
            let (api, stop, rounds) = (api.clone(), Arc::clone(&stop), Arc::clone(&rounds));
            tokio::spawn(async move {
                let mut kids = BTreeSet::new();
                let early = api.join(&format!("crowd-{n}")).await;
                let mut round = 0;
                while !stop.load(Ordering::SeqCst) {
                    round += 1;
                    let late = api.login(&early.name).await;
                    kids.insert(late.kid());
                    for (name, player) in [("early", &early), ("late", &late)] {
                        let answer = api.score(player, &format!("{name}-{n}-{round}"), 1).await;
                        assert_eq!(answer.status, 200, "{name} {}", answer.body);
                    }
                    rounds.fetch_add(1, Ordering::SeqCst);
                }
                kids
            })
        });
        Self { players: players.collect(), stop, rounds }
    }

    /// Waits until the crowd has done so many more rounds.
    async fn plays(&self, more: u64) {
        let until = self.rounds.load(Ordering::SeqCst) + more;
        eventually(Duration::from_secs(30), "the crowd to play on", async || {
            (self.rounds.load(Ordering::SeqCst) >= until).then_some(())
        })
        .await;
    }

    /// The keys that signed their tokens.
    async fn ends(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::SeqCst);
        let mut kids = BTreeSet::new();
        for player in self.players {
            kids.extend(player.await.expect("no player was refused"));
        }
        kids
    }
}

async fn published(api: &Client) -> BTreeSet<String> {
    let keys = api.get("/.well-known/jwks.json").await.expect(200).body["keys"].clone();
    keys.as_array().expect("keys").iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
}

async fn keys_are_rotated_while_players_play(deployment: &Deployment, secrets: &str) {
    let api = &deployment.api;
    let before = published(api).await;
    assert_eq!(before.len(), 1);
    let veteran = api.join("veteran").await;
    let crowd = Crowd::start(api, 3);
    crowd.plays(3).await;

    let (code, told) = deployment.operate(&["--json", "key", "rotate", secrets]);
    assert_eq!(code, Some(0), "{told}");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let active = told["active"].as_str().expect("a kid").to_owned();
    let (code, told) = deployment.operate(&["key", "rotate", secrets, "--signing-master"]);
    assert_eq!(code, Some(0), "{told}");
    deployment.hang_up();
    eventually(Duration::from_secs(30), "the new key to sign", async || {
        (api.login("veteran").await.kid() == active).then_some(())
    })
    .await;
    crowd.plays(6).await;
    assert_eq!(published(api).await.len(), 2);
    assert_eq!(crowd.ends().await, before.iter().cloned().chain([active.clone()]).collect(), "both keys signed");
    api.score(&veteran, "veteran-1", 1).await.expect(200);

    let old = before.first().expect("a key");
    let (code, told) = deployment.operate(&["key", "rotate", secrets, "--retire", old]);
    assert_eq!(code, Some(0), "{told}");
    deployment.hang_up();
    eventually(Duration::from_secs(10), "the retired key to be refused", async || {
        let answer = api.get_as(&veteran, "/api/v1/auth/sessions").await;
        (answer.status == 401 && answer.code() == "unauthenticated").then_some(())
    })
    .await;
    assert_eq!(published(api).await, BTreeSet::from([active.clone()]));
    let again = api.login("veteran").await;
    api.score(&again, "veteran-2", 1).await.expect(200);
    assert_eq!(deployment.operate(&["key", "rotate", secrets, "--retire", &active]).0, Some(78), "it signs");
    assert_eq!(deployment.operate(&["key", "rotate", secrets, "--retire", old]).0, Some(78), "it is gone");
}

/// Short, so that a test sees both sides of it.
const OVERLAP: (&str, &str) = ("SCOREBOARD__AUTH__ROTATION_OVERLAP_S", "1");
const NO_LOGIN_LIMIT: (&str, &str) = ("SCOREBOARD__LIMITS__LOGINS_PER_ACCOUNT_PER_MINUTE", "0");

#[tokio::test(flavor = "multi_thread")]
async fn players_manage_their_sessions_embedded() {
    let deployment = Deployment::embedded().await;
    players_manage_their_sessions(&deployment).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn players_manage_their_sessions_on_four_processes() {
    let deployment = Deployment::four_processes().await;
    players_manage_their_sessions(&deployment).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_without_a_false_refusal_embedded() {
    let deployment = Deployment::embedded_with(&[OVERLAP, NO_LOGIN_LIMIT]).await;
    let secrets = deployment.dir().join("data/secrets").display().to_string();
    keys_are_rotated_while_players_play(&deployment, &secrets).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_without_a_false_refusal_on_four_processes() {
    let deployment = Deployment::four_processes_with(&[OVERLAP, NO_LOGIN_LIMIT]).await;
    let secrets = deployment.dir().join("secrets").display().to_string();
    keys_are_rotated_while_players_play(&deployment, &secrets).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_registration_is_closed_only_the_operator_makes_accounts() {
    let mut deployment = Deployment::embedded_with(&[("SCOREBOARD__AUTH__REGISTRATION", "closed")]).await;
    let stranger = json!({"username": "stranger", "password": OLD});
    let answer = deployment.api.post("/api/v1/auth/register", &stranger, &[]).await.expect(403);
    assert_eq!(answer.code(), "forbidden");
    deployment.process().stop().await;
    let (code, told) = deployment.operate(&["--json", "user", "create", "invited"]);
    assert_eq!(code, Some(0), "{told}");
    let made: Value = serde_json::from_str(&told).expect("JSON");
    deployment.start_again().await;
    let login = json!({"username": "invited", "password": made["password"]});
    deployment.api.post("/api/v1/auth/login", &login, &[]).await.expect(200);
    deployment.stop().await;
}
