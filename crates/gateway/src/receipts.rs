//! Receipts: what became of a user's own action.

use actix_web::{HttpRequest, HttpResponse, web};
use common::error_code::{ErrorCode, Refusal};
use common::ids::{ActionId, BoardId, UserId};
use common::receipt::{Receipt, ReceiptStatus};
use common::score_update::ScoreUpdate;
use http_edge::ApiError;
use http_edge::{query, security_event};
use wire::json::ReceiptJson;

use crate::app::Gateway;

/// `GET /api/v1/score/updates/{actionId}?board=`: own actions only.
#[utoipa::path(get, path = "/api/v1/score/updates/{actionId}", tag = "scores", security(("bearer" = [])), params(("actionId" = String, Path), ("board" = Option<String>, Query, description = "`global` when left out")), responses(
    (status = 200, description = "The receipt", body = ReceiptJson),
))]
pub(crate) async fn receipt(
    gateway: web::Data<Gateway>,
    request: HttpRequest,
    path: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let claims = gateway.counted_claims(&request).await?;
    let action = ActionId::parse(&path.into_inner())?;
    let board = query::board(&request)?;
    gateway.known_board(&board)?;
    security_event::name_action(&request, &board, &action);
    let found = gateway.receipt(claims.user, &board, &action).await;
    if found.as_ref().is_err_and(|refusal| refusal.code == ErrorCode::NotFound) {
        // Whether somebody else has such an action is not asked: the answer would be the same.
        security_event::tell(&request, "receipt_of_no_own_action");
    }
    let (receipt, rank) = found?;
    Ok(HttpResponse::Ok().json(ReceiptJson::new(&receipt, rank)))
}

impl Gateway {
    /// What became of a user's action, and the user's position now where it was applied.
    pub(crate) async fn receipt(
        &self,
        user: UserId,
        board: &BoardId,
        action: &ActionId,
    ) -> Result<(Receipt, Option<u64>), Refusal> {
        let decided = self.ports.truth.receipt(user, board, action).await.map_err(|error| {
            tracing::error!(%board, error = %runtime::exit::causes(&error), "a receipt cannot be read");
            Refusal::unavailable()
        })?;
        // A refusal uses nothing up, so the action may be on its way again.
        let applied = decided.as_ref().is_some_and(|receipt| receipt.status == ReceiptStatus::Applied);
        let pending = if applied { None } else { self.ports.pending.find(user, board, action).await };
        let receipt = match (decided, pending) {
            (Some(receipt), None) => receipt,
            (Some(receipt), Some(update)) if receipt.decided_at >= Some(update.accepted_at) => receipt,
            (_, Some(update)) => pending_receipt(update),
            (None, None) => {
                return Err(Refusal::new(ErrorCode::NotFound, format!("no action {action} of yours on board {board}")));
            }
        };
        let rank = if applied { self.standings.rank(board, user).await } else { None };
        Ok((receipt, rank))
    }
}

fn pending_receipt(update: ScoreUpdate) -> Receipt {
    Receipt {
        status: ReceiptStatus::Pending,
        action_id: update.action_id,
        board: update.board,
        action_type: update.action_type,
        points: update.points,
        new_score: None,
        version: None,
        decided_at: None,
    }
}
