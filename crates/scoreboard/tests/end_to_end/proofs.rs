//! Nobody moves anybody else's score, and nothing but what was signed, when it was signed, by whom it was signed.

use common::clock::Clock as _;
use runtime::clock::SystemClock;
use runtime::secrets::{AuthSecrets, GatewaySecrets};
use serde_json::{Value, json};

use crate::client::{Client, Player};
use crate::deployment::Deployment;
use crate::token_mint::{TokenMint, now_s};

const UPDATE: &str = "/api/v1/score/update";

async fn update(api: &Client, token: &str, body: &Value) -> (u16, String) {
    let answer = api.post(UPDATE, body, &[("authorization", &format!("Bearer {token}"))]).await;
    (answer.status, answer.code().to_owned())
}

/// Each of 20 players names each of the others.
async fn nobody_moves_the_score_of_another(api: &Client) {
    let mut players = Vec::new();
    for n in 0..20 {
        players.push(api.join(&format!("neighbor-{n}")).await);
    }
    for own in &players {
        for (n, other) in players.iter().filter(|other| other.id != own.id).enumerate() {
            let mut body = own.signed(&format!("n-{n}"), 1);
            body["userId"] = json!(other.id);
            assert_eq!(update(api, &own.token, &body).await, (403, "forbidden".to_owned()));
            // Nor with the other's signature, or the other's token and an own signature.
            let stolen = other.signed("stolen", 1);
            assert_eq!(update(api, &own.token, &stolen).await, (400, "invalid_signature".to_owned()));
        }
    }
}

async fn timestamps_hold_to_the_second(api: &Client, player: &Player) {
    for (offset_s, accepted) in [(-299, true), (299, true), (-301, false), (301, false)] {
        let body = player.signed_at(SystemClock.now().plus_millis(offset_s * 1000), &format!("at{offset_s}"), 1);
        let expected = if accepted { (200, "") } else { (400, "stale_timestamp") };
        let (status, code) = update(api, &player.token, &body).await;
        assert_eq!((status, code.as_str()), expected, "{offset_s} s");
    }
}

/// Text that moves from one of the seven lines to another gives another message.
async fn lines_cannot_be_shifted(api: &Client, player: &Player) {
    let signed = player.signed("ab", 12);
    let with = |changes: &[(&str, Value)]| {
        let mut body = signed.clone();
        for (name, value) in changes {
            body[*name] = value.clone();
        }
        body
    };
    let text = |name: &str| signed[name].as_str().unwrap_or_default().to_owned();
    for changes in [
        vec![("actionId", json!("a")), ("actionType", json!("bdefault"))],
        vec![("actionId", json!("ab.default")), ("actionType", json!("default"))],
        vec![("points", json!(1)), ("timestamp", json!(format!("2{}", text("timestamp"))))],
        vec![("points", Value::Null)],
        vec![("points", json!(120))],
        vec![("actionId", json!("ab\ndefault"))],
        vec![("board", json!("global\nx"))],
        vec![("timestamp", json!(format!("{} ", text("timestamp"))))],
        vec![("timestamp", json!(text("timestamp").replace('Z', "+00:00")))],
        vec![("actionType", json!("default\n12"))],
    ] {
        let (status, code) = update(api, &player.token, &with(&changes)).await;
        assert_eq!(status, 400, "{changes:?}: {code}");
    }
}

/// One flipped bit in every byte of requests that were signed.
async fn no_flipped_bit_is_accepted(api: &Client, player: &Player) {
    let body = player.signed("flipped", 777).to_string();
    let bearer = player.bearer();
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    for at in 0..body.len() {
        let mut bytes = body.clone().into_bytes();
        bytes[at] ^= 1 << (at % 7);
        let Ok(flipped) = String::from_utf8(bytes) else { continue };
        let answer = api.raw("POST", UPDATE, &headers, &flipped).await;
        assert!((400..500).contains(&answer.status), "{flipped}: {}", answer.status);
    }
}

