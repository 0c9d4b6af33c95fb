//! Tokens that auth would never give, signed with its own key: what a verifier must look at beside the signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::clock::Clock as _;
use jsonwebtoken::{Algorithm, EncodingKey};
use runtime::clock::SystemClock;
use runtime::secrets::{AuthSecrets, TokenSigningKey};
use serde_json::{Value, json};

use crate::client::Player;
use crate::deployment::Deployment;

pub(crate) struct TokenMint {
    key: TokenSigningKey,
    /// The claims of a good token.
    claims: Value,
}

pub(crate) fn now_s() -> i64 {
    SystemClock.now().as_millis() / 1000
}

impl TokenMint {
    /// With the key of this deployment's auth, for a player's session.
    pub(crate) fn of(deployment: &Deployment, player: &Player) -> Self {
        let key = AuthSecrets::load(&deployment.secrets()).expect("auth's secrets").active_key;
        let claims = URL_SAFE_NO_PAD.decode(player.token.split('.').nth(1).expect("claims")).expect("base64url");
        Self { key, claims: serde_json::from_slice(&claims).expect("JSON") }
    }

    pub(crate) fn header(&self) -> Value {
        json!({"alg": "EdDSA", "typ": "at+jwt", "kid": self.key.kid()})
    }

    /// The claims with one of them changed; null takes it away.
    pub(crate) fn with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims.clone();
        claims[name] = value;
        claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
        claims
    }

    /// Our own key signs it, whatever it is.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let key = EncodingKey::from_ed_der(&self.key.pkcs8_der().expect("DER"));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::EdDSA).expect("a signature");
        format!("{message}.{signature}")
    }

    /// A token whose hour is over.
    pub(crate) fn expired(&self) -> String {
        let (now, mut claims) = (now_s(), self.claims.clone());
        (claims["iat"], claims["exp"]) = (json!(now - 3601), json!(now - 1));
        self.sign(&self.header(), &claims)
    }

    /// A MAC under the public key, which everybody knows.
    pub(crate) fn public_key_as_secret(&self) -> String {
        let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": self.key.kid()});
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(self.claims.to_string())
        );
        let key = EncodingKey::from_secret(&self.key.verification_key().public_key);
        let mac = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a MAC");
        format!("{message}.{mac}")
    }

    /// The same claims under somebody else's key, with our key's name or its own.
    pub(crate) fn foreign(&self, own_name: bool) -> String {
        let foreign = Self { key: TokenSigningKey::from_seed(&[7; 32]), claims: self.claims.clone() };
        let header = if own_name { foreign.header() } else { self.header() };
        foreign.sign(&header, &foreign.claims)
    }
}
