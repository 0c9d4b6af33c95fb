//! Tokens that are none, over a real socket: the families that every verifier of ours refuses.

use crate::support::{Auth, PASSWORD};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::error_code::ErrorCode;
use jsonwebtoken::{Algorithm, EncodingKey};
use runtime::secrets::TokenSigningKey;
use serde_json::{Value, json};

/// A good token, taken apart, with the key that signed it.
struct Forge<'a> {
    key: &'a TokenSigningKey,
    header: Value,
    claims: Value,
    good: String,
}

impl<'a> Forge<'a> {
    fn new(key: &'a TokenSigningKey, good: &str) -> Self {
        let part = |n: usize| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(good.split('.').nth(n).unwrap()).unwrap()).unwrap()
        };
        Self { key, header: part(0), claims: part(1), good: good.to_owned() }
    }

    fn message(header: &Value, claims: &Value) -> String {
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn signed(&self, key: &TokenSigningKey, header: &Value, claims: &Value) -> String {
        let message = Self::message(header, claims);
        let signing = EncodingKey::from_ed_der(&key.pkcs8_der().unwrap());
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &signing, Algorithm::EdDSA).unwrap();
        format!("{message}.{signature}")
    }

    fn with_header(&self, member: &str, value: Value) -> String {
        let mut header = self.header.clone();
        header[member] = value;
        self.signed(self.key, &header, &self.claims)
    }

    fn with_claim(&self, member: &str, value: Value) -> String {
        let mut claims = self.claims.clone();
        claims[member] = value;
        self.signed(self.key, &self.header, &claims)
    }

    fn under_hmac(&self) -> String {
        let mut header = self.header.clone();
        header["alg"] = json!("HS256");
        let message = Self::message(&header, &self.claims);
        let secret = EncodingKey::from_secret(&self.key.verification_key().public_key);
        let mac = jsonwebtoken::crypto::sign(message.as_bytes(), &secret, Algorithm::HS256).unwrap();
        format!("{message}.{mac}")
    }

    fn unsigned(&self) -> String {
        let mut header = self.header.clone();
        header["alg"] = json!("none");
        format!("{}.", Self::message(&header, &self.claims))
    }
}

#[tokio::test]
async fn twelve_families_of_bad_tokens_get_the_right_code() {
    let auth = Auth::start().await;
    let mut client = auth.registered("alice").await;
    let login = client.login("alice", PASSWORD).await.unwrap();
    let forge = Forge::new(&auth.secrets.active_key, &login.access_token);
    let foreign = TokenSigningKey::from_seed(&[66; 32]);
    let mut foreign_header = forge.header.clone();
    foreign_header["kid"] = json!(foreign.kid());
    let now_s = forge.claims["iat"].as_i64().unwrap();
    let mut expired = forge.claims.clone();
    (expired["iat"], expired["exp"]) = (json!(now_s - 3600), json!(now_s));

    assert!(client.validate(&forge.with_claim("jti", json!("made by the test"))).await.is_ok(), "the forge works");
    use ErrorCode::{TokenExpired, Unauthenticated};
    for (family, token, code) in [
        ("empty", String::new(), Unauthenticated),
        ("not a token", "a.b.c".to_owned(), Unauthenticated),
        ("alg none", forge.unsigned(), Unauthenticated),
        ("HS256 with the public key", forge.under_hmac(), Unauthenticated),
        ("RS256", forge.with_header("alg", json!("RS256")), Unauthenticated),
        ("ES256", forge.with_header("alg", json!("ES256")), Unauthenticated),
        ("foreign kid", forge.signed(&foreign, &foreign_header, &forge.claims), Unauthenticated),
        ("foreign key under our kid", forge.signed(&foreign, &forge.header, &forge.claims), Unauthenticated),
        ("jku", forge.with_header("jku", json!("https://attacker.example/keys")), Unauthenticated),
        ("jwk", forge.with_header("jwk", json!({ "kty": "OKP" })), Unauthenticated),
        ("x5u", forge.with_header("x5u", json!("https://attacker.example/cert")), Unauthenticated),
        ("iss", forge.with_claim("iss", json!("other")), Unauthenticated),
        ("aud", forge.with_claim("aud", json!("other")), Unauthenticated),
        ("typ of the header", forge.with_header("typ", json!("JWT")), Unauthenticated),
        ("typ of the claims", forge.with_claim("typ", json!("refresh")), Unauthenticated),
        ("not yet", forge.with_claim("nbf", json!(now_s + 1)), Unauthenticated),
        ("expired", forge.signed(forge.key, &forge.header, &expired), TokenExpired),
        ("lives too long", forge.with_claim("exp", json!(now_s + 3601)), Unauthenticated),
        ("a refresh token", login.refresh_token.clone(), Unauthenticated),
        ("trailing data", format!("{}.e30", forge.good), Unauthenticated),
        ("trailing characters", format!("{}AAAA", forge.good), Unauthenticated),
        ("cut off", forge.good[..forge.good.len() - 4].to_owned(), Unauthenticated),
        ("oversized", forge.with_claim("scope", json!("x".repeat(4096))), Unauthenticated),
    ] {
        assert_eq!(client.validate(&token).await, Err(code), "{family}");
    }
    assert!(client.validate(&forge.good).await.is_ok(), "the good one is still good");
}