async fn malformed_tokens_are_told_by_their_code(deployment: &Deployment, player: &Player) {
    let mint = TokenMint::of(deployment, player);
    let api = &deployment.api;
    let header = |name: &str, value: Value| {
        let mut header = mint.header();
        header[name] = value;
        mint.sign(&header, &mint.with("jti", json!("x")))
    };
    let claims = |name: &str, value: Value| mint.sign(&mint.header(), &mint.with(name, value));
    let good = claims("jti", json!("another"));
    assert_eq!(update(api, &good, &player.signed("minted", 1)).await.0, 200, "the mint works");
    let parts: Vec<&str> = good.split('.').collect();
    let families = [
        ("none", header("alg", json!("none"))),
        ("none without a signature", format!("{}.{}.", parts[0], parts[1])),
        ("HS256", header("alg", json!("HS256"))),
        ("HS256 with the public key", mint.public_key_as_secret()),
        ("RS256", header("alg", json!("RS256"))),
        ("ES256", header("alg", json!("ES256"))),
        ("a foreign kid", mint.foreign(true)),
        ("our kid, a foreign key", mint.foreign(false)),
        ("a kid that is a path", header("kid", json!("../../dev/null"))),
        ("jku", header("jku", json!("https://attacker.example/jwks.json"))),
        ("jwk", header("jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"}))),
        ("x5u", header("x5u", json!("https://attacker.example/c.pem"))),
        ("crit", header("crit", json!(["b64"]))),
        ("another type", header("typ", json!("JWT"))),
        ("another issuer", claims("iss", json!("other"))),
        ("another audience", claims("aud", json!("other"))),
        ("no audience", claims("aud", Value::Null)),
        ("a refresh token's type", claims("typ", json!("refresh"))),
        ("a refresh token", player.refresh_token.clone()),
        ("not yet", claims("nbf", json!(now_s() + 60))),
        ("no end", claims("exp", Value::Null)),
        ("a late end", claims("exp", json!(now_s() + 1_000_000))),
        ("nobody", claims("sub", json!("nobody"))),
        ("trailing data", format!("{good}.{}", parts[2])),
        ("a changed signature", format!("{}.{}.{}", parts[0], parts[1], "A".repeat(86))),
        ("half of it", good[..good.len() / 2].to_owned()),
        ("oversized", claims("scope", json!("x".repeat(5000)))),
        ("nothing", "x".to_owned()),
    ];
    for (family, token) in families {
        assert_eq!(update(api, &token, &player.signed("t", 1)).await, (401, "unauthenticated".to_owned()), "{family}");
    }
    assert_eq!(update(api, &mint.expired(), &player.signed("t", 1)).await, (401, "token_expired".to_owned()));
}

async fn proofs_hold(deployment: Deployment) {
    let player = deployment.api.join("prover").await;
    timestamps_hold_to_the_second(&deployment.api, &player).await;
    malformed_tokens_are_told_by_their_code(&deployment, &player).await;
    let before = deployment.version().await;
    lines_cannot_be_shifted(&deployment.api, &player).await;
    no_flipped_bit_is_accepted(&deployment.api, &player).await;
    nobody_moves_the_score_of_another(&deployment.api).await;
    assert_eq!(deployment.version().await, before, "nothing of it moved the board");
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_hold_embedded() {
    proofs_hold(Deployment::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_hold_distributed() {
    proofs_hold(Deployment::distributed().await).await;
}

/// What a thief of the fan-out's or the worker's directory holds: nothing that signs.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_the_fan_out_and_the_worker_make_no_token_and_no_signature() {
    let deployment = Deployment::embedded().await;
    let root = deployment.secrets();
    let names = |service: &str| {
        let files = std::fs::read_dir(root.join(service)).expect("its directory");
        let mut names: Vec<String> =
            files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names("score-worker"), ["README"], "the worker holds no secret of ours");
    let fanout = names("realtime-fanout");
    assert!(fanout.iter().all(|name| name == "service-key" || name.ends_with(".pub.pem")), "{fanout:?}");
    // And nothing of what they hold is what signs: by content, not only by name.
    let auth = AuthSecrets::load(&root).expect("auth's secrets");
    let private = auth.active_key.pkcs8_der().expect("DER");
    let masters = GatewaySecrets::load(&root).expect("the gateway's secrets").signing_masters;
    for service in ["realtime-fanout", "score-worker"] {
        for name in names(service) {
            let held = std::fs::read(root.join(service).join(&name)).expect("a file");
            let text = String::from_utf8_lossy(&held);
            assert!(!text.contains("PRIVATE"), "{name}");
            assert!(!held.windows(32).any(|window| window == &private[private.len() - 32..]), "{name}");
            assert!(!text.contains(&hex::encode(masters.current.as_bytes())), "{name}");
        }
    }
    deployment.stop().await;
}
