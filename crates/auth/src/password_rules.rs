//! Which passwords a new account may have.

use common::error_code::{ErrorCode, Refusal};
use common::ids::{InvalidValue, Username};

use crate::common_passwords::COMMON_PASSWORDS;

/// The fewest characters (Unicode scalar values) of a password.
const MIN_CHARACTERS: usize = 10;
/// The most.
const MAX_CHARACTERS: usize = 128;

/// Checks a new password. Length and a list of what everybody tries first; no rules of composition, which make
/// passwords worse (NIST SP 800-63B, section 5.1.1.2).
///
/// # Errors
/// `invalid_request` naming the field `password`.
pub(crate) fn check_new_password(username: &Username, password: &str) -> Result<(), Refusal> {
    if !(MIN_CHARACTERS..=MAX_CHARACTERS).contains(&password.chars().count()) {
        return Err(InvalidValue::new("password", "must be 10 to 128 characters").into());
    }
    let folded = password.to_lowercase();
    if folded == username.folded() || COMMON_PASSWORDS.contains(&folded.as_str()) {
        let message = "this password is among the first that anybody would try; choose another";
        return Err(Refusal::new(ErrorCode::InvalidRequest, message).with_field("password"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use common::error_code::Details;

    use super::*;

    fn check(password: &str) -> Result<(), Refusal> {
        check_new_password(&Username::parse("Alice.Cooper").unwrap(), password)
    }

    #[test]
    fn length_is_counted_in_characters() {
        for good in ["x".repeat(10), "x".repeat(128), "ü".repeat(10), "🦀".repeat(128), "correct horse battery".into()]
        {
            assert_eq!(check(&good), Ok(()), "{good}");
        }
        for bad in [String::new(), "x".repeat(9), "ü".repeat(9), "x".repeat(129), "🦀".repeat(129)] {
            let refusal = check(&bad).unwrap_err();
            assert_eq!(refusal.details, Details::Field("password"), "{bad}");
            assert_eq!(refusal.code, ErrorCode::InvalidRequest);
        }
    }

    #[test]
    fn what_everybody_tries_first_is_refused_in_any_case() {
        for bad in ["1234567890", "Password123", "QWERTYUIOP", "alice.cooper", "ALICE.COOPER"] {
            let refusal = check(bad).unwrap_err();
            assert_eq!(refusal.details, Details::Field("password"), "{bad}");
            assert!(!refusal.message.contains(bad), "a refusal never repeats the password");
        }
    }

    #[test]
    fn the_list_holds_only_what_the_length_would_let_through() {
        for password in COMMON_PASSWORDS {
            assert!((MIN_CHARACTERS..=MAX_CHARACTERS).contains(&password.chars().count()), "{password}");
            assert_eq!(*password, password.to_lowercase());
        }
        assert!(COMMON_PASSWORDS.is_sorted() && COMMON_PASSWORDS.len() > 100);
    }
}
