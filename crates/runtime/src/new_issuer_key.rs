//! How issuer keys are made: the same from the command line and by gRPC.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::clock::Timestamp;
use common::ids::InvalidValue;
use common::ports::{IssuerKey, NewIssuerKey};
use common::signature::SigningKey;
use zeroize::Zeroizing;

/// The longest name, in characters: one line of a list.
const MAX_NAME: usize = 64;

/// A new random key of this name, to be kept in the store.
///
/// # Errors
/// [`InvalidValue`] for a name that is not 1 to 64 characters on one line.
pub fn new_issuer_key(name: &str, now: Timestamp) -> Result<NewIssuerKey, InvalidValue> {
    if !(1..=MAX_NAME).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(InvalidValue::new("name", "must be 1 to 64 characters on one line"));
    }
    let key_id = format!("iss_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 12]>()));
    let key = IssuerKey { key_id, secret: SigningKey::from_bytes(rand::random()) };
    Ok(NewIssuerKey { key, name: name.to_owned(), created_at: now })
}

/// The secret as its game server is given it: base64url without padding.
#[must_use]
pub fn shown_secret(key: &IssuerKey) -> Zeroizing<String> {
    Zeroizing::new(URL_SAFE_NO_PAD.encode(key.secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike_and_names_are_one_line() {
        let now = Timestamp::from_millis(0);
        let [one, two] = [(); 2].map(|()| new_issuer_key("arena", now).unwrap());
        assert_ne!(one.key.key_id, two.key.key_id);
        assert_ne!(*shown_secret(&one.key), *shown_secret(&two.key));
        for name in ["", "a\nb", &"x".repeat(65)] {
            assert!(new_issuer_key(name, now).is_err(), "{name}");
        }
    }
}
