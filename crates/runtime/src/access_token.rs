//! Access tokens: their one form, and the verifier that gateway, fan-out and auth share.
//!
//! A JWT with exactly one algorithm and one type (RFC 8725, sections 3.1 and 3.11; RFC 9068):
//!
//! ```text
//! header  {"alg":"EdDSA","typ":"at+jwt","kid":"<one of auth's keys>"}     and nothing else
//! claims  {"iss":"scoreboard","aud":"scoreboard","typ":"access","sub":"<user>","sid":"<session>",
//!          "name":"<username>","iat":s,"exp":s,"jti":"<uuid>"}            `nbf` is honoured, others are ignored
//! ```
//!
//! - A header that brings or points to its own key (`jwk`, `jku`, `x5c`, `x5u`), asks for extensions (`crit`) or
//!   has any other member is refused before a key is looked at; the `kid` only chooses among our own keys.
//! - `exp` and `nbf` hold to the millisecond of the verifier's clock: no leeway. Auth writes no `nbf`: a token that
//!   was just given must not be refused where a clock is some milliseconds behind.
//! - No token lives longer than [`ACCESS_TOKEN_LIFETIME_S`], so that revocations older than that can be forgotten.
//!
//! A token that was verified is remembered by its SHA-256 until it expires or its key is retired: the signature
//! costs 50–75 µs, the memory about one. *Revocation is not decided here*: callers ask by [`Claims::session`].

mod memory;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::clock::{Clock, Timestamp};
use common::error_code::{ErrorCode, Refusal};
use common::ids::{SessionId, UserId, Username};
use common::ports::VerificationKey;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::secrets::is_valid_kid;
use memory::VerifiedTokens;

/// Seconds that an access token lives.
pub const ACCESS_TOKEN_LIFETIME_S: u32 = 3600;

/// `iss` of every token of ours.
pub const ISSUER: &str = "scoreboard";
/// `aud` of every token of ours.
pub const AUDIENCE: &str = "scoreboard";
/// `typ` in the header (RFC 9068).
pub const HEADER_TYPE: &str = "at+jwt";
/// `typ` among the claims.
pub const CLAIM_TYPE: &str = "access";

/// The longest token that is looked at, in bytes; ours take about 450.
const MAX_TOKEN_BYTES: usize = 4096;

/// Tokens that are remembered as verified, at least; about 250 bytes each, at most twice as many.
const REMEMBERED_TOKENS: usize = 50_000;

/// The claims as they stand in a token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RawClaims {
    /// [`ISSUER`].
    pub iss: String,
    /// [`AUDIENCE`]; a list is refused.
    pub aud: String,
    /// [`CLAIM_TYPE`].
    pub typ: String,
    /// The user's id.
    pub sub: String,
    /// The session's id.
    pub sid: String,
    /// The username as registered.
    pub name: String,
    /// When it was made, in seconds since the Unix epoch.
    pub iat: i64,
    /// From when on it is refused, in seconds since the Unix epoch.
    pub exp: i64,
    /// Before when it is refused, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Names the token in logs.
    pub jti: String,
}

/// Who shows a token, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    /// The player.
    pub user: UserId,
    /// The login that the token comes from.
    pub session: SessionId,
    /// The name as registered.
    pub username: Arc<str>,
    /// From when on the token is refused.
    pub expires_at: Timestamp,
    /// The key that signed it.
    pub kid: Arc<str>,
}

/// Why a token is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// It does not have the one form that our tokens have.
    #[error("the token is malformed")]
    Malformed,
    /// It has the form, but its signature or a claim is wrong.
    #[error("the token does not verify")]
    Invalid,
    /// It was good until its `exp`.
    #[error("the token has expired")]
    Expired,
    /// It names a key that is not known here: retired, made up, or so new that the list of keys should be read again.
    #[error("the token names an unknown key")]
    UnknownKey(String),
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Expired => Self::new(ErrorCode::TokenExpired, "the access token has expired; refresh it"),
            TokenError::Malformed | TokenError::Invalid | TokenError::UnknownKey(_) => {
                Self::new(ErrorCode::Unauthenticated, "the access token does not verify; log in again")
            }
        }
    }
}

/// A verification key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("verification key {kid} is not an Ed25519 public key with a well-formed kid")]
pub struct InvalidVerificationKey {
    /// Which key.
    pub kid: String,
}

/// Verifies access tokens with auth's public keys. Shared by all requests of a process.
pub struct AccessTokenVerifier {
    keys: ArcSwap<KeySet>,
    validation: Validation,
    memory: VerifiedTokens,
    clock: Arc<dyn Clock>,
}

type KeySet = HashMap<Arc<str>, KnownKey>;

