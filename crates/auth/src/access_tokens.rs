//! Makes access tokens of the form that [`runtime::access_token`] describes and verifies.

use common::clock::Timestamp;
use common::ids::{SessionId, UserId};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use runtime::access_token::{ACCESS_TOKEN_LIFETIME_S, AUDIENCE, CLAIM_TYPE, HEADER_TYPE, ISSUER, RawClaims};
use runtime::secrets::TokenSigningKey;
use uuid::Uuid;

/// An access token cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssueError {
    /// The private key has no form that the JWT library takes.
    #[error("the key that signs access tokens cannot be encoded")]
    Key(#[from] ed25519_dalek::pkcs8::Error),
    /// The JWT library does not sign.
    #[error("the access token cannot be signed")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// Signs with auth's active key.
pub(crate) struct AccessTokens {
    header: Header,
    key: EncodingKey,
}

impl AccessTokens {
    pub(crate) fn new(key: &TokenSigningKey) -> Result<Self, IssueError> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(HEADER_TYPE.to_owned());
        header.kid = Some(key.kid().to_owned());
        Ok(Self { header, key: EncodingKey::from_ed_der(&key.pkcs8_der()?) })
    }

    /// A token from `now` on, named `id` in logs.
    pub(crate) fn issue(
        &self,
        user: UserId,
        username: &str,
        session: SessionId,
        now: Timestamp,
        id: Uuid,
    ) -> Result<String, IssueError> {
        let now_s = now.as_millis().div_euclid(1000);
        let claims = RawClaims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            typ: CLAIM_TYPE.to_owned(),
            sub: user.to_string(),
            sid: session.to_string(),
            name: username.to_owned(),
            iat: now_s,
            exp: now_s + i64::from(ACCESS_TOKEN_LIFETIME_S),
            nbf: None,
            jti: id.to_string(),
        };
        Ok(encode(&self.header, &claims, &self.key)?)
    }
}
