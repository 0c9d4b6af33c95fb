//! Boards and their rules, from the node's own memory.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use common::board::Board;
use common::error_code::{ErrorCode, Refusal};
use common::ids::BoardId;
use http_edge::ApiError;
use wire::json::{BoardJson, ErrorJson};

use crate::app::Gateway;

/// `GET /api/v1/boards`
#[utoipa::path(get, path = "/api/v1/boards", tag = "scoreboard", params(), responses(
    (status = 200, description = "Every board", body = [BoardJson]),
    (status = "4XX", description = "Refused", body = ErrorJson),
    (status = "5XX", description = "Not available now", body = ErrorJson),
))]
pub(crate) async fn list(gateway: web::Data<Gateway>) -> Result<HttpResponse, ApiError> {
    let boards = gateway.ports.views.boards();
    if boards.is_empty() {
        // No deployment is without a board: this node has not read them yet.
        return Err(Refusal::unavailable().into());
    }
    let boards: Vec<BoardJson> = boards.iter().map(|board| gateway.board_json(board)).collect();
    Ok(HttpResponse::Ok().json(boards))
}

/// `GET /api/v1/boards/{board}`
#[utoipa::path(get, path = "/api/v1/boards/{board}", tag = "scoreboard", params(("board" = String, Path)), responses(
    (status = 200, description = "The board", body = BoardJson),
    (status = "4XX", description = "Refused", body = ErrorJson),
    (status = "5XX", description = "Not available now", body = ErrorJson),
))]
pub(crate) async fn one(gateway: web::Data<Gateway>, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let id = BoardId::parse(&path.into_inner())
        .map_err(|_| Refusal::new(ErrorCode::UnknownBoard, "there is no such board"))?;
    let board = gateway.known_board(&id)?;
    Ok(HttpResponse::Ok().json(gateway.board_json(&board)))
}

impl Gateway {
    /// The board, or the refusal that says why there is none.
    pub(crate) fn known_board(&self, id: &BoardId) -> Result<Arc<Board>, Refusal> {
        self.ports.views.board(id).ok_or_else(|| self.unknown_board(id))
    }

    pub(crate) fn unknown_board(&self, id: &BoardId) -> Refusal {
        if self.ports.views.boards().is_empty() {
            return Refusal::unavailable();
        }
        Refusal::new(ErrorCode::UnknownBoard, format!("there is no board {id}"))
    }

    /// Rules change rarely and are read every few seconds; the version shown is the view's own, newer one.
    fn board_json(&self, board: &Board) -> BoardJson {
        let mut json = BoardJson::from(board);
        if let Some(view) = self.ports.views.view(board.id()) {
            let state = view.state();
            json.epoch = state.epoch.to_string();
            json.version = state.version.0;
        }
        json
    }
}

/// The `board` of a query, `global` when left out.
pub(crate) fn board_query(request: &HttpRequest) -> Result<BoardId, Refusal> {
    match query_value(request, "board")? {
        Some(board) => Ok(BoardId::parse(&board)?),
        None => Ok(BoardId::global()),
    }
}

/// A number of a query within bounds.
pub(crate) fn number_query(
    request: &HttpRequest,
    name: &'static str,
    default: usize,
    bounds: std::ops::RangeInclusive<usize>,
) -> Result<usize, Refusal> {
    let Some(text) = query_value(request, name)? else { return Ok(default) };
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|number| bounds.contains(number)).ok_or_else(|| {
        Refusal::new(
            ErrorCode::InvalidRequest,
            format!("{name} must be a number from {} to {}", bounds.start(), bounds.end()),
        )
        .with_field(name)
    })
}

fn query_value(request: &HttpRequest, name: &'static str) -> Result<Option<String>, Refusal> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
        .map_err(|_| Refusal::new(ErrorCode::InvalidRequest, "the query cannot be read").with_field(name))?;
    Ok(pairs.into_inner().into_iter().find(|(key, _)| key == name).map(|(_, value)| value))
}
