//! What every operation of the document can answer beside its success: each status with its codes, and the headers of
//! every answer. In one place, so that document and error table cannot drift.

use std::collections::BTreeMap;

use common::error_code::ErrorCode;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Content, Header, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, ToSchema as _};
use wire::json::ErrorJson;

use crate::paths;

/// Any request can be refused with these.
const ALWAYS: [ErrorCode; 7] = [
    ErrorCode::InvalidRequest,
    ErrorCode::NotFound,
    ErrorCode::RequestTimeout,
    ErrorCode::UriTooLong,
    ErrorCode::HeadersTooLarge,
    ErrorCode::Internal,
    ErrorCode::Unavailable,
];
/// Those with a body.
const OF_BODIES: [ErrorCode; 2] = [ErrorCode::PayloadTooLarge, ErrorCode::UnsupportedMediaType];
/// Those that need a token.
const OF_TOKENS: [ErrorCode; 4] =
    [ErrorCode::Unauthenticated, ErrorCode::TokenExpired, ErrorCode::TokenRevoked, ErrorCode::RateLimited];

/// What an operation adds, by the end of its path.
const OF_PATHS: [(&str, &[ErrorCode]); 10] = [
    (
        "/update",
        &[
            ErrorCode::InvalidSignature,
            ErrorCode::StaleTimestamp,
            ErrorCode::PointsOutOfRange,
            ErrorCode::UnknownActionType,
            ErrorCode::IssuerProofRequired,
            ErrorCode::Forbidden,
            ErrorCode::UnknownBoard,
            ErrorCode::DuplicateAction,
            ErrorCode::RequestInProgress,
            ErrorCode::IdempotencyKeyReused,
            ErrorCode::DailyCapReached,
        ],
    ),
    ("/updates/{actionId}", &[ErrorCode::UnknownBoard]),
    ("/top", &[ErrorCode::UnknownBoard, ErrorCode::RateLimited]),
    ("/users/{userId}", &[ErrorCode::UnknownBoard, ErrorCode::RateLimited]),
    ("/boards/{board}", &[ErrorCode::UnknownBoard]),
    ("/register", &[ErrorCode::Forbidden, ErrorCode::UsernameTaken, ErrorCode::RateLimited]),
    ("/login", &[ErrorCode::InvalidCredentials, ErrorCode::RateLimited]),
    ("/refresh", &[ErrorCode::Unauthenticated, ErrorCode::RefreshTokenReused, ErrorCode::RateLimited]),
    ("/password", &[ErrorCode::InvalidCredentials]),
    ("/logout", &[]),
];

/// Names every answer of every operation, and adds the paths of the source documents.
pub(super) struct Answers;

impl Modify for Answers {
    fn modify(&self, document: &mut OpenApi) {
        for (path, item) in &mut document.paths.paths {
            // The bare path of the second source document is an update like any other.
            let path = if path == paths::UPDATE_TASK { paths::UPDATE[0] } else { path.as_str() };
            for operation in operations(item) {
                complete(path, operation);
            }
        }
        for names in paths::ALIASES {
            let Some(item) = document.paths.paths.get(names[0]).cloned() else { continue };
            for (number, alias) in names.iter().enumerate().skip(1) {
                let mut item = item.clone();
                for operation in operations(&mut item) {
                    // An id names one operation.
                    operation.operation_id = operation.operation_id.take().map(|id| format!("{id}_{number}"));
                    operation.summary = Some(format!("The same as {}", names[0]));
                }
                document.paths.paths.insert((*alias).to_owned(), item);
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.delete, &mut item.put, &mut item.patch].into_iter().flatten()
}

fn complete(path: &str, operation: &mut Operation) {
    let mut codes: Vec<ErrorCode> = ALWAYS.to_vec();
    if operation.request_body.is_some() {
        codes.extend(OF_BODIES);
    }
    if operation.security.is_some() {
        codes.extend(OF_TOKENS);
    }
    codes.extend(OF_PATHS.iter().filter(|(end, _)| path.ends_with(end)).flat_map(|(_, codes)| codes.iter()));
    codes.sort_by_key(|code| ErrorCode::ALL.iter().position(|known| known == code));
    codes.dedup();

    let answers = &mut operation.responses.responses;
    answers.retain(|status, _| !status.ends_with("XX"));
    for answer in answers.values_mut() {
        if let RefOr::T(answer) = answer {
            answer.headers.insert("x-request-id".to_owned(), request_id().into());
        }
    }
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.http_status()).or_default().push(code.as_str());
    }
    for (status, codes) in by_status {
        answers.insert(status.to_string(), RefOr::T(refusal(status, &codes)));
    }
}

fn refusal(status: u16, codes: &[&str]) -> Response {
    let codes = codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", ");
    let schema = Content::new(Some(Ref::from_schema_name(ErrorJson::name())));
    let mut answer = ResponseBuilder::new()
        .description(codes)
        .content("application/json", schema)
        .header("x-request-id", request_id());
    if status == 401 {
        answer = answer.header("www-authenticate", text("RFC 6750: which token is wanted, what was wrong with it"));
    }
    if matches!(status, 429 | 503) {
        answer = answer.header("retry-after", text("Seconds until a repeat makes sense"));
    }
    if status == 429 {
        answer = answer
            .header("ratelimit", text("What is left of the limits that were asked"))
            .header("ratelimit-policy", text("The limits that were asked"));
    }
    answer.build()
}

fn request_id() -> Header {
    text("The caller's, if it sent a well-formed one, else ours; logs and traces carry it")
}

fn text(description: &str) -> Header {
    HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
        .description(Some(description))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_that_is_served_is_documented_with_its_answers() {
        let document = serde_json::to_value(crate::openapi::document()).unwrap();
        let documented = document["paths"].as_object().unwrap();
        for names in paths::ALIASES {
            for name in names {
                assert!(documented.contains_key(*name), "{name}");
            }
        }
        for (path, item) in documented {
            for (method, operation) in item.as_object().unwrap() {
                let answers = operation["responses"].as_object().unwrap();
                assert!(!answers.keys().any(|status| status.contains('X')), "{method} {path}: a status by name");
                for status in ["400", "408", "414", "431", "500", "503"] {
                    let answer = &answers[status];
                    assert!(answer["headers"]["x-request-id"].is_object(), "{method} {path} {status}");
                    let schema = &answer["content"]["application/json"]["schema"]["$ref"];
                    let schema = schema.as_str().unwrap().trim_start_matches('#');
                    assert!(document.pointer(schema).is_some(), "{method} {path} {status}: {schema}");
                }
            }
        }
        let documented = document["paths"].to_string();
        for code in ErrorCode::ALL {
            // Said at a handshake, or of a path or method that is none.
            if !matches!(code, ErrorCode::OriginNotAllowed | ErrorCode::MethodNotAllowed) {
                assert!(documented.contains(&format!("`{code}`")), "{code} is nowhere in the document");
            }
        }
    }
}
