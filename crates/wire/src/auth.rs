//! The messages of `AuthService`, from and to the domain.

use common::account::{OpenSession, Revocation, TokenGrant};
use common::ids::{SessionId, UserId};
use common::ports::{IssuerKey, VerificationKey};
use common::signature::SigningKey;

use crate::damaged::{self, DamagedMessage};
use crate::v1;

const UUID_FORM: &str = "must be a UUID with hyphens";

impl From<&TokenGrant> for v1::TokenGrant {
    fn from(grant: &TokenGrant) -> Self {
        Self {
            access_token: grant.access_token.clone(),
            refresh_token: grant.refresh_token.clone(),
            expires_in_seconds: grant.expires_in_s,
            refresh_expires_in_seconds: grant.refresh_expires_in_s,
            user_id: grant.user.to_string(),
            username: grant.username.clone(),
            signing_key: grant.signing_key.as_bytes().to_vec(),
        }
    }
}

impl TryFrom<v1::TokenGrant> for TokenGrant {
    type Error = DamagedMessage;

    fn try_from(grant: v1::TokenGrant) -> Result<Self, DamagedMessage> {
        if grant.access_token.is_empty() || grant.refresh_token.is_empty() {
            return Err(DamagedMessage::missing("access_token or refresh_token"));
        }
        Ok(Self {
            access_token: grant.access_token,
            refresh_token: grant.refresh_token,
            expires_in_s: grant.expires_in_seconds,
            refresh_expires_in_s: grant.refresh_expires_in_seconds,
            user: user_id(&grant.user_id)?,
            username: grant.username,
            signing_key: SigningKey::from_bytes(key_bytes("signing_key", &grant.signing_key)?),
        })
    }
}

impl TryFrom<v1::RegisterResponse> for (UserId, String) {
    type Error = DamagedMessage;

    fn try_from(registered: v1::RegisterResponse) -> Result<Self, DamagedMessage> {
        Ok((user_id(&registered.user_id)?, registered.username))
    }
}

impl From<&VerificationKey> for v1::VerificationKey {
    fn from(key: &VerificationKey) -> Self {
        Self { kid: key.kid.clone(), public_key: key.public_key.to_vec() }
    }
}

impl TryFrom<v1::VerificationKey> for VerificationKey {
    type Error = DamagedMessage;

    fn try_from(key: v1::VerificationKey) -> Result<Self, DamagedMessage> {
        if key.kid.is_empty() {
            return Err(DamagedMessage::missing("kid"));
        }
        Ok(Self { public_key: key_bytes("public_key", &key.public_key)?, kid: key.kid })
    }
}

impl From<&IssuerKey> for v1::IssuerKey {
    fn from(key: &IssuerKey) -> Self {
        Self { key_id: key.key_id.clone(), secret: key.secret.as_bytes().to_vec() }
    }
}

impl TryFrom<v1::IssuerKey> for IssuerKey {
    type Error = DamagedMessage;

    fn try_from(key: v1::IssuerKey) -> Result<Self, DamagedMessage> {
        if key.key_id.is_empty() {
            return Err(DamagedMessage::missing("key_id"));
        }
        Ok(Self { secret: SigningKey::from_bytes(key_bytes("secret", &key.secret)?), key_id: key.key_id })
    }
}

impl From<&Revocation> for v1::Revocation {
    fn from(revocation: &Revocation) -> Self {
        Self { session_id: revocation.session.to_string(), revoked_at_ms: revocation.revoked_at.as_millis() }
    }
}

impl TryFrom<&v1::Revocation> for Revocation {
    type Error = DamagedMessage;

    fn try_from(revocation: &v1::Revocation) -> Result<Self, DamagedMessage> {
        Ok(Self {
            session: session_id(&revocation.session_id)?,
            revoked_at: damaged::timestamp("revoked_at_ms", revocation.revoked_at_ms)?,
        })
    }
}

impl From<&OpenSession> for v1::OpenSession {
    fn from(open: &OpenSession) -> Self {
        Self {
            session_id: open.session.to_string(),
            created_at_ms: open.created_at.as_millis(),
            last_used_at_ms: open.last_used_at.as_millis(),
            expires_at_ms: open.expires_at.as_millis(),
        }
    }
}

impl TryFrom<&v1::OpenSession> for OpenSession {
    type Error = DamagedMessage;

    fn try_from(open: &v1::OpenSession) -> Result<Self, DamagedMessage> {
        Ok(Self {
            session: session_id(&open.session_id)?,
            created_at: damaged::timestamp("created_at_ms", open.created_at_ms)?,
            last_used_at: damaged::timestamp("last_used_at_ms", open.last_used_at_ms)?,
            expires_at: damaged::timestamp("expires_at_ms", open.expires_at_ms)?,
        })
    }
}

