//! Refresh tokens: opaque to clients, worked out and not stored.
//!
//! ```text
//! base64url( session 16 B ‖ generation u32 BE ‖ HMAC-SHA256(refresh master, label ‖ session ‖ generation) )
//! ```
//!
//! A session's next token follows from its current one, so that a client whose answer got lost is given the very
//! same successor again, and two refreshes at once cannot start two chains (RFC 9700, section 4.14.2). The store
//! keeps only SHA-256 of the token that is good now; a token that we did not make is refused before the store is
//! asked. The label keeps these MACs apart from all others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::account::RefreshHash;
use common::ids::SessionId;
use common::signature::SigningKey;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;
use zeroize::Zeroizing;

const LABEL: &[u8] = b"scoreboard-refresh-token-v1\n";
const NAME_BYTES: usize = 16 + 4;
const TOKEN_BYTES: usize = NAME_BYTES + 32;

/// Makes and reads refresh tokens.
pub(crate) struct RefreshTokens {
    master: SigningKey,
}

/// Which token of which session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RefreshName {
    pub(crate) session: SessionId,
    /// Counts rotations, from 0 at login.
    pub(crate) generation: u32,
}

impl RefreshName {
    pub(crate) const fn first(session: SessionId) -> Self {
        Self { session, generation: 0 }
    }

    /// `None` after 2^32 rotations.
    pub(crate) fn successor(self) -> Option<Self> {
        Some(Self { generation: self.generation.checked_add(1)?, ..self })
    }

    fn bytes(self) -> [u8; NAME_BYTES] {
        let mut bytes = [0; NAME_BYTES];
        bytes[..16].copy_from_slice(self.session.0.as_bytes());
        bytes[16..].copy_from_slice(&self.generation.to_be_bytes());
        bytes
    }
}

impl RefreshTokens {
    pub(crate) const fn new(master: SigningKey) -> Self {
        Self { master }
    }

    /// The token of that name.
    pub(crate) fn token(&self, name: RefreshName) -> String {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        bytes[..NAME_BYTES].copy_from_slice(&name.bytes());
        bytes[NAME_BYTES..].copy_from_slice(&self.mac(name));
        URL_SAFE_NO_PAD.encode(bytes.as_ref())
    }

    /// The name of a token that we made; `None` for every other text.
    pub(crate) fn read(&self, token: &str) -> Option<RefreshName> {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES + 2]);
        let length = URL_SAFE_NO_PAD.decode_slice(token, bytes.as_mut()).ok()?;
        let bytes: &[u8; TOKEN_BYTES] = bytes[..length].try_into().ok()?;
        let session = Uuid::from_slice(&bytes[..16]).ok()?;
        let generation = u32::from_be_bytes(bytes[16..NAME_BYTES].try_into().ok()?);
        let name = RefreshName { session: SessionId(session), generation };
        bool::from(self.mac(name).ct_eq(&bytes[NAME_BYTES..])).then_some(name)
    }

    fn mac(&self, name: RefreshName) -> [u8; 32] {
        self.master.mac(&[LABEL, &name.bytes()].concat())
    }
}

/// What the store keeps of a token.
pub(crate) fn refresh_hash(token: &str) -> RefreshHash {
    RefreshHash(Sha256::digest(token.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> RefreshTokens {
        RefreshTokens::new(SigningKey::from_bytes([1; 32]))
    }

    fn name() -> RefreshName {
        RefreshName { session: SessionId(Uuid::from_u128(42)), generation: 7 }
    }

    #[test]
    fn a_token_reads_back_and_is_the_same_every_time() {
        let token = tokens().token(name());
        assert_eq!(token, tokens().token(name()));
        assert_eq!(tokens().read(&token), Some(name()));
        assert_ne!(token, tokens().token(name().successor().unwrap()));
        assert_eq!(token.len(), 70);
    }

    #[test]
    fn no_changed_character_is_taken() {
        let token = tokens().token(name());
        for at in 0..token.len() {
            for replacement in "Aa0_-.=".chars() {
                let changed: String =
                    token.chars().enumerate().map(|(n, c)| if n == at { replacement } else { c }).collect();
                assert!(changed == token || tokens().read(&changed).is_none(), "{at} {replacement}");
            }
        }
    }

    #[test]
    fn other_texts_and_other_masters_are_refused() {
        let token = tokens().token(name());
        let other = RefreshTokens::new(SigningKey::from_bytes([2; 32]));
        assert_eq!(other.read(&token), None);
        for bad in ["", "A", "ü", &token[..69], &format!("{token}A"), &format!("{token}="), &"A".repeat(10_000)] {
            assert_eq!(tokens().read(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_last_generation_has_no_successor() {
        let last = RefreshName { generation: u32::MAX, ..name() };
        assert_eq!(last.successor(), None);
    }
}
