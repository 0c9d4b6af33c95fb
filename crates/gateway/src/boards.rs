//! Boards and their rules, from the node's own memory.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use board_view::Lookup;
use common::board::Board;
use common::error_code::{ErrorCode, Refusal};
use common::ids::BoardId;
use http_edge::ApiError;
use wire::json::BoardJson;

use crate::app::Gateway;

/// `GET /api/v1/boards`
#[utoipa::path(get, path = "/api/v1/boards", tag = "scoreboard", params(), responses(
    (status = 200, description = "Every board", body = [BoardJson]),
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
        if !self.ports.views.are_rules_known()
            || matches!(self.ports.views.lookup(id), Lookup::Known(_) | Lookup::Loading)
        {
            // It may well exist: this node has not read it yet.
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
