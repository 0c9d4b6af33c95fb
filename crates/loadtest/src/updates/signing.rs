//! A player's signature, written from the contract and not with the product's own code: were that wrong, this would tell.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// HMAC-SHA256 that has taken its key already.
#[derive(Clone)]
pub(crate) struct Signer(Hmac<Sha256>);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

impl Signer {
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(key).ok().map(Self)
    }

    /// Lower-case hex over the seven lines of the contract; the action type is `default`.
    pub(crate) fn sign(&self, board: &str, user: Uuid, action: &str, points: i64, timestamp: &str) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("scoreboard-v1\n{board}\n{user}\n{action}\ndefault\n{points}\n{timestamp}").as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_contracts() {
        // Python: hmac.new(bytes(range(32)), b"scoreboard-v1\nglobal\n00000000-0000-0000-0000-000000000001\nmatch-42\n"
        //         b"default\n100\n2026-11-20T10:00:00.000Z", "sha256").hexdigest()
        let key: Vec<u8> = (0..32).collect();
        let signature =
            Signer::new(&key).unwrap().sign("global", Uuid::from_u128(1), "match-42", 100, "2026-11-20T10:00:00.000Z");
        assert_eq!(signature, "6eab3910315f025d6289801c3122559dfcab34c705d8032999f65f401b4b8a89");
    }
}