struct KnownKey {
    kid: Arc<str>,
    public_key: [u8; 32],
    decoding: DecodingKey,
}

/// All that a header may say. Anything else makes it malformed, a member that comes twice too.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictHeader {
    alg: String,
    typ: String,
    kid: String,
}

impl AccessTokenVerifier {
    /// A verifier that knows `keys`; there may be none yet.
    ///
    /// # Errors
    /// [`InvalidVerificationKey`].
    pub fn new(keys: Vec<VerificationKey>, clock: Arc<dyn Clock>) -> Result<Self, InvalidVerificationKey> {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Times are checked against our clock, without leeway.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Ok(Self {
            keys: ArcSwap::from_pointee(key_set(keys)?),
            validation,
            memory: VerifiedTokens::new(REMEMBERED_TOKENS),
            clock,
        })
    }

    /// Knows exactly `keys` from now on: tokens of a key that is not among them are refused at once, remembered
    /// or not.
    ///
    /// # Errors
    /// [`InvalidVerificationKey`]; then the old keys stay.
    pub fn replace_keys(&self, keys: Vec<VerificationKey>) -> Result<(), InvalidVerificationKey> {
        self.keys.store(Arc::new(key_set(keys)?));
        Ok(())
    }

    /// Whether a key of that name is known.
    #[must_use]
    pub fn knows(&self, kid: &str) -> bool {
        self.keys.load().contains_key(kid)
    }

    /// Whose token this is. Says nothing about revocation.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let keys = self.keys.load();
        if let Some(claims) = self.memory.find(&digest)
            && let Some(key) = keys.get(&claims.claims.kid)
            && key.public_key == claims.public_key
        {
            return self.unless_expired(claims.claims);
        }
        let header = strict_header(token)?;
        let key = keys.get(header.kid.as_str()).ok_or(TokenError::UnknownKey(header.kid))?;
        let raw = jsonwebtoken::decode::<RawClaims>(token, &key.decoding, &self.validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
        let claims = self.unless_expired(self.checked(&raw, &key.kid)?)?;
        self.memory.remember(digest, memory::Verified { claims: claims.clone(), public_key: key.public_key });
        Ok(claims)
    }

    fn unless_expired(&self, claims: Claims) -> Result<Claims, TokenError> {
        if self.clock.now() < claims.expires_at { Ok(claims) } else { Err(TokenError::Expired) }
    }

    fn checked(&self, raw: &RawClaims, kid: &Arc<str>) -> Result<Claims, TokenError> {
        let lives_s = raw.exp.checked_sub(raw.iat).ok_or(TokenError::Invalid)?;
        let premature = raw.nbf.is_some_and(|nbf| self.clock.now() < from_seconds(nbf));
        if raw.typ != CLAIM_TYPE || premature || !(1..=i64::from(ACCESS_TOKEN_LIFETIME_S)).contains(&lives_s) {
            return Err(TokenError::Invalid);
        }
        let username = Username::parse(&raw.name).map_err(|_| TokenError::Invalid)?;
        Ok(Claims {
            user: UserId::parse(&raw.sub).ok_or(TokenError::Invalid)?,
            session: SessionId::parse(&raw.sid).ok_or(TokenError::Invalid)?,
            username: Arc::from(username.as_str()),
            expires_at: from_seconds(raw.exp),
            kid: Arc::clone(kid),
        })
    }
}

impl std::fmt::Debug for AccessTokenVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessTokenVerifier").field("kids", &self.keys.load().keys().collect::<Vec<_>>()).finish()
    }
}

fn key_set(keys: Vec<VerificationKey>) -> Result<KeySet, InvalidVerificationKey> {
    let known = |key: VerificationKey| {
        let usable = ed25519_dalek::VerifyingKey::from_bytes(&key.public_key).is_ok_and(|k| !k.is_weak());
        if !usable || !is_valid_kid(&key.kid) {
            return Err(InvalidVerificationKey { kid: key.kid });
        }
        let kid: Arc<str> = Arc::from(key.kid);
        let decoding = DecodingKey::from_ed_der(&key.public_key);
        Ok((Arc::clone(&kid), KnownKey { kid, public_key: key.public_key, decoding }))
    };
    keys.into_iter().map(known).collect()
}

/// The header of `header.claims.signature`, if it is one of ours.
fn strict_header(token: &str) -> Result<StrictHeader, TokenError> {
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(TokenError::Malformed);
    };
    let json = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenError::Malformed)?;
    let header: StrictHeader = serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)?;
    if header.alg != "EdDSA" || header.typ != HEADER_TYPE || !is_valid_kid(&header.kid) {
        return Err(TokenError::Malformed);
    }
    Ok(header)
}

const fn from_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests;
