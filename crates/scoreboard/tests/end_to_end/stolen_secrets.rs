//! What a thief of a service's secrets can do with them: everything that its files hold is tried as every kind of key.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::ids::SessionId;
use common::signature::SigningKey;
use serde_json::json;

use crate::client::Player;
use crate::deployment::Deployment;
use crate::token_mint::TokenMint;

/// Whatever a file holds that may be a key: its bytes, its text, and what that is the base64 or PEM of.
fn materials(directory: &Path) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    for file in std::fs::read_dir(directory).expect("its directory") {
        let bytes = std::fs::read(file.expect("a file").path()).expect("it is read");
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
        found.extend([&URL_SAFE_NO_PAD, &STANDARD].into_iter().filter_map(|base64| base64.decode(&body).ok()));
        found.extend([bytes, text.into_bytes()]);
    }
    found
}

/// Every 32 bytes in a row that may be a key: where a DER structure holds its seed depends on its version. Of what is
/// longer than such a structure, the ends.
fn seeds(material: &[u8]) -> Vec<[u8; 32]> {
    if material.len() <= 100 {
        return material.windows(32).filter_map(|window| window.try_into().ok()).collect();
    }
    [material.first_chunk(), material.last_chunk()].into_iter().flatten().copied().collect()
}

/// How many forged access tokens, and how many forged signatures of an update, the materials of a directory get past
/// the gateway. Every refusal must be the contract's.
async fn accepted(deployment: &Deployment, player: &Player, service: &str) -> (usize, usize) {
    let (mint, api) = (TokenMint::of(deployment, player), &deployment.api);
    let (mut tokens, mut signatures) = (0, 0);
    for (n, material) in materials(&deployment.secrets().join(service)).iter().enumerate() {
        let forged = seeds(material).into_iter().map(|seed| mint.with_seed(&seed)).chain([mint.with_secret(material)]);
        for (at, token) in forged.enumerate() {
            let body = player.signed(&format!("{service}.token.{n}.{at}"), 1);
            let answer = api.post(UPDATE, &body, &[("authorization", &format!("Bearer {token}"))]).await;
            tokens += usize::from(answer.status == 200);
            assert!(answer.status == 200 || answer.status == 401, "{service}: {}", answer.body);
        }
        let masters = seeds(material).into_iter().map(SigningKey::from_bytes);
        let session = SessionId::parse(&mint.claim("sid")).expect("a session");
        let keys = masters.flat_map(|master| [SigningKey::for_session(&master, session), master]);
        for (at, key) in keys.enumerate() {
            let thief = Player { key, ..player.clone() };
            let body = thief.signed(&format!("{service}.signed.{n}.{at}"), 1);
            let answer = api.post(UPDATE, &body, &[("authorization", &player.bearer())]).await;
            signatures += usize::from(answer.status == 200);
            assert!(answer.status == 200 || answer.code() == "invalid_signature", "{service}: {}", answer.body);
        }
    }
    (tokens, signatures)
}

const UPDATE: &str = "/api/v1/score/update";

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_the_fan_out_and_the_worker_make_no_token_and_no_signature() {
    let deployment = Deployment::embedded().await;
    let player = deployment.api.join("victim").await;
    assert!(materials(&deployment.secrets().join("realtime-fanout")).len() > 4, "something is tried");
    for service in ["realtime-fanout", "score-worker"] {
        assert_eq!(accepted(&deployment, &player, service).await, (0, 0), "{service}");
    }
    let line = deployment.api.get(&format!("/api/v1/scoreboard/users/{}", player.id)).await.body;
    assert!(line["score"].is_null() || line["score"] == json!(0), "nothing was applied: {line}");
    deployment.stop().await;
}

/// Who holds the master signs for every session whose id is known, but is nobody without that session's token. The same
/// attempts with auth's directory succeed: they are not refused for being made badly.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_the_gateway_sign_for_known_sessions_and_make_no_token() {
    let deployment = Deployment::embedded().await;
    let player = deployment.api.join("victim").await;
    let (tokens, signatures) = accepted(&deployment, &player, "gateway").await;
    assert_eq!(tokens, 0, "it holds public keys only");
    assert!(signatures > 0, "the master derives the keys of sessions");
    let (tokens, signatures) = accepted(&deployment, &player, "auth").await;
    assert!(tokens > 0 && signatures > 0, "auth's own secrets make both: {tokens}, {signatures}");
    deployment.stop().await;
}
