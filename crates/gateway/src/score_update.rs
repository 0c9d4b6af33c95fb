//! A score update: the checks in the contract's order (DESIGN.md, section 3), then the queue, then the answer.

use std::time::{Duration, Instant};

use actix_web::http::header::{HeaderMap, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use common::error_code::{Details, ErrorCode, Refusal};
use common::ids::{ActionId, ActionType, BoardId, SubmissionId};
use common::ports::{SubmitError, Submitted};
use common::receipt::{Answer, Outcome, Receipt, ReceiptStatus};
use common::score_update::ScoreUpdate;
use http_edge::ApiError;
use http_edge::body::json_object;
use http_edge::request_scope::request_id;
use uuid::Uuid;
use wire::json::{ErrorJson, ReceiptJson, UpdateAnswerJson};

use crate::app::Gateway;
use crate::boards::board_query;
use crate::openapi::ScoreUpdateBody;
use crate::tokens::bearer;
use crate::update_shape::UpdateShape;

/// `POST /api/v1/score/update`
#[utoipa::path(post, path = "/api/v1/score/update", tag = "scores", security(("bearer" = [])), request_body = ScoreUpdateBody, responses(
    (status = 200, description = "Committed", body = UpdateAnswerJson),
    (status = 202, description = "Durable, not yet decided", body = UpdateAnswerJson),
    (status = "4XX", description = "Refused; nothing was used up", body = ErrorJson),
    (status = "5XX", description = "Not promised; safe to repeat", body = ErrorJson),
))]
pub(crate) async fn post(
    gateway: web::Data<Gateway>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    Ok(gateway.update(&request, payload, ActionType::default_type()).await?)
}

/// `POST /update-score`: fixed points, token proof.
#[utoipa::path(post, path = "/update-score", tag = "scores", security(("bearer" = [])), request_body = ScoreUpdateBody, responses(
    (status = 200, description = "Committed", body = UpdateAnswerJson),
    (status = 202, description = "Durable, not yet decided", body = UpdateAnswerJson),
    (status = "4XX", description = "Refused; nothing was used up", body = ErrorJson),
    (status = "5XX", description = "Not promised; safe to repeat", body = ErrorJson),
))]
pub(crate) async fn post_task(
    gateway: web::Data<Gateway>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    Ok(gateway.update(&request, payload, ActionType::task()).await?)
}

impl Gateway {
    async fn update(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
        default_type: ActionType,
    ) -> Result<HttpResponse, Refusal> {
        let update = self.check(request, payload, default_type).await?;
        let respond_async = prefers_async(request.headers());
        self.submit(update, respond_async).await
    }

    /// Every check before the queue, in the contract's order. None of them asks the database.
    async fn check(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
        default_type: ActionType,
    ) -> Result<ScoreUpdate, Refusal> {
        // Size and media type, then shape.
        let body = json_object(request, payload).await?;
        let shape = UpdateShape::parse(request, &body, default_type)?;
        let known = self.ports.views.board(&shape.board);
        if let Some(rule) = known.as_deref().and_then(|board| shape.rule(board).ok()) {
            shape.has_fields_for(rule.proof)?;
        }
        // Token, then own score.
        let claims = self.tokens.verify(bearer(request)?).await?;
        shape.own_score(claims.user)?;
        // Signature, by the type's proof.
        let board = known.ok_or_else(|| self.unknown_board(&shape.board))?;
        let rule = shape.rule(&board)?;
        let session_key = self.tokens.session_key(&self.settings.signing_master, &claims);
        let proof = shape.verify_signature(rule, claims.user, &session_key)?;
        // Timestamp, then the action type's bounds.
        let now = self.ports.clock.now();
        shape.fresh(now)?;
        let points = rule.resolve_points(shape.points)?;
        Ok(ScoreUpdate {
            submission: SubmissionId(Uuid::now_v7()),
            user: claims.user,
            points,
            proof,
            content_hash: shape.content_hash(),
            accepted_at: now,
            request_id: request_id(request),
            trace: runtime::telemetry::current_trace_context(),
            board: shape.board,
            action_id: shape.action_id,
            action_type: shape.action_type,
            idempotency_key: shape.idempotency_key,
        })
    }

