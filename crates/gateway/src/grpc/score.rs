//! `ScoreService`: scores for trusted callers.

use common::error_code::Refusal;
use common::ids::{ActionId, ActionType, BoardId, IdempotencyKey, InvalidValue, UserId};
use common::top_window::MAX_TOP;
use futures_util::future::join_all;
use runtime::secrets::Permission;
use tonic::{Request, Response, Status};
use wire::v1::score_service_server::ScoreService;
use wire::v1::{self, ReceiptStatus};

use super::GatewayGrpc;
use super::calls::{Call, log_refusal};
use super::watch::EventStream;
use crate::app::Gateway;
use crate::reads::MAX_AROUND;
use crate::score_update::{Accepted, Shown};
use crate::update_shape::UpdateShape;

/// The most updates of one batch.
const MAX_BATCH: usize = 100;

/// Lines of a list when none are asked for, as in HTTP.
const DEFAULT_LIMIT: usize = 10;

#[tonic::async_trait]
impl ScoreService for GatewayGrpc {
    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitResponse>, Status> {
        let (call, span, update) = self.admit("ScoreService/Submit", Permission::Score, 1, request)?;
        self.answer(&call, span, self.0.gateway.submit_for(&call, &update)).await
    }

    async fn submit_batch(
        &self,
        request: Request<v1::SubmitBatchRequest>,
    ) -> Result<Response<v1::SubmitBatchResponse>, Status> {
        let count = request.get_ref().updates.len().min(MAX_BATCH);
        let (call, span, batch) = self.admit("ScoreService/SubmitBatch", Permission::Score, count, request)?;
        self.answer(&call, span, async {
            if !(1..=MAX_BATCH).contains(&batch.updates.len()) {
                return Err(InvalidValue::new("updates", "must be 1 to 100").into());
            }
            // All at once: the queue puts those that wait together into one message.
            let decided = join_all(batch.updates.iter().map(|update| self.0.gateway.submit_for(&call, update))).await;
            let results = decided.into_iter().map(|decided| {
                use v1::submit_result::Result as Kind;
                let result = match decided {
                    Ok(submitted) => Kind::Submitted(submitted),
                    Err(refusal) => {
                        self.0.metrics.refused(refusal.code);
                        Kind::Refused((&refusal).into())
                    }
                };
                v1::SubmitResult { result: Some(result) }
            });
            Ok(v1::SubmitBatchResponse { results: results.collect() })
        })
        .await
    }

    async fn top(&self, request: Request<v1::TopRequest>) -> Result<Response<v1::TopResponse>, Status> {
        let (call, span, message) = self.admit("ScoreService/Top", Permission::Score, 1, request)?;
        self.answer(&call, span, async {
            let (board, limit) = (board(&message.board)?, limit(message.limit)?);
            let top = self.0.gateway.top(&board, limit).await?;
            Ok(v1::TopResponse::new(board.as_str(), &top))
        })
        .await
    }

    async fn entry(&self, request: Request<v1::EntryRequest>) -> Result<Response<v1::EntryResponse>, Status> {
        let (call, span, message) = self.admit("ScoreService/Entry", Permission::Score, 1, request)?;
        self.answer(&call, span, async {
            let (board, user) = (board(&message.board)?, user(&message.user_id)?);
            let around = usize::try_from(message.around).unwrap_or(usize::MAX);
            if around > MAX_AROUND {
                return Err(InvalidValue::new("around", "must be 0 to 50").into());
            }
            let found = self.0.gateway.player(&board, Some(user), around).await?;
            let own = found.lines.get(found.own).ok_or_else(Refusal::internal)?;
            let neighbors = if around == 0 { Vec::new() } else { wire::score::entries(&found.lines) };
            Ok(v1::EntryResponse { entry: Some(own.into()), neighbors })
        })
        .await
    }

