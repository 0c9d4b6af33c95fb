use std::sync::atomic::{AtomicI64, Ordering};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;
use crate::secrets::TokenSigningKey;

const NOW_S: i64 = 1_790_000_000;

struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

struct Fixture {
    key: TokenSigningKey,
    clock: Arc<HandClock>,
    verifier: AccessTokenVerifier,
}

fn fixture() -> Fixture {
    let key = TokenSigningKey::from_seed(&[5; 32]);
    let clock = Arc::new(HandClock(AtomicI64::new(NOW_S * 1000)));
    let verifier =
        AccessTokenVerifier::new(vec![key.verification_key()], Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    Fixture { key, clock, verifier }
}

fn claims() -> Value {
    json!({
        "iss": "scoreboard", "aud": "scoreboard", "typ": "access", "jti": "t",
        "sub": "00000000-0000-4000-8000-000000000001", "sid": "00000000-0000-4000-8000-000000000002",
        "name": "alice", "iat": NOW_S, "exp": NOW_S + 3600,
    })
}

fn with(member: &str, value: Value) -> Value {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(member);
    } else {
        claims[member] = value;
    }
    claims
}

impl Fixture {
    fn header(&self) -> Value {
        json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": self.key.kid() })
    }

    /// Signs whatever it is given with the real key.
    fn sign_text(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let der = self.key.pkcs8_der().unwrap();
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_ed_der(&der), Algorithm::EdDSA).unwrap();
        format!("{message}.{signature}")
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    fn good(&self) -> String {
        self.sign(&self.header(), &claims())
    }

    fn verify_claims(&self, claims: &Value) -> Result<Claims, TokenError> {
        self.verifier.verify(&self.sign(&self.header(), claims))
    }

    fn set_millis(&self, millis: i64) {
        self.clock.0.store(millis, Ordering::SeqCst);
    }
}

#[test]
fn a_good_token_tells_who_shows_it() {
    let f = fixture();
    let claims = f.verifier.verify(&f.good()).unwrap();
    assert_eq!(claims.user.to_string(), "00000000-0000-4000-8000-000000000001");
    assert_eq!(claims.session.to_string(), "00000000-0000-4000-8000-000000000002");
    assert_eq!(&*claims.username, "alice");
    assert_eq!(claims.expires_at.as_millis(), (NOW_S + 3600) * 1000);
    assert_eq!(&*claims.kid, f.key.kid());
}

#[test]
fn headers_other_than_ours_are_malformed_even_when_our_key_signed_them() {
    let f = fixture();
    for (member, value) in [
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("RS256")),
        ("alg", json!("ES256")),
        ("alg", json!("eddsa")),
        ("alg", json!("EdDSA ")),
        ("typ", json!("JWT")),
        ("typ", json!("AT+JWT")),
        ("typ", json!("rt+jwt")),
        ("kid", json!("../../etc/passwd")),
        ("kid", json!("")),
        ("kid", json!("k".repeat(65))),
        ("kid", json!(7)),
        ("jku", json!("https://attacker.example/jwks.json")),
        ("jwk", json!({ "kty": "OKP", "crv": "Ed25519", "x": "AA" })),
        ("x5u", json!("https://attacker.example/cert.pem")),
        ("x5c", json!(["AA"])),
        ("crit", json!(["b64"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("cty", json!("JWT")),
    ] {
        let mut header = f.header();
        header[member] = value;
        assert_eq!(f.verifier.verify(&f.sign(&header, &claims())), Err(TokenError::Malformed), "{header}");
    }
    for missing in ["alg", "typ", "kid"] {
        let mut header = f.header();
        header.as_object_mut().unwrap().remove(missing);
        assert_eq!(f.verifier.verify(&f.sign(&header, &claims())), Err(TokenError::Malformed), "no {missing}");
    }
    let twice = format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"x","kid":"{}"}}"#, f.key.kid());
    assert_eq!(f.verifier.verify(&f.sign_text(&twice, &claims().to_string())), Err(TokenError::Malformed));
}