    async fn submit(&self, update: ScoreUpdate, respond_async: bool) -> Result<HttpResponse, Refusal> {
        let queue = &self.ports.queue;
        // A queue that does not outlive the process can promise nothing before the decision.
        let wait = if respond_async && queue.outlives_process() { Duration::ZERO } else { self.settings.submit_wait };
        let started = Instant::now();
        let submitted = queue.submit(update.clone(), wait).await;
        let took = started.elapsed().as_secs_f64();
        match submitted {
            Ok(Submitted::Decided(answer)) => {
                self.metrics.submitted("decided", took);
                self.decided(answer)
            }
            Ok(Submitted::Pending) => {
                self.metrics.submitted("pending", took);
                self.ports.pending.mark(&update).await;
                let location = format!("/api/v1/score/updates/{}?board={}", update.action_id, update.board);
                let body = UpdateAnswerJson::pending(&update.action_id, &update.board);
                Ok(HttpResponse::Accepted().insert_header((LOCATION, location)).json(body))
            }
            Err(error) => {
                self.metrics.submitted("unavailable", took);
                tracing::warn!(board = %update.board, error = %runtime::exit::causes(&error), "an update was not taken");
                let message = match error {
                    SubmitError::Unavailable(_) => {
                        "updates are not being taken at the moment; the same request can safely be sent again"
                    }
                    SubmitError::Undecided(_) => "no decision in time; the same request can safely be sent again",
                };
                Err(Refusal::new(ErrorCode::Unavailable, message).retry_after(1))
            }
        }
    }

    fn decided(&self, answer: Answer) -> Result<HttpResponse, Refusal> {
        match answer.outcome {
            Outcome::Applied { receipt, replayed } => {
                if let Some(version) = receipt.version {
                    self.standings.saw(&receipt.board, version);
                }
                let mut response = HttpResponse::Ok();
                if replayed {
                    response.insert_header(("idempotent-replayed", "true"));
                }
                Ok(response.json(UpdateAnswerJson::applied(&receipt, answer.rank)))
            }
            Outcome::Rejected { receipt, retry_after_s } => Err(rejected(&receipt, retry_after_s)),
            Outcome::DuplicateAction { receipt } => {
                let message = format!("action {} was already used on board {}", receipt.action_id, receipt.board);
                let mut refusal = Refusal::new(ErrorCode::DuplicateAction, message);
                refusal.details = Details::Receipt(Box::new(receipt));
                Err(refusal)
            }
            Outcome::KeyReused => Err(Refusal::new(
                ErrorCode::IdempotencyKeyReused,
                "this idempotency key stands for another request: other board, action, type or points",
            )),
        }
    }
}

fn rejected(receipt: &Receipt, retry_after_s: Option<u64>) -> Refusal {
    let ReceiptStatus::Rejected(code) = receipt.status else { return Refusal::internal() };
    let message = match code {
        ErrorCode::DailyCapReached => {
            format!("the points of action type {} for this UTC day are used up", receipt.action_type)
        }
        ErrorCode::PointsOutOfRange => "the score would leave the range of ±(2^53-1)".to_owned(),
        ErrorCode::UnknownBoard => format!("there is no board {}", receipt.board),
        ErrorCode::UnknownActionType => format!("board {} has no action type {}", receipt.board, receipt.action_type),
        _ => format!("the update was decided against: {code}"),
    };
    let mut refusal = Refusal::new(code, message);
    refusal.retry_after_s = retry_after_s;
    if code == ErrorCode::DailyCapReached {
        refusal.details = Details::Limit("daily_cap");
    }
    refusal
}

/// RFC 7240, section 4.1.
fn prefers_async(headers: &HeaderMap) -> bool {
    headers.get_all("prefer").filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
        |preference| preference.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("respond-async")),
    )
}

/// `GET /api/v1/score/updates/{actionId}?board=`: own actions only.
#[utoipa::path(get, path = "/api/v1/score/updates/{actionId}", tag = "scores", security(("bearer" = [])), params(("actionId" = String, Path), ("board" = Option<String>, Query, description = "`global` when left out")), responses(
    (status = 200, description = "The receipt", body = ReceiptJson),
    (status = "4XX", description = "Refused", body = ErrorJson),
    (status = "5XX", description = "Not available now", body = ErrorJson),
))]
pub(crate) async fn receipt(
    gateway: web::Data<Gateway>,
    request: HttpRequest,
    path: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let claims = gateway.tokens.verify(bearer(&request)?).await?;
    let action = ActionId::parse(&path.into_inner())?;
    let board = board_query(&request)?;
    gateway.known_board(&board)?;
    Ok(gateway.receipt(claims.user, &board, &action).await?)
}

impl Gateway {
    async fn receipt(
        &self,
        user: common::ids::UserId,
        board: &BoardId,
        action: &ActionId,
    ) -> Result<HttpResponse, Refusal> {
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
        Ok(HttpResponse::Ok().json(ReceiptJson::new(&receipt, rank)))
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
