//! The bearer token of a request (RFC 6750, section 2.1).

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use common::error_code::{ErrorCode, Refusal};

/// The token of a request. Never to be logged.
///
/// # Errors
/// `unauthenticated` when there is none.
pub fn bearer(request: &HttpRequest) -> Result<&str, Refusal> {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    header
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| {
            Refusal::new(ErrorCode::Unauthenticated, "a bearer token is needed: Authorization: Bearer <accessToken>")
        })
}