#[test]
fn a_public_key_used_as_a_shared_secret_opens_nothing() {
    let f = fixture();
    let public = f.key.verification_key().public_key;
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(f.key.kid().to_owned());
    header.typ = Some(HEADER_TYPE.to_owned());
    let token = encode(&header, &claims(), &EncodingKey::from_secret(&public)).unwrap();
    assert_eq!(f.verifier.verify(&token), Err(TokenError::Malformed));
    // The same MAC under a header that claims our algorithm.
    let rest = token.split_once('.').unwrap().1;
    let swapped = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(f.header().to_string()));
    assert_eq!(f.verifier.verify(&swapped), Err(TokenError::Invalid));
}

#[test]
fn a_foreign_key_is_unknown_by_its_name_and_invalid_under_ours() {
    let f = fixture();
    let foreign = Fixture { key: TokenSigningKey::from_seed(&[6; 32]), ..fixture() };
    let unknown = TokenError::UnknownKey(foreign.key.kid().to_owned());
    assert_eq!(f.verifier.verify(&foreign.good()), Err(unknown));
    assert_eq!(f.verifier.verify(&foreign.sign(&f.header(), &claims())), Err(TokenError::Invalid));
}

#[test]
fn claims_other_than_ours_are_invalid() {
    let f = fixture();
    for (member, value) in [
        ("iss", json!("other")),
        ("iss", json!(["scoreboard"])),
        ("iss", Value::Null),
        ("aud", json!("other")),
        ("aud", json!(["scoreboard"])),
        ("aud", Value::Null),
        ("typ", json!("refresh")),
        ("typ", Value::Null),
        ("sub", json!("alice")),
        ("sub", json!("00000000000040008000000000000001")),
        ("sub", Value::Null),
        ("sid", json!("")),
        ("sid", Value::Null),
        ("name", json!("a b")),
        ("name", Value::Null),
        ("exp", Value::Null),
        ("exp", json!("never")),
        ("exp", json!(i64::MAX)),
        ("exp", json!(1e300)),
        ("exp", json!(NOW_S + 3601)),
        ("exp", json!(NOW_S)),
        ("iat", json!(i64::MIN)),
        ("iat", Value::Null),
        ("nbf", json!("now")),
    ] {
        assert_eq!(f.verify_claims(&with(member, value.clone())), Err(TokenError::Invalid), "{member} = {value}");
    }
    assert!(f.verify_claims(&with("scope", json!("anything"))).is_ok(), "unknown claims are ignored (RFC 7519, 4)");
}

#[test]
fn exp_and_nbf_hold_to_the_millisecond() {
    let f = fixture();
    let exp_ms = (NOW_S + 3600) * 1000;
    f.set_millis(exp_ms - 1);
    assert!(f.verifier.verify(&f.good()).is_ok());
    f.set_millis(exp_ms);
    assert_eq!(f.verifier.verify(&f.good()), Err(TokenError::Expired), "remembered");
    assert_eq!(f.verify_claims(&with("jti", json!("another"))), Err(TokenError::Expired), "new");
    assert_eq!(f.verify_claims(&with("aud", json!("other"))), Err(TokenError::Invalid), "expired and not ours");

    let later = with("nbf", json!(NOW_S + 1));
    f.set_millis((NOW_S + 1) * 1000 - 1);
    assert_eq!(f.verify_claims(&later), Err(TokenError::Invalid));
    f.set_millis((NOW_S + 1) * 1000);
    assert!(f.verify_claims(&later).is_ok());
}

