//! Request bodies: JSON objects, bounded in size and in time.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{BytesMut, Payload};
use common::error_code::{ErrorCode, Refusal};
use futures_util::StreamExt as _;
use serde_json::{Map, Value};

/// The largest body.
pub const MAX_BODY: usize = 16 * 1024;

/// The longest that a body may take to arrive. actix's own timeout ends with the head.
const BODY_DEADLINE: Duration = Duration::from_secs(15);

/// A JSON object whose fields are read one by one, so that each refusal names its field.
#[derive(Debug)]
pub struct JsonObject(Map<String, Value>);

/// Reads a request's body.
///
/// # Errors
/// `payload_too_large`, `unsupported_media_type`, `request_timeout`, `invalid_request`, in this order.
pub async fn json_object(request: &HttpRequest, payload: Payload) -> Result<JsonObject, Refusal> {
    let bytes = read(request, payload).await?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(map)) => Ok(JsonObject(map)),
        Ok(_) => Err(Refusal::new(ErrorCode::InvalidRequest, "the body must be a JSON object")),
        Err(error) => Err(Refusal::new(ErrorCode::InvalidRequest, format!("the body is not JSON: {error}"))),
    }
}

async fn read(request: &HttpRequest, mut payload: Payload) -> Result<BytesMut, Refusal> {
    let too_large = || Refusal::new(ErrorCode::PayloadTooLarge, format!("the body must be at most {MAX_BODY} bytes"));
    let declared = request.headers().get("content-length").and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > MAX_BODY) {
        return Err(too_large());
    }
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::new(ErrorCode::UnsupportedMediaType, "the body must be application/json"));
    }
    let collect = async {
        let mut bytes = BytesMut::with_capacity(declared.unwrap_or(1024));
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Refusal::new(ErrorCode::InvalidRequest, "the body could not be read"))?;
            if bytes.len() + chunk.len() > MAX_BODY {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    tokio::time::timeout(BODY_DEADLINE, collect)
        .await
        .unwrap_or_else(|_| Err(Refusal::new(ErrorCode::RequestTimeout, "the body took too long to arrive")))
}

impl JsonObject {
    fn value(&self, field: &'static str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// A text, `None` when absent or null.
    ///
    /// # Errors
    /// `invalid_request` when it is anything else.
    pub fn text(&self, field: &'static str) -> Result<Option<&str>, Refusal> {
        self.value(field).map(|value| value.as_str().ok_or_else(|| wrong(field, "must be a text"))).transpose()
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// `invalid_request`.
    pub fn required_text(&self, field: &'static str) -> Result<&str, Refusal> {
        self.text(field)?.ok_or_else(|| missing(field))
    }

    /// An integer, `None` when absent or null.
    ///
    /// # Errors
    /// `invalid_request` when it is anything else.
    pub fn integer(&self, field: &'static str) -> Result<Option<i64>, Refusal> {
        self.value(field).map(|value| value.as_i64().ok_or_else(|| wrong(field, "must be an integer"))).transpose()
    }
}

/// The refusal of a request without a field that it needs.
#[must_use]
pub fn missing(field: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, format!("{field} is missing")).with_field(field)
}

fn wrong(field: &'static str, expected: &str) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, format!("{field} {expected}")).with_field(field)
}
