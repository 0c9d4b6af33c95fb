//! Identifiers, checked once at the edge: a value of one of these types is well-formed.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// A field of a request does not have the form that the contract asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {expected}")]
pub struct InvalidValue {
    /// The field's name as the client wrote it (camelCase).
    pub field: &'static str,
    /// What was expected, as the end of a sentence: `must be …`.
    pub expected: &'static str,
}

impl InvalidValue {
    /// A violation of `field`, described as the end of a sentence.
    #[must_use]
    pub const fn new(field: &'static str, expected: &'static str) -> Self {
        Self { field, expected }
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $field:literal, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the form.
            ///
            /// # Errors
            /// [`InvalidValue`] naming the field, when the text does not have it.
            pub fn parse(text: &str) -> Result<Self, InvalidValue> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(Arc::from(text)))
                } else {
                    Err(InvalidValue::new($field, $expected))
                }
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

fn all_of(text: &str, max_len: usize, allowed: fn(u8) -> bool) -> bool {
    !text.is_empty() && text.len() <= max_len && text.bytes().all(allowed)
}

text_id!(
    /// A board: `[a-z0-9-]{1,64}`.
    BoardId,
    "board",
    "must be 1 to 64 characters of a-z, 0-9 and -",
    |t| all_of(t, 64, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);

text_id!(
    /// What a player did, named by the client: 1–128 of `A-Za-z0-9_.:-`, unique per user and board.
    ActionId,
    "actionId",
    "must be 1 to 128 characters of A-Z, a-z, 0-9, _, ., : and -",
    |t| all_of(t, 128, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-'))
);

text_id!(
    /// The kind of an action, which carries its rules: 1–64 of `A-Za-z0-9_.:-`.
    ActionType,
    "actionType",
    "must be 1 to 64 characters of A-Z, a-z, 0-9, _, ., : and -",
    |t| all_of(t, 64, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-'))
);

text_id!(
    /// Names one intended request, so that a repeat is answered and not applied again: 1–255 visible ASCII.
    IdempotencyKey,
    "idempotencyKey",
    "must be 1 to 255 visible ASCII characters",
    |t| all_of(t, 255, |b| b.is_ascii_graphic())
);

text_id!(
    /// A player's name: 3–32 of `A-Za-z0-9_.-`. Unique without case; shown as registered.
    Username,
    "username",
    "must be 3 to 32 characters of A-Z, a-z, 0-9, _, . and -",
    |t| t.len() >= 3
        && all_of(t, 32, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
);

impl BoardId {
    /// The board that a request means when it names none.
    #[must_use]
    pub fn global() -> Self {
        Self(Arc::from("global"))
    }
}

impl ActionType {
    /// The type that a request means when it names none.
    #[must_use]
    pub fn default_type() -> Self {
        Self(Arc::from("default"))
    }

    /// The default type of `POST /update-score`: fixed points, token proof.
    #[must_use]
    pub fn task() -> Self {
        Self(Arc::from("task"))
    }
}

impl Username {
    /// The form under which names are unique.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Reads the hyphenated text form; `None` when it is anything else.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                (text.len() == 36).then(|| Uuid::try_parse(text).ok().map(Self)).flatten()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id!(
    /// A player.
    UserId
);
uuid_id!(
    /// A login and everything refreshed from it (a token family).
    SessionId
);
uuid_id!(
    /// One acceptance of an update by a gateway. Redelivered work carries the same one, which is how the
    /// ledger tells a redelivery from a second request for the same action.
    SubmissionId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_the_contract() {
        assert!(BoardId::parse("weekly-7").is_ok());
        for bad in ["", "Weekly", "a_b", "ü", &"x".repeat(65)] {
            assert!(BoardId::parse(bad).is_err(), "{bad}");
        }
        assert!(ActionId::parse("match-42:round.1_a").is_ok());
        assert!(ActionId::parse("a b").is_err());
        assert!(Username::parse("al").is_err());
        assert!(IdempotencyKey::parse("with space").is_err());
        assert_eq!(Username::parse("Al.Ice").unwrap().folded(), "al.ice");
    }
}
