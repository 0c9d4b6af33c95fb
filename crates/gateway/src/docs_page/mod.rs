//! `/docs`: Swagger UI over the OpenAPI document. All of it is in the binary; nothing is fetched from elsewhere.

use std::borrow::Cow;
use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION};
use actix_web::{HttpResponse, web};
use common::error_code::{ErrorCode, Refusal};
use http_edge::ApiError;
use utoipa_swagger_ui::Config;

/// Swagger UI draws its icons from `data:` images, and writes style attributes into its markup; scripts are ours alone.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/// What the page loads of Swagger UI.
const SWAGGER_UI: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];

/// `GET /docs`
#[utoipa::path(get, path = "/docs", tag = "description", params(), responses(
    (status = 200, description = "This document to read and to try", body = String, content_type = "text/html"),
))]
pub(crate) async fn index() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(include_str!("docs.html"))
}

/// `GET /docs/`: the page's addresses are relative to `/docs`.
pub(crate) async fn without_slash() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "../docs")).finish()
}

/// `GET /docs/{file}`
pub(crate) async fn file(name: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let (bytes, content_type) = match name.as_str() {
        "docs.css" => (Cow::Borrowed(include_bytes!("docs.css").as_slice()), "text/css".to_owned()),
        "docs.js" => (Cow::Borrowed(include_bytes!("docs.js").as_slice()), "text/javascript".to_owned()),
        name => swagger_ui(name)?,
    };
    Ok(HttpResponse::Ok()
        .content_type(content_type)
        .insert_header((CACHE_CONTROL, "public, max-age=3600"))
        .body(bytes.into_owned()))
}

fn swagger_ui(name: &str) -> Result<(Cow<'static, [u8]>, String), Refusal> {
    let nothing = || Refusal::new(ErrorCode::NotFound, "there is nothing at this path");
    if !SWAGGER_UI.contains(&name) {
        return Err(nothing());
    }
    // The configuration is for the initializer of Swagger UI, which is not used.
    match utoipa_swagger_ui::serve(name, Arc::new(Config::from("openapi.json"))) {
        Ok(Some(file)) => Ok((Cow::Owned(file.bytes.into_owned()), file.content_type)),
        Ok(None) => Err(nothing()),
        Err(error) => {
            tracing::error!(%error, name, "a file of Swagger UI cannot be served");
            Err(Refusal::internal())
        }
    }
}
