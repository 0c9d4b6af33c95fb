//! The scope of one request: its id, its span (with the caller's W3C context), its duration, the headers that every
//! answer carries, and the contract's shape for whatever went wrong inside.

use std::sync::LazyLock;
use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest};
use common::error_code::Refusal;
use common::score_update::TraceContext;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::cors::Cors;
use crate::refusal::{from_status, respond};
use crate::security_event;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: the caller's `x-request-id` when it is well-formed (1 to 64 of `A-Za-z0-9_.-`), else ours.
#[derive(Clone, Debug)]
pub struct RequestId(String);

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(&REQUEST_ID).and_then(|v| v.to_str().ok());
        let valid = |id: &&str| {
            (1..=64).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        Self(given.filter(valid).map_or_else(|| Uuid::new_v4().simple().to_string(), str::to_owned))
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of the request at hand.
#[must_use]
pub fn request_id(request: &HttpRequest) -> String {
    request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default()
}

struct Instruments {
    duration: Histogram<f64>,
    refusals: Counter<u64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = opentelemetry::global::meter("scoreboard");
    Instruments {
        duration: meter
            .f64_histogram("scoreboard_http_request_duration_seconds")
            .with_description("From the request's head to the answer's, by method, route and status")
            .build(),
        refusals: meter
            .u64_counter("scoreboard_errors")
            .with_description("Refused or failed requests, by code")
            .build(),
    }
});

/// The middleware, for `actix_web::middleware::from_fn`.
///
/// # Errors
/// None of its own: what handlers refuse leaves as an answer in the contract's shape.
pub async fn request_scope(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let started = Instant::now();
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let method = known_method(request.method());
    let span = tracing::info_span!(
        "HTTP request",
        otel.name = tracing::field::Empty,
        otel.kind = "server",
        http.request.method = method,
        http.route = tracing::field::Empty,
        http.response.status_code = tracing::field::Empty,
        request_id = id.as_str(),
    );
    runtime::telemetry::set_parent(&span, &caller_context(request.headers()));

    let cors = Cors::of(&request);
    // No handle on the request may be kept here: the router writes its match into it and must have it alone. Errors of
    // handlers and extractors come back as answers; there is no other middleware whose own error could pass by.
    let response = match cors.preflight_answer() {
        Some(answer) => request.into_response(answer),
        None => next.call(request).instrument(span.clone()).await?.map_into_boxed_body(),
    };
    // The pattern and not the path, so that ids in paths never become labels.
    let route = response.request().match_pattern().unwrap_or_else(|| "unmatched".to_owned());
    let mut response = in_contract_shape(response, &id, &span);
    cors.apply(response.headers_mut());

    let status = response.status().as_u16();
    tracing::record_all!(
        span,
        otel.name = format!("{method} {route}").as_str(),
        http.route = route.as_str(),
        http.response.status_code = status,
    );
    INSTRUMENTS.duration.record(
        started.elapsed().as_secs_f64(),
        &[
            KeyValue::new("http_request_method", method),
            KeyValue::new("http_route", route),
            KeyValue::new("http_response_status_code", i64::from(status)),
        ],
    );
    Ok(response)
}

/// The method as a label: what a client makes up never becomes one (OpenTelemetry semantic conventions, HTTP).
const fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "_OTHER",
    }
}

fn caller_context(headers: &HeaderMap) -> TraceContext {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    TraceContext { traceparent: text("traceparent"), tracestate: text("tracestate") }
}

fn in_contract_shape(mut response: ServiceResponse, id: &RequestId, span: &tracing::Span) -> ServiceResponse {
    let refused = response.response().extensions().get::<Refusal>().cloned();
    let status = response.status();
    let is_json = response.headers().get("content-type").is_some_and(|v| v.as_bytes().starts_with(b"application/json"));
    if let Some(refusal) = refused.or_else(|| (status.as_u16() >= 400 && !is_json).then(|| from_status(status))) {
        count_refusal(&refusal);
        span.in_scope(|| tracing::debug!(error.code = refusal.code.as_str(), "refused: {}", refusal.message));
        span.in_scope(|| security_event::tell_refusal(response.request(), &refusal));
        let allow = response.headers().get("allow").cloned();
        let request = response.request().clone();
        let mut answer = respond(&refusal, id.as_str());
        if let Some(allow) = allow {
            answer.headers_mut().insert(actix_web::http::header::ALLOW, allow);
        }
        response = ServiceResponse::new(request, answer);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID.clone(), value);
    }
    secure(headers);
    response
}

/// Counts a refusal by its code.
pub(crate) fn count_refusal(refusal: &Refusal) {
    INSTRUMENTS.refusals.add(1, &[KeyValue::new("code", refusal.code.as_str())]);
}

/// Headers that browsers heed (OWASP secure headers); the page sets its own, wider policy.
pub(crate) const SECURITY_HEADERS: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
];

fn secure(headers: &mut HeaderMap) {
    for (name, value) in SECURITY_HEADERS {
        let name = HeaderName::from_static(name);
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}