    async fn receipt(&self, request: Request<v1::ReceiptRequest>) -> Result<Response<v1::ReceiptResponse>, Status> {
        let (call, span, message) = self.admit("ScoreService/Receipt", Permission::Score, 1, request)?;
        self.answer(&call, span, async {
            let (board, user) = (board(&message.board)?, user(&message.user_id)?);
            let action = ActionId::parse(&message.action_id)?;
            self.0.gateway.known_board(&board)?;
            let (receipt, rank) = self.0.gateway.receipt(user, &board, &action).await?;
            Ok(v1::ReceiptResponse { receipt: Some((&receipt).into()), rank })
        })
        .await
    }

    type WatchStream = EventStream;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<EventStream>, Status> {
        let (call, span, message) = self.admit("ScoreService/Watch", Permission::Score, 1, request)?;
        self.answer(&call, span, async {
            let (board, limit) = (board(&message.board)?, limit(message.limit)?);
            let opened = self.0.watches.open(&self.0.gateway, &call.caller, board, limit, &message.since).await;
            opened.inspect_err(|refusal| log_refusal(&call, None, refusal))
        })
        .await
    }
}

impl Gateway {
    /// One update on behalf of a player: the checks, the queue and the answer of HTTP.
    async fn submit_for(&self, call: &Call, update: &v1::SubmitRequest) -> Result<v1::SubmitResponse, Refusal> {
        let (user, shape) = shape(update)?;
        let local = self.check_shape(&shape, &Shown::ServiceKey(user), call.request_id.clone(), None).await;
        // No address is counted: many players share a game server's. Its calls are.
        let (answered, _) = self.carry_out(local, None, update.respond_async).await;
        answered.and_then(submitted).inspect_err(|refusal| log_refusal(call, Some((user, &shape)), refusal))
    }
}

fn shape(update: &v1::SubmitRequest) -> Result<(UserId, UpdateShape), InvalidValue> {
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let action_type = given(&update.action_type).map(|kind| ActionType::parse(&kind)).transpose()?;
    let key = given(&update.idempotency_key).map(|key| IdempotencyKey::parse(&key)).transpose()?;
    let shape = UpdateShape::of_issuer(
        board(&update.board)?,
        ActionId::parse(&update.action_id)?,
        action_type.unwrap_or_else(ActionType::default_type),
        update.points,
        key,
    );
    Ok((user(&update.user_id)?, shape))
}

/// The answer, read from the JSON that is kept for a repeat: one stored form for both ways in.
fn submitted(accepted: Accepted) -> Result<v1::SubmitResponse, Refusal> {
    match accepted {
        Accepted::Pending { action_id, board } => Ok(v1::SubmitResponse {
            status: ReceiptStatus::Pending.into(),
            action_id: action_id.to_string(),
            board: board.to_string(),
            ..v1::SubmitResponse::default()
        }),
        Accepted::Applied { body, replayed } => {
            let answer: serde_json::Value = serde_json::from_slice(&body).map_err(|error| {
                tracing::error!(%error, "a kept answer cannot be read");
                Refusal::internal()
            })?;
            let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
            Ok(v1::SubmitResponse {
                status: ReceiptStatus::Applied.into(),
                action_id: text("actionId"),
                board: text("board"),
                new_score: answer["newScore"].as_i64(),
                rank: answer["rank"].as_u64(),
                version: answer["version"].as_u64(),
                replayed,
            })
        }
    }
}

pub(super) fn board(text: &str) -> Result<BoardId, InvalidValue> {
    if text.is_empty() { Ok(BoardId::global()) } else { BoardId::parse(text) }
}

fn user(text: &str) -> Result<UserId, InvalidValue> {
    UserId::parse(text).ok_or(InvalidValue::new("userId", "must be a UUID with hyphens"))
}

fn limit(limit: u32) -> Result<usize, InvalidValue> {
    match usize::try_from(limit).unwrap_or(usize::MAX) {
        0 => Ok(DEFAULT_LIMIT),
        limit if limit <= MAX_TOP => Ok(limit),
        _ => Err(InvalidValue::new("limit", "must be 1 to 100")),
    }
}
