//! An auth that knows one key: what the stream's gate asks, and the tokens that it lets in.

use std::sync::Arc;

use async_trait::async_trait;
use common::account::{OpenSession, Revocation, TokenGrant};
use common::clock::Timestamp;
use common::error_code::Refusal;
use common::ids::{SessionId, UserId};
use common::ports::{Authority, IssuerKey, VerificationKey};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use parking_lot::Mutex;
use runtime::access_token::{AUDIENCE, CLAIM_TYPE, HEADER_TYPE, ISSUER, RawClaims};
use runtime::secrets::TokenSigningKey;
use testkit::fixtures::Player;

pub(crate) struct Door {
    key: TokenSigningKey,
    /// Sessions that ended, though no event may have said so.
    pub(crate) revoked: Mutex<Vec<Revocation>>,
}

impl Door {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { key: TokenSigningKey::from_seed(&[7; 32]), revoked: Mutex::default() })
    }

    /// A player's token that is good from `now` for so many seconds.
    pub(crate) fn token(&self, player: &Player, session: SessionId, now: Timestamp, lives_s: i64) -> String {
        let iat = now.as_millis() / 1000;
        let claims = RawClaims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            typ: CLAIM_TYPE.into(),
            sub: player.user.to_string(),
            sid: session.to_string(),
            name: player.username.to_string(),
            iat: iat - 10,
            exp: iat + lives_s,
            nbf: None,
            jti: "t".into(),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(HEADER_TYPE.into());
        header.kid = Some(self.key.kid().to_owned());
        encode(&header, &claims, &EncodingKey::from_ed_der(&self.key.pkcs8_der().unwrap())).unwrap()
    }
}

#[async_trait]
impl Authority for Door {
    async fn register(&self, _: &str, _: &str) -> Result<(UserId, String), Refusal> {
        unreachable!("a stream does not ask for it")
    }
    async fn login(&self, _: &str, _: &str) -> Result<TokenGrant, Refusal> {
        unreachable!("a stream does not ask for it")
    }
    async fn refresh(&self, _: &str) -> Result<TokenGrant, Refusal> {
        unreachable!("a stream does not ask for it")
    }
    async fn logout(&self, _: SessionId) -> Result<(), Refusal> {
        unreachable!("a stream does not ask for it")
    }
    async fn change_password(&self, _: UserId, _: SessionId, _: &str, _: &str) -> Result<Vec<SessionId>, Refusal> {
        unreachable!("a stream does not ask for it")
    }
    async fn logout_all(&self, _: UserId) -> Result<Vec<SessionId>, Refusal> {
        unreachable!("a stream does not ask for it")
    }
    async fn sessions(&self, _: UserId) -> Result<Vec<OpenSession>, Refusal> {
        unreachable!("a stream does not ask for it")
    }
    async fn verification_keys(&self) -> Result<Vec<VerificationKey>, Refusal> {
        Ok(vec![self.key.verification_key()])
    }
    async fn revocations(&self, _: Timestamp) -> Result<Vec<Revocation>, Refusal> {
        Ok(self.revoked.lock().clone())
    }
    async fn issuer_keys(&self) -> Result<Vec<IssuerKey>, Refusal> {
        unreachable!("a stream does not ask for it")
    }
}
