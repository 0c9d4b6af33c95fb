//! Whatever is sent: no panic, no fault of ours, and nothing accepted but what was signed. `scripts/fuzz` runs more cases.

use std::sync::Arc;

use actix_web::FromRequest as _;
use actix_web::test::TestRequest;
use actix_web::web::Payload;
use common::clock::Clock;
use jsonwebtoken::{Algorithm, EncodingKey};
use proptest::prelude::*;
use runtime::access_token::AccessTokenVerifier;
use runtime::secrets::TokenSigningKey;
use serde_json::{Value, json};
use testkit::clock::ManualClock;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::*;

const KEY: SigningKey = SigningKey::from_bytes([1; 32]);

fn user() -> UserId {
    UserId(Uuid::from_u128(7))
}

static EXECUTOR: std::sync::LazyLock<Runtime> =
    std::sync::LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap());

/// The way of a body through the gateway up to its signature; the board `arena` knows the type `win`.
async fn proven(body: Vec<u8>) -> Result<Proof, Refusal> {
    let request = TestRequest::post().insert_header(("content-type", "application/json")).set_payload(body);
    let (request, mut payload) = request.to_http_parts();
    let payload = Payload::from_request(&request, &mut payload).await.unwrap();
    let body = http_edge::body::json_object(&request, payload).await?;
    let shape = UpdateShape::parse(&request, &body, ActionType::default_type())?;
    shape.own_score(user())?;
    let action_type = shape.action_type.clone();
    let known = shape.board.as_str() == "arena" && action_type.as_str() == "win";
    if !known {
        return Err(Refusal::new(ErrorCode::UnknownBoard, "no such board or type"));
    }
    let (min_points, max_points) = (-1_000_000, 1_000_000);
    let rule =
        ActionRule { action_type, proof: Proof::Session, min_points, max_points, default_points: 1, daily_cap: 100 };
    shape.has_fields_for(rule.proof)?;
    let proof = shape.verify_signature(&rule, user(), std::iter::once(KEY), None)?;
    rule.resolve_points(shape.points)?;
    Ok(proof)
}

fn signed(action: &str, points: i64, timestamp: &str) -> Value {
    let (board, action_type) = (BoardId::parse("arena").unwrap(), ActionType::parse("win").unwrap());
    let action_id = ActionId::parse(action).unwrap();
    let signature = SignedAction {
        board: &board,
        user: user(),
        action_id: &action_id,
        action_type: &action_type,
        points: Some(points),
        timestamp,
    }
    .sign(&KEY);
    json!({"board": "arena", "actionType": "win", "actionId": action, "points": points, "timestamp": timestamp,
        "signature": signature})
}

#[test]
fn no_flipped_bit_of_a_thousand_signed_requests_is_accepted() {
    EXECUTOR.block_on(async {
        for n in 0..1000_usize {
            let timestamp = format!("2026-11-20T10:{:02}:{:02}.{:03}Z", n % 60, n * 7 % 60, n);
            let action = format!("match-{n}.{}", "x".repeat(n % 20));
            let body = signed(&action, (n as i64 - 500) * 17, &timestamp).to_string().into_bytes();
            assert_eq!(proven(body.clone()).await.unwrap(), Proof::Session);
            for at in 0..body.len() {
                let mut flipped = body.clone();
                flipped[at] ^= 1 << ((n + at) % 8);
                let refused = proven(flipped.clone()).await;
                assert!(refused.is_err(), "{}", String::from_utf8_lossy(&flipped));
            }
        }
    });
}

/// Bodies that look like updates, with anything for values.
fn like_an_update() -> impl Strategy<Value = Vec<u8>> {
    let names = ["actionId", "points", "timestamp", "signature", "board", "actionType", "userId", "keyId", "x"];
    let value = prop_oneof![
        any::<i64>().prop_map(|n| json!(n)),
        any::<f64>().prop_map(|n| json!(n)),
        ".{0,40}".prop_map(|text| json!(text)),
        "[0-9a-f]{64}".prop_map(|text| json!(text)),
        Just(json!("arena")),
        Just(json!("win")),
        Just(json!("2026-11-20T10:00:00.000Z")),
        Just(Value::Null),
        Just(json!([[[{}]]])),
    ];
    let fields = prop::collection::vec((prop::sample::select(names.to_vec()), value), 0..12);
    fields.prop_map(|fields| {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    })
}

proptest! {
    #[test]
    fn fuzz_json_body(body in prop_oneof![like_an_update(), prop::collection::vec(any::<u8>(), 0..300), "\\PC{0,300}".prop_map(String::into_bytes)]) {
        let refused = EXECUTOR.block_on(proven(body)).expect_err("nobody signed it");
        prop_assert!((400..500).contains(&refused.code.http_status()), "{refused}");
        prop_assert!(!refused.message.is_empty());
    }

    #[test]
    fn fuzz_signature_string(signature in prop_oneof!["[0-9a-fA-F]{60,68}", "\\PC{0,80}", any::<String>()], at in 0_usize..64) {
        let mut body = signed("a1", 10, "2026-11-20T10:00:00.000Z");
        let good = body["signature"].as_str().unwrap().to_owned();
        body["signature"] = json!(signature);
        let refused = EXECUTOR.block_on(proven(body.to_string().into_bytes())).expect_err("not the signature");
        prop_assert_eq!(refused.code, ErrorCode::InvalidSignature);
        // The good one, with something put in.
        let mut longer = good;
        longer.insert_str(at, signature.get(..1).unwrap_or("0"));
        body["signature"] = json!(longer);
        prop_assert!(EXECUTOR.block_on(proven(body.to_string().into_bytes())).is_err());
    }

    #[test]
    fn fuzz_jwt(noise in any::<String>(), at in any::<prop::sample::Index>(), bit in 0_u8..7) {
        let (verifier, good) = &*TOKEN;
        prop_assert!(verifier.verify(good).is_ok());
        prop_assert!(verifier.verify(&noise).is_err());
        let place = at.index(good.len());
        let mut flipped = good.clone().into_bytes();
        flipped[place] ^= 1 << bit;
        for bad in [String::from_utf8(flipped).unwrap(), format!("{}{noise}.{}", &good[..place], &good[place..])] {
            let refusal: Refusal = verifier.verify(&bad).expect_err("it was changed").into();
            prop_assert_eq!(refusal.code.http_status(), 401);
        }
    }
}

/// A verifier and a good token.
static TOKEN: std::sync::LazyLock<(AccessTokenVerifier, String)> = std::sync::LazyLock::new(|| {
    let key = TokenSigningKey::from_seed(&[5; 32]);
    let clock = Arc::new(ManualClock::default());
    let now = clock.now().as_millis() / 1000;
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": key.kid()});
    let claims = json!({"iss": "scoreboard", "aud": "scoreboard", "typ": "access", "jti": "t", "name": "alice",
        "sub": user().to_string(), "sid": user().to_string(), "iat": now, "exp": now + 3600});
    let message = [header, claims].map(|part| base64::Engine::encode(&BASE64, part.to_string())).join(".");
    let der = EncodingKey::from_ed_der(&key.pkcs8_der().unwrap());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &der, Algorithm::EdDSA).unwrap();
    let verifier = AccessTokenVerifier::new(vec![key.verification_key()], clock as Arc<dyn Clock>).unwrap();
    (verifier, format!("{message}.{signature}"))
});
const BASE64: base64::engine::GeneralPurpose = base64::engine::general_purpose::URL_SAFE_NO_PAD;
