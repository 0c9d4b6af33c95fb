//! The live page: files of `web/page/`, embedded in the binary.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, web};
use common::error_code::{ErrorCode, Refusal};
use http_edge::ApiError;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::app::Gateway;

#[derive(RustEmbed)]
#[folder = "../../web/page/"]
struct PageFiles;

/// `GET /`
pub(crate) async fn index(gateway: web::Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let mut response = answer(&request, "index.html")?;
    let policy = content_security_policy(&request, gateway.settings.stream_public_url.as_deref());
    if let Ok(policy) = policy.parse() {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    Ok(response)
}

/// `GET /page.js` and the like.
pub(crate) async fn file(request: HttpRequest, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    Ok(answer(&request, &path)?)
}

/// `GET /page-config.json`: what the page must know of this deployment.
pub(crate) async fn config(gateway: web::Data<Gateway>) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(serde_json::json!({
        "streamUrl": gateway.settings.stream_public_url,
        "board": common::ids::BoardId::global().as_str(),
    }))
}

fn answer(request: &HttpRequest, name: &str) -> Result<HttpResponse, Refusal> {
    let Some(file) = PageFiles::get(name) else {
        return Err(Refusal::new(ErrorCode::NotFound, "there is nothing at this path"));
    };
    let tag = entity_tag(&file);
    if request.headers().get(IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes()) {
        return Ok(HttpResponse::NotModified().insert_header((ETAG, tag)).finish());
    }
    Ok(HttpResponse::Ok()
        .content_type(content_type(name))
        .insert_header((ETAG, tag))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(file.data.into_owned()))
}

fn entity_tag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let hex: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// Only our own files, and connections to us and to the stream. An `http://` source does not cover WebSockets, and
/// some browsers do not count the page's own WebSocket origin as `'self'`, so both are named; where no WebSocket gets
/// through, the stream comes by HTTP.
fn content_security_policy(request: &HttpRequest, stream: Option<&str>) -> String {
    let own = request.connection_info().host().to_owned();
    let own = if own.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']')) {
        format!(" ws://{own} wss://{own}")
    } else {
        String::new()
    };
    // The origin alone: a source with a path that does not end in a slash covers that one address.
    let stream = stream
        .map(|url| url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/"))
        .map(|origin| format!(" {origin} {}", origin.replacen("http", "ws", 1)))
        .unwrap_or_default();
    format!(
        "default-src 'self'; connect-src 'self'{own}{stream}; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'; object-src 'none'"
    )
}
