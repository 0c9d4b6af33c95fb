//! Values of a query, checked.

use actix_web::{HttpRequest, web};
use common::error_code::{ErrorCode, Refusal};
use common::ids::BoardId;

/// The first value of a name. `None`: not there.
///
/// # Errors
/// `invalid_request` when the query cannot be read.
pub fn value(request: &HttpRequest, name: &'static str) -> Result<Option<String>, Refusal> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
        .map_err(|_| Refusal::new(ErrorCode::InvalidRequest, "the query cannot be read").with_field(name))?;
    Ok(pairs.into_inner().into_iter().find(|(key, _)| key == name).map(|(_, value)| value))
}

/// The `board`, `global` when left out.
///
/// # Errors
/// `invalid_request`.
pub fn board(request: &HttpRequest) -> Result<BoardId, Refusal> {
    match value(request, "board")? {
        Some(board) => Ok(BoardId::parse(&board)?),
        None => Ok(BoardId::global()),
    }
}

/// A number within bounds.
///
/// # Errors
/// `invalid_request`, naming the parameter and its bounds.
pub fn number(
    request: &HttpRequest,
    name: &'static str,
    default: usize,
    bounds: std::ops::RangeInclusive<usize>,
) -> Result<usize, Refusal> {
    let Some(text) = value(request, name)? else { return Ok(default) };
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|number| bounds.contains(number)).ok_or_else(|| {
        let message = format!("{name} must be a number from {} to {}", bounds.start(), bounds.end());
        Refusal::new(ErrorCode::InvalidRequest, message).with_field(name)
    })
}