#[test]
fn anything_that_is_not_exactly_three_parts_of_base64url_is_refused() {
    let f = fixture();
    let good = f.good();
    let [header, body, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    for bad in [
        String::new(),
        "..".to_owned(),
        "not a token".to_owned(),
        good[..good.len() / 2].to_owned(),
        format!("{header}.{body}"),
        format!("{header}.{body}."),
        format!("{good}.{signature}"),
        format!("{good}."),
        format!("{good} "),
        format!("{good}\n"),
        format!("{good}A"),
        format!("{good}=="),
        format!(" {good}"),
        format!("Bearer {good}"),
        format!("{header}=.{body}.{signature}"),
        format!("{header}.{body}.{}", "A".repeat(86)),
        format!("{header}..{signature}"),
        format!("ü{good}"),
        "a".repeat(MAX_TOKEN_BYTES + 1),
        format!("{good}{}", " ".repeat(MAX_TOKEN_BYTES)),
    ] {
        let refused = f.verifier.verify(&bad);
        assert!(matches!(refused, Err(TokenError::Malformed | TokenError::Invalid)), "{bad}: {refused:?}");
    }
    let wide = with("scope", json!("x".repeat(4000)));
    assert_eq!(f.verify_claims(&wide), Err(TokenError::Malformed), "too long");
    for trailing in ["{} {}", "[]", "null", "\"text\"", "{\"iss\":\"scoreboard\""] {
        assert!(f.verifier.verify(&f.sign_text(&f.header().to_string(), trailing)).is_err(), "{trailing}");
    }
    let twice = claims().to_string().replacen('{', r#"{"sub":"00000000-0000-4000-8000-000000000009","#, 1);
    assert_eq!(f.verifier.verify(&f.sign_text(&f.header().to_string(), &twice)), Err(TokenError::Invalid));
}

#[test]
fn no_changed_character_goes_unnoticed() {
    let f = fixture();
    let good = f.good();
    f.verifier.verify(&good).unwrap();
    for at in 0..good.len() {
        for replacement in [b'A', b'b', b'.', b'_'] {
            let mut bytes = good.clone().into_bytes();
            if bytes[at] == replacement {
                continue;
            }
            bytes[at] = replacement;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(f.verifier.verify(&changed).is_err(), "at {at}");
        }
    }
}

#[test]
fn a_retired_key_is_refused_at_once_though_its_token_was_remembered() {
    let f = fixture();
    let next = Fixture { key: TokenSigningKey::from_seed(&[9; 32]), ..fixture() };
    let (old_token, new_token) = (f.good(), next.good());
    f.verifier.verify(&old_token).unwrap();
    assert!(matches!(f.verifier.verify(&new_token), Err(TokenError::UnknownKey(_))));

    f.verifier.replace_keys(vec![f.key.verification_key(), next.key.verification_key()]).unwrap();
    assert!(f.verifier.verify(&old_token).is_ok() && f.verifier.verify(&new_token).is_ok(), "both while they overlap");

    f.verifier.replace_keys(vec![next.key.verification_key()]).unwrap();
    assert!(matches!(f.verifier.verify(&old_token), Err(TokenError::UnknownKey(_))));
    assert!(f.verifier.verify(&new_token).is_ok());

    let renamed = VerificationKey { kid: next.key.kid().to_owned(), ..f.key.verification_key() };
    f.verifier.replace_keys(vec![renamed]).unwrap();
    assert_eq!(f.verifier.verify(&new_token), Err(TokenError::Invalid), "the name alone is not the key");
}

#[test]
fn keys_that_are_none_are_refused() {
    let f = fixture();
    let mut off_the_curve = [0; 32];
    off_the_curve[0] = 2;
    for (kid, public_key) in [("ok", [0; 32]), ("ok", off_the_curve), ("not ok", f.key.verification_key().public_key)] {
        assert!(f.verifier.replace_keys(vec![VerificationKey { kid: kid.to_owned(), public_key }]).is_err());
    }
    assert!(f.verifier.verify(&f.good()).is_ok(), "the old keys stay");
}

#[test]
fn memory_is_bounded_and_keeps_what_is_asked_for() {
    let tokens = VerifiedTokens::new(10);
    let verified = || memory::Verified {
        claims: Claims {
            user: UserId::parse("00000000-0000-4000-8000-000000000001").unwrap(),
            session: SessionId::parse("00000000-0000-4000-8000-000000000002").unwrap(),
            username: Arc::from("alice"),
            expires_at: Timestamp::from_millis(0),
            kid: Arc::from("k"),
        },
        public_key: [0; 32],
    };
    tokens.remember([255; 32], verified());
    for n in 0..100 {
        tokens.remember([n; 32], verified());
        assert!(tokens.find(&[255; 32]).is_some(), "asked for all the time, after {n}");
    }
    assert!(tokens.len() <= 20);
    assert!(tokens.find(&[0; 32]).is_none(), "forgotten");
}