/// The session that a message names.
///
/// # Errors
/// [`DamagedMessage`] for the field `session_id`.
pub fn session_id(text: &str) -> Result<SessionId, DamagedMessage> {
    SessionId::parse(text).ok_or_else(|| DamagedMessage::new("session_id", UUID_FORM))
}

/// The user that a message names.
///
/// # Errors
/// [`DamagedMessage`] for the field `user_id`.
pub fn user_id(text: &str) -> Result<UserId, DamagedMessage> {
    UserId::parse(text).ok_or_else(|| DamagedMessage::new("user_id", UUID_FORM))
}

fn key_bytes(field: &'static str, bytes: &[u8]) -> Result<[u8; 32], DamagedMessage> {
    bytes.try_into().map_err(|_| DamagedMessage::new(field, "must be 32 bytes"))
}

#[cfg(test)]
mod tests {
    use common::clock::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn grant() -> TokenGrant {
        TokenGrant {
            access_token: "a".to_owned(),
            refresh_token: "r".to_owned(),
            expires_in_s: 3600,
            refresh_expires_in_s: 86_400,
            user: UserId(Uuid::from_u128(1)),
            username: "alice".to_owned(),
            signing_key: SigningKey::from_bytes([7; 32]),
        }
    }

    #[test]
    fn what_is_sent_is_what_arrives() {
        let arrived = TokenGrant::try_from(v1::TokenGrant::from(&grant())).unwrap();
        assert_eq!((arrived.user, arrived.username.as_str()), (grant().user, "alice"));
        assert_eq!((arrived.access_token.as_str(), arrived.refresh_token.as_str()), ("a", "r"));
        assert_eq!((arrived.expires_in_s, arrived.refresh_expires_in_s), (3600, 86_400));
        assert_eq!(arrived.signing_key, grant().signing_key);

        let key = VerificationKey { kid: "k".to_owned(), public_key: [9; 32] };
        assert_eq!(VerificationKey::try_from(v1::VerificationKey::from(&key)), Ok(key));
        let issuer = IssuerKey { key_id: "i".to_owned(), secret: SigningKey::from_bytes([8; 32]) };
        assert_eq!(IssuerKey::try_from(v1::IssuerKey::from(&issuer)), Ok(issuer));
        let revocation = Revocation { session: SessionId(Uuid::from_u128(2)), revoked_at: Timestamp::from_millis(3) };
        assert_eq!(Revocation::try_from(&v1::Revocation::from(&revocation)), Ok(revocation));
        let [created_at, last_used_at, expires_at] = [4, 5, 6].map(Timestamp::from_millis);
        let open = OpenSession { session: SessionId(Uuid::from_u128(2)), created_at, last_used_at, expires_at };
        assert_eq!(OpenSession::try_from(&v1::OpenSession::from(&open)), Ok(open));
    }

    #[test]
    fn damage_is_named() {
        let damaged = |change: fn(&mut v1::TokenGrant)| {
            let mut message = v1::TokenGrant::from(&grant());
            change(&mut message);
            TokenGrant::try_from(message).unwrap_err().field
        };
        assert_eq!(damaged(|m| m.user_id = "alice".to_owned()), "user_id");
        assert_eq!(damaged(|m| m.signing_key.truncate(31)), "signing_key");
        assert_eq!(damaged(|m| m.access_token.clear()), "access_token or refresh_token");
        assert_eq!(session_id("").unwrap_err().field, "session_id");
        let short = v1::VerificationKey { kid: "k".to_owned(), public_key: vec![0; 33] };
        assert_eq!(VerificationKey::try_from(short).unwrap_err().field, "public_key");
        let unnamed = v1::VerificationKey { kid: String::new(), public_key: vec![0; 32] };
        assert_eq!(VerificationKey::try_from(unnamed).unwrap_err().field, "kid");
        let short = v1::IssuerKey { key_id: "i".to_owned(), secret: vec![0; 31] };
        assert_eq!(IssuerKey::try_from(short).unwrap_err().field, "secret");
        let unnamed = v1::IssuerKey { key_id: String::new(), secret: vec![0; 32] };
        assert_eq!(IssuerKey::try_from(unnamed).unwrap_err().field, "key_id");
        let never = v1::Revocation { session_id: Uuid::from_u128(2).to_string(), revoked_at_ms: -1 };
        assert_eq!(Revocation::try_from(&never).unwrap_err().field, "revoked_at_ms");
    }
}
