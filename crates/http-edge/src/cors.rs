//! Pages of other origins that the operator lists may read answers (Fetch standard, "CORS protocol"). Who we are to the
//! service is said by the bearer token alone, never by a cookie: credentials are not allowed, and nothing depends on
//! them.

use actix_web::HttpResponse;
use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue,
    ORIGIN, VARY,
};
use actix_web::web;

use crate::origin::AllowedOrigins;

const METHODS: &str = "GET, POST";
/// What a page may send beside what every page may.
const REQUEST_HEADERS: &str = "authorization, content-type, idempotency-key, prefer, x-request-id, if-none-match, \
                               last-event-id, traceparent, tracestate";
/// What a page may read beside what every page may.
const EXPOSED_HEADERS: &str = "x-request-id, retry-after, ratelimit, ratelimit-policy, location, etag, \
                               idempotent-replayed, www-authenticate";
/// How long a browser remembers what a preflight said, in seconds.
const MAX_AGE: &str = "600";

/// What a request's origin means for its answer; read before the handler, applied after it.
#[derive(Debug)]
pub(crate) enum Cors {
    /// No other origin is listed: answers are the same for everybody.
    Off,
    /// Not a page, one of our own host, or one that is not listed: a browser keeps the answer from it.
    Unlisted,
    /// A listed page.
    Listed {
        origin: HeaderValue,
        /// The browser asks before it sends the request itself.
        preflight: bool,
    },
}

impl Cors {
    pub(crate) fn of(request: &ServiceRequest) -> Self {
        let Some(allowed) = request.app_data::<web::Data<AllowedOrigins>>().filter(|allowed| !allowed.is_empty())
        else {
            return Self::Off;
        };
        match request.headers().get(ORIGIN) {
            Some(origin) if origin.to_str().is_ok_and(|origin| allowed.lists(origin)) => Self::Listed {
                origin: origin.clone(),
                preflight: request.method() == Method::OPTIONS
                    && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD),
            },
            _ => Self::Unlisted,
        }
    }

    /// The answer to a preflight, which no handler sees.
    pub(crate) fn preflight_answer(&self) -> Option<HttpResponse> {
        matches!(self, Self::Listed { preflight: true, .. }).then(|| {
            HttpResponse::NoContent()
                .insert_header((ACCESS_CONTROL_ALLOW_METHODS, METHODS))
                .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS))
                .insert_header((ACCESS_CONTROL_MAX_AGE, MAX_AGE))
                .finish()
        })
    }

    /// Lets a listed page read an answer, and keeps caches from giving it to another.
    pub(crate) fn apply(self, headers: &mut HeaderMap) {
        if matches!(self, Self::Off) {
            return;
        }
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Self::Listed { origin, .. } = self {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::dev::ServiceResponse;
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, call_service, init_service};
    use actix_web::{App, HttpResponse};

    use super::*;
    use crate::ApiError;
    use crate::request_scope::request_scope;
    use common::error_code::Refusal;

    const SHOP: &str = "https://shop.example";

    async fn answer(listed: &[&str], request: TestRequest) -> ServiceResponse<impl actix_web::body::MessageBody> {
        let listed = AllowedOrigins::new(listed.iter().map(|origin| (*origin).to_owned()).collect());
        let app = App::new()
            .app_data(web::Data::new(listed))
            .wrap(from_fn(request_scope))
            .route("/good", web::get().to(|| async { HttpResponse::Ok().body("good") }))
            .route(
                "/away",
                web::post().to(|| async { Err::<HttpResponse, _>(ApiError::from(Refusal::unavailable())) }),
            );
        call_service(&init_service(app).await, request.to_request()).await
    }

    fn header<B>(answer: &ServiceResponse<B>, name: &str) -> Option<String> {
        answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    #[actix_web::test]
    async fn a_listed_page_reads_answers_and_refusals() {
        for (request, status) in [
            (TestRequest::get().uri("/good"), 200),
            (TestRequest::post().uri("/away"), 503),
            (TestRequest::get().uri("/nowhere"), 404),
        ] {
            let answer = answer(&[SHOP], request.insert_header((ORIGIN, SHOP))).await;
            assert_eq!(answer.status(), status);
            assert_eq!(header(&answer, "access-control-allow-origin").as_deref(), Some(SHOP));
            let exposed = header(&answer, "access-control-expose-headers").unwrap();
            for name in ["x-request-id", "retry-after", "ratelimit", "location", "etag", "idempotent-replayed"] {
                assert!(exposed.split(", ").any(|exposed| exposed == name), "{name}: {exposed}");
            }
            assert_eq!(header(&answer, "vary").as_deref(), Some("Origin"));
            assert_eq!(header(&answer, "access-control-allow-credentials"), None);
            assert!(header(&answer, "x-request-id").is_some());
        }
    }

    #[actix_web::test]
    async fn a_preflight_of_a_listed_page_is_answered_before_any_handler() {
        let asks = |origin: &str| {
            TestRequest::with_uri("/away")
                .method(Method::OPTIONS)
                .insert_header((ORIGIN, origin))
                .insert_header((ACCESS_CONTROL_REQUEST_METHOD, "POST"))
        };
        let allowed = answer(&[SHOP], asks(SHOP)).await;
        assert_eq!(allowed.status(), 204);
        assert_eq!(header(&allowed, "access-control-allow-origin").as_deref(), Some(SHOP));
        assert_eq!(header(&allowed, "access-control-allow-methods").as_deref(), Some("GET, POST"));
        let headers = header(&allowed, "access-control-allow-headers").unwrap();
        for name in ["authorization", "content-type", "idempotency-key", "last-event-id"] {
            assert!(headers.split(", ").any(|allowed| allowed == name), "{name}: {headers}");
        }
        assert!(header(&allowed, "x-request-id").is_some());
        for foreign in ["https://shop.example.evil", "null", "http://shop.example"] {
            let refused = answer(&[SHOP], asks(foreign)).await;
            assert!(refused.status().is_client_error(), "{foreign}");
            assert_eq!(header(&refused, "access-control-allow-methods"), None);
        }
    }

    #[actix_web::test]
    async fn nobody_else_is_let_in() {
        for origin in ["null", "https://shop.example.evil", "https://SHOP.example", "*", ""] {
            let answer = answer(&[SHOP], TestRequest::get().uri("/good").insert_header((ORIGIN, origin))).await;
            assert_eq!(header(&answer, "access-control-allow-origin"), None, "{origin}");
            assert_eq!(header(&answer, "vary").as_deref(), Some("Origin"), "a cache must not mix them up");
        }
        let plain = answer(&[], TestRequest::get().uri("/good").insert_header((ORIGIN, SHOP))).await;
        assert_eq!((header(&plain, "access-control-allow-origin"), header(&plain, "vary")), (None, None));
    }
}
