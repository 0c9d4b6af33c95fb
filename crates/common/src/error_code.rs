//! The one table of error codes: name, HTTP status, gRPC code. Public contract: codes never change meaning.

use std::fmt;

use crate::rate_limit::Allowance;
use crate::receipt::Receipt;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $http:literal, $grpc:literal;)+) => {
        /// Why a request was refused or failed.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)+
        }

        impl ErrorCode {
            /// Every code, in the table's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable snake_case name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The HTTP status that it goes with.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $http,)+ }
            }

            /// The gRPC status code (its number in google.rpc.Code) that it goes with.
            #[must_use]
            pub const fn grpc_code(self) -> i32 {
                match self { $(Self::$variant => $grpc,)+ }
            }

            /// The inverse of [`Self::as_str`].
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

// gRPC codes: 3 invalid_argument, 5 not_found, 6 already_exists, 7 permission_denied, 8 resource_exhausted,
// 9 failed_precondition, 10 aborted, 11 out_of_range, 12 unimplemented, 13 internal, 14 unavailable, 4 deadline, 16 unauthenticated.
error_codes! {
    /// Malformed JSON, a missing or malformed field.
    InvalidRequest = "invalid_request", 400, 3;
    /// The signature does not verify, or its key is unknown.
    InvalidSignature = "invalid_signature", 400, 3;
    /// The timestamp is more than 5 minutes from the server's clock.
    StaleTimestamp = "stale_timestamp", 400, 9;
    /// Points outside the action type's bounds, or a score outside ±(2^53-1).
    PointsOutOfRange = "points_out_of_range", 400, 11;
    /// The board has no such action type.
    UnknownActionType = "unknown_action_type", 400, 3;
    /// The type asks for a game server's signature.
    IssuerProofRequired = "issuer_proof_required", 400, 9;
    /// No token, or one that does not verify.
    Unauthenticated = "unauthenticated", 401, 16;
    /// The token's hour is over.
    TokenExpired = "token_expired", 401, 16;
    /// The token's session was ended.
    TokenRevoked = "token_revoked", 401, 16;
    /// Username or password wrong; it is not said which.
    InvalidCredentials = "invalid_credentials", 401, 16;
    /// A refresh token was used a second time; the session is over.
    RefreshTokenReused = "refresh_token_reused", 401, 16;
    /// The token belongs to somebody else.
    Forbidden = "forbidden", 403, 7;
    /// The page's origin is not let in.
    OriginNotAllowed = "origin_not_allowed", 403, 7;
    /// No such thing.
    NotFound = "not_found", 404, 5;
    /// No such board.
    UnknownBoard = "unknown_board", 404, 5;
    /// The path exists, the method does not.
    MethodNotAllowed = "method_not_allowed", 405, 12;
    /// The request took too long to arrive.
    RequestTimeout = "request_timeout", 408, 4;
    /// The user already used this action on this board.
    DuplicateAction = "duplicate_action", 409, 6;
    /// Somebody has that name.
    UsernameTaken = "username_taken", 409, 6;
    /// The first request with this idempotency key has no answer yet.
    RequestInProgress = "request_in_progress", 409, 10;
    /// The body is larger than 16 KiB.
    PayloadTooLarge = "payload_too_large", 413, 8;
    /// The request's path is too long.
    UriTooLong = "uri_too_long", 414, 3;
    /// The body is not JSON.
    UnsupportedMediaType = "unsupported_media_type", 415, 3;
    /// The same idempotency key with other content.
    IdempotencyKeyReused = "idempotency_key_reused", 422, 9;
    /// Too many requests.
    RateLimited = "rate_limited", 429, 8;
    /// The action type's points for this day are used up.
    DailyCapReached = "daily_cap_reached", 429, 8;
    /// The request's headers are too large.
    HeadersTooLarge = "headers_too_large", 431, 3;
    /// A fault of ours; opaque.
    Internal = "internal", 500, 13;
    /// The broker or the database is not taking work; safe to repeat.
    Unavailable = "unavailable", 503, 14;
}

impl ErrorCode {
    /// Whether a refusal with this code is logged as a security event: somebody tried what they may not.
    #[must_use]
    pub const fn is_security_event(self) -> bool {
        matches!(
            self,
            Self::InvalidSignature
                | Self::StaleTimestamp
                | Self::PointsOutOfRange
                | Self::IssuerProofRequired
                | Self::Unauthenticated
                | Self::TokenRevoked
                | Self::InvalidCredentials
                | Self::RefreshTokenReused
                | Self::Forbidden
                | Self::OriginNotAllowed
                | Self::DuplicateAction
                | Self::IdempotencyKeyReused
                | Self::RateLimited
                | Self::DailyCapReached
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a refusal tells beside its code and message.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Details {
    /// Nothing more.
    #[default]
    None,
    /// Which field of the request.
    Field(&'static str),
    /// What the action already brought.
    Receipt(Box<Receipt>),
    /// Which limit.
    Limit(&'static str),
    /// Which setting would let the request in.
    Setting(&'static str),
}

/// A request that was not carried out, as its sender is told. The message is safe to show.
#[derive(Clone, PartialEq, Debug)]
pub struct Refusal {
    /// The stable code.
    pub code: ErrorCode,
    /// What is wrong and what to do, for a person.
    pub message: String,
    /// What else the code's contract promises.
    pub details: Details,
    /// Seconds after which a repeat makes sense.
    pub retry_after_s: Option<u64>,
    /// The limit that refused, for the `RateLimit` headers.
    pub allowance: Option<Box<Allowance>>,
}

impl Refusal {
    /// A refusal with nothing but code and message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Details::None, retry_after_s: None, allowance: None }
    }

    /// Names the field that is wrong.
    #[must_use]
    pub fn with_field(mut self, field: &'static str) -> Self {
        self.details = Details::Field(field);
        self
    }

    /// Says when a repeat makes sense.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Too many requests: says which limit, and when the next one passes.
    #[must_use]
    pub fn rate_limited(allowance: Allowance) -> Self {
        let quota = allowance.quota;
        let message = format!("at most {} requests per {} s ({})", quota.limit, quota.period.as_secs(), quota.name);
        let mut refusal = Self::new(ErrorCode::RateLimited, message).retry_after(allowance.retry_after_s());
        refusal.details = Details::Limit(quota.name);
        refusal.allowance = Some(Box::new(allowance));
        refusal
    }

    /// The opaque answer to a fault of ours; the cause is logged where it is handled.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(ErrorCode::Internal, "something went wrong on our side; the request id helps us to find it")
    }

    /// The answer when a dependency takes no work; a repeat is safe.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::new(ErrorCode::Unavailable, "not taking work at the moment; the same request can safely be sent again")
            .retry_after(1)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}

impl From<crate::ids::InvalidValue> for Refusal {
    fn from(invalid: crate::ids::InvalidValue) -> Self {
        Self::new(ErrorCode::InvalidRequest, invalid.to_string()).with_field(invalid.field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::parse(code.as_str()), Some(*code));
            assert!((400..=503).contains(&code.http_status()));
        }
    }
}
