//! Every refusal leaves in the contract's one shape.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use common::error_code::{ErrorCode, Refusal};
use common::rate_limit::Allowance;
use wire::json::ErrorJson;

/// A refusal on its way out of a handler. The request's id joins it in [`crate::request_scope`].
#[derive(Debug)]
pub struct ApiError(pub Refusal);

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<R: Into<Refusal>> From<R> for ApiError {
    fn from(refusal: R) -> Self {
        Self(refusal.into())
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        status(self.0.code)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::new(self.status_code());
        response.extensions_mut().insert(self.0.clone());
        response
    }
}

pub(crate) fn status(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The answer to a refused request.
#[must_use]
pub fn respond(refusal: &Refusal, request_id: &str) -> HttpResponse {
    let mut response = HttpResponse::build(status(refusal.code)).json(ErrorJson::new(refusal, request_id));
    let headers = response.headers_mut();
    if let Some(seconds) = refusal.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(allowance) = &refusal.allowance {
        rate_limit_headers(headers, &[**allowance]);
    }
    if refusal.code.http_status() == 401 {
        headers.insert(WWW_AUTHENTICATE, challenge(refusal.code));
    }
    response
}

/// `RateLimit-Policy` and `RateLimit` (IETF draft-ietf-httpapi-ratelimit-headers): the limits that were asked, what is left
/// of them, and when they are whole again.
pub fn rate_limit_headers(headers: &mut HeaderMap, allowances: &[Allowance]) {
    let list = |write: fn(&Allowance) -> String| allowances.iter().map(write).collect::<Vec<_>>().join(", ");
    let policy = list(|a| format!("\"{}\";q={};w={}", a.quota.name, a.quota.limit, a.quota.period.as_secs()));
    let left = list(|a| format!("\"{}\";r={};t={}", a.quota.name, a.remaining, a.reset_after_s()));
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", left)] {
        if !value.is_empty()
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// RFC 6750, section 3: what kind of token is wanted, and what was wrong with the one that was shown.
fn challenge(code: ErrorCode) -> HeaderValue {
    HeaderValue::from_static(match code {
        ErrorCode::TokenExpired => r#"Bearer realm="scoreboard", error="invalid_token", error_description="expired""#,
        ErrorCode::TokenRevoked => r#"Bearer realm="scoreboard", error="invalid_token", error_description="revoked""#,
        _ => r#"Bearer realm="scoreboard""#,
    })
}

/// The refusal that a status made by the HTTP library stands for.
pub(crate) fn from_status(status: StatusCode) -> Refusal {
    let (code, message) = match status.as_u16() {
        404 => (ErrorCode::NotFound, "there is nothing at this path"),
        405 => (ErrorCode::MethodNotAllowed, "this path does not take this method"),
        408 => (ErrorCode::RequestTimeout, "the request took too long to arrive"),
        413 => (ErrorCode::PayloadTooLarge, "the body is too large"),
        414 => (ErrorCode::UriTooLong, "the path is too long"),
        415 => (ErrorCode::UnsupportedMediaType, "the body must be application/json"),
        431 => (ErrorCode::HeadersTooLarge, "the headers are too large"),
        503 => return Refusal::unavailable(),
        400..=499 => (ErrorCode::InvalidRequest, "the request cannot be understood"),
        _ => return Refusal::internal(),
    };
    Refusal::new(code, message)
}
