//! The proof that a client or a game server gives for an action: HMAC-SHA256 over seven lines (DESIGN.md, section 3).

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::ids::{ActionId, ActionType, BoardId, SessionId, UserId};

/// The first of the seven lines: names what is signed, so that a signature serves no other purpose.
const SCHEME: &str = "scoreboard-v1";

/// Separates the derivation of session keys from every other use of the master secret.
const SESSION_KEY_LABEL: &str = "scoreboard-session-key-v1";

/// A 32-byte HMAC key. Never printed, wiped when dropped.
#[derive(Clone, PartialEq, Eq, zeroize::ZeroizeOnDrop)]
pub struct SigningKey([u8; 32]);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl SigningKey {
    /// Takes 32 bytes as a key.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key of a session, derived so that no service stores it: HMAC-SHA256(master, label ‖ session).
    #[must_use]
    pub fn for_session(master: &Self, session: SessionId) -> Self {
        let text = format!("{SESSION_KEY_LABEL}\n{session}");
        Self(master.mac(text.as_bytes()))
    }

    /// The key itself, for the login's answer and for derivation.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// HMAC-SHA256 of `message` under this key.
    #[must_use]
    pub fn mac(&self, message: &[u8]) -> [u8; 32] {
        // HMAC takes keys of any length, so `new_from_slice` has no failing case (RFC 2104, section 2).
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { unreachable!("HMAC takes any key length") };
        mac.update(message);
        mac.finalize().into_bytes().into()
    }
}

/// The signed content of an update, as sent: `points` empty when left out, `timestamp` to the letter.
#[derive(Clone, Debug)]
pub struct SignedAction<'a> {
    /// The board, its default filled in.
    pub board: &'a BoardId,
    /// The token's user.
    pub user: UserId,
    /// The action.
    pub action_id: &'a ActionId,
    /// Its type, its default filled in.
    pub action_type: &'a ActionType,
    /// The points as sent.
    pub points: Option<i64>,
    /// The timestamp as sent.
    pub timestamp: &'a str,
}

impl SignedAction<'_> {
    /// The seven lines, joined by `\n`, without a trailing newline.
    #[must_use]
    pub fn lines(&self) -> String {
        let points = self.points.map(|p| p.to_string()).unwrap_or_default();
        format!(
            "{SCHEME}\n{}\n{}\n{}\n{}\n{points}\n{}",
            self.board, self.user, self.action_id, self.action_type, self.timestamp
        )
    }

    /// The signature: 64 lower-case hex digits.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        hex::encode(key.mac(self.lines().as_bytes()))
    }

    /// Whether `signature` is exactly the 64 lower-case hex digits that `key` gives; compared in constant time.
    #[must_use]
    pub fn verify(&self, key: &SigningKey, signature: &str) -> bool {
        self.sign(key).as_bytes().ct_eq(signature.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action<'a>(board: &'a BoardId, id: &'a ActionId, kind: &'a ActionType) -> SignedAction<'a> {
        SignedAction {
            board,
            user: UserId(uuid::Uuid::from_u128(7)),
            action_id: id,
            action_type: kind,
            points: Some(100),
            timestamp: "2026-11-20T10:00:00.000Z",
        }
    }

    #[test]
    fn seven_lines_without_a_trailing_newline() {
        let (board, id, kind) = (BoardId::global(), ActionId::parse("match-42").unwrap(), ActionType::default_type());
        assert_eq!(
            action(&board, &id, &kind).lines(),
            "scoreboard-v1\nglobal\n00000000-0000-0000-0000-000000000007\nmatch-42\ndefault\n100\n2026-11-20T10:00:00.000Z"
        );
    }

    #[test]
    fn only_the_exact_lower_case_hex_verifies() {
        let (board, id, kind) = (BoardId::global(), ActionId::parse("match-42").unwrap(), ActionType::default_type());
        let key = SigningKey::from_bytes([3; 32]);
        let action = action(&board, &id, &kind);
        let signature = action.sign(&key);
        assert!(action.verify(&key, &signature));
        assert!(!action.verify(&key, &signature.to_uppercase()));
        assert!(!action.verify(&key, &signature[..63]));
        assert!(!action.verify(&key, &format!("{signature}\n")));
        assert!(!action.verify(&SigningKey::from_bytes([4; 32]), &signature));
    }

    #[test]
    fn sessions_have_keys_of_their_own() {
        let master = SigningKey::from_bytes([1; 32]);
        let [a, b] = [1, 2].map(|n| SigningKey::for_session(&master, SessionId(uuid::Uuid::from_u128(n))));
        assert_ne!(a, b);
        assert_ne!(a, master);
    }
}
