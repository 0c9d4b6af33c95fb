use actix_web::FromRequest as _;
use actix_web::test::TestRequest;
use actix_web::web::Payload;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

const SESSION: SigningKey = SigningKey::from_bytes([1; 32]);
const ISSUER: SigningKey = SigningKey::from_bytes([2; 32]);
const TIMESTAMP: &str = "2026-11-20T10:00:00.000Z";

fn user() -> UserId {
    UserId(Uuid::from_u128(7))
}

fn rule(proof: Proof) -> ActionRule {
    let action_type = ActionType::default_type();
    ActionRule { action_type, proof, min_points: 10, max_points: 10, default_points: 10, daily_cap: 100 }
}

fn signed_with(key: &SigningKey) -> String {
    let (board, action_id, action_type) =
        (BoardId::global(), ActionId::parse("a1").unwrap(), ActionType::default_type());
    let action = SignedAction {
        board: &board,
        user: user(),
        action_id: &action_id,
        action_type: &action_type,
        points: None,
        timestamp: TIMESTAMP,
    };
    action.sign(key)
}

/// The update `a1` with what else is sent.
async fn shape(fields: Value) -> UpdateShape {
    let mut body = json!({"actionId": "a1"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let request = TestRequest::post().insert_header(("content-type", "application/json")).set_payload(body.to_string());
    let (request, mut payload) = request.to_http_parts();
    let payload = Payload::from_request(&request, &mut payload).await.unwrap();
    let body = http_edge::body::json_object(&request, payload).await.unwrap();
    UpdateShape::parse(&request, &body, ActionType::default_type()).unwrap()
}

/// The proof that was shown, or the code of the refusal. The key `known` is in use, and no other.
async fn shown(proof: Proof, fields: Value) -> Result<Proof, ErrorCode> {
    let shape = shape(fields).await;
    let issuer_key = shape.key_id().filter(|key_id| *key_id == "known").map(|_| ISSUER);
    let verified = shape.verify_signature(&rule(proof), user(), std::iter::once(SESSION), issuer_key.as_ref());
    verified.map_err(|refusal| refusal.code)
}

#[tokio::test]
async fn a_game_servers_signature_is_taken_wherever_and_is_recorded_as_one() {
    for proof in [Proof::Issuer, Proof::Session, Proof::Token] {
        let fields = json!({"timestamp": TIMESTAMP, "signature": signed_with(&ISSUER), "keyId": "known"});
        assert_eq!(shown(proof, fields).await, Ok(Proof::Issuer), "{proof:?}");
    }
}

#[tokio::test]
async fn a_sessions_signature_is_taken_where_no_issuer_is_asked_for() {
    let fields = json!({"timestamp": TIMESTAMP, "signature": signed_with(&SESSION)});
    assert_eq!(shown(Proof::Session, fields.clone()).await, Ok(Proof::Session));
    assert_eq!(shown(Proof::Token, fields).await, Ok(Proof::Token));
    assert_eq!(shown(Proof::Token, json!({})).await, Ok(Proof::Token));
}

#[tokio::test]
async fn a_type_that_asks_for_an_issuer_is_not_moved_by_anything_of_a_client() {
    let (session, zeros) = (signed_with(&SESSION), "0".repeat(64));
    for signature in [&session, &zeros, &signed_with(&ISSUER)] {
        let fields = json!({"timestamp": TIMESTAMP, "signature": signature});
        assert_eq!(shown(Proof::Issuer, fields).await, Err(ErrorCode::IssuerProofRequired), "without a keyId");
    }
    assert_eq!(shown(Proof::Issuer, json!({})).await, Err(ErrorCode::IssuerProofRequired));
    for key_id in ["known", "unknown", "", "KNOWN", "known "] {
        for signature in [&session, &zeros] {
            let fields = json!({"timestamp": TIMESTAMP, "signature": signature, "keyId": key_id});
            assert_eq!(shown(Proof::Issuer, fields).await, Err(ErrorCode::InvalidSignature), "{key_id}");
        }
    }
}

#[tokio::test]
async fn a_key_id_is_never_ignored() {
    for proof in [Proof::Issuer, Proof::Session, Proof::Token] {
        // A session's key does not stand in for the named one, nor the named one for another.
        let own = json!({"timestamp": TIMESTAMP, "signature": signed_with(&SESSION), "keyId": "known"});
        assert_eq!(shown(proof, own).await, Err(ErrorCode::InvalidSignature), "{proof:?}");
        let unknown = json!({"timestamp": TIMESTAMP, "signature": signed_with(&ISSUER), "keyId": "unknown"});
        assert_eq!(shown(proof, unknown).await, Err(ErrorCode::InvalidSignature), "{proof:?}");
        assert_eq!(shown(proof, json!({"keyId": "known"})).await, Err(ErrorCode::InvalidSignature), "{proof:?}");
    }
}

#[tokio::test]
async fn a_timestamp_is_good_for_five_minutes_to_the_millisecond_on_either_side() {
    let shape = shape(json!({"timestamp": TIMESTAMP, "signature": signed_with(&SESSION)})).await;
    let sent = Timestamp::parse_rfc3339(TIMESTAMP).unwrap();
    for (offset_ms, good) in [(0, true), (300_000, true), (-300_000, true), (300_001, false), (-300_001, false)] {
        let fresh = shape.fresh(sent.plus_millis(offset_ms)).map_err(|refusal| refusal.code);
        assert_eq!(fresh, if good { Ok(()) } else { Err(ErrorCode::StaleTimestamp) }, "{offset_ms} ms");
    }
}

#[tokio::test]
async fn nobody_but_the_tokens_user_is_named() {
    let other = Uuid::from_u128(8).to_string();
    for (named, good) in [(user().to_string(), true), (other, false)] {
        let own = shape(json!({"userId": named})).await.own_score(user()).map_err(|refusal| refusal.code);
        assert_eq!(own, if good { Ok(()) } else { Err(ErrorCode::Forbidden) }, "{named}");
    }
}
