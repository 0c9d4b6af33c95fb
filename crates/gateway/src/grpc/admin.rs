//! `AdminService`: what the operator changes.

use common::board::{ActionRule, Board};
use common::error_code::{ErrorCode, Refusal};
use common::ids::{ActionType, BoardId, InvalidValue};
use common::ports::StoreError;
use runtime::new_issuer_key::{new_issuer_key, shown_secret};
use runtime::secrets::Permission;
use tonic::{Request, Response, Status};
use wire::v1;
use wire::v1::admin_service_server::AdminService;

use super::GatewayGrpc;
use super::score::board;

type Answer<M> = Result<Response<M>, Status>;

#[tonic::async_trait]
impl AdminService for GatewayGrpc {
    async fn create_issuer_key(&self, request: Request<v1::CreateIssuerKeyRequest>) -> Answer<v1::CreatedIssuerKey> {
        let (call, span, message) = self.admit("AdminService/CreateIssuerKey", Permission::Admin, 1, request)?;
        self.answer(&call, span, async {
            let new = new_issuer_key(&message.name, self.0.gateway.ports.clock.now())?;
            let made = v1::CreatedIssuerKey {
                key_id: new.key.key_id.clone(),
                name: new.name.clone(),
                secret: shown_secret(&new.key).to_string(),
                created_at_ms: new.created_at.as_millis(),
            };
            self.0.admin.issuer_keys.create_issuer_key(new).await.map_err(|error| failed(&error))?;
            tracing::info!(caller = &*call.caller.name, key_id = made.key_id, "an issuer key was made");
            Ok(made)
        })
        .await
    }

    async fn list_issuer_keys(
        &self,
        request: Request<v1::ListIssuerKeysRequest>,
    ) -> Answer<v1::ListIssuerKeysResponse> {
        let (call, span, _) = self.admit("AdminService/ListIssuerKeys", Permission::Admin, 1, request)?;
        self.answer(&call, span, async {
            let keys = self.0.admin.issuer_keys.list_issuer_keys().await.map_err(|error| failed(&error))?;
            Ok(v1::ListIssuerKeysResponse { keys: keys.iter().map(Into::into).collect() })
        })
        .await
    }

    async fn revoke_issuer_key(&self, request: Request<v1::RevokeIssuerKeyRequest>) -> Answer<v1::ListedIssuerKey> {
        let (call, span, message) = self.admit("AdminService/RevokeIssuerKey", Permission::Admin, 1, request)?;
        self.answer(&call, span, async {
            let (keys, now) = (&self.0.admin.issuer_keys, self.0.gateway.ports.clock.now());
            let key_id = &message.key_id;
            if !keys.revoke_issuer_key(key_id, now).await.map_err(|error| failed(&error))? {
                return Err(Refusal::new(ErrorCode::NotFound, "no issuer key of this id is in use"));
            }
            tracing::info!(caller = &*call.caller.name, key_id, "an issuer key was revoked");
            let listed = keys.list_issuer_keys().await.map_err(|error| failed(&error))?;
            listed.iter().find(|key| key.key_id == *key_id).map(Into::into).ok_or_else(Refusal::internal)
        })
        .await
    }

    async fn list_boards(&self, request: Request<v1::ListBoardsRequest>) -> Answer<v1::ListBoardsResponse> {
        let (call, span, _) = self.admit("AdminService/ListBoards", Permission::Admin, 1, request)?;
        self.answer(&call, span, async {
            let boards = self.0.gateway.ports.truth.boards().await.map_err(|error| failed(&error))?;
            Ok(v1::ListBoardsResponse { boards: boards.iter().map(Into::into).collect() })
        })
        .await
    }

    async fn get_board(&self, request: Request<v1::GetBoardRequest>) -> Answer<v1::BoardWithRules> {
        let (call, span, message) = self.admit("AdminService/GetBoard", Permission::Admin, 1, request)?;
        self.answer(&call, span, async { Ok((&self.stored_board(&board(&message.board)?).await?).into()) }).await
    }

    async fn set_action_type(&self, request: Request<v1::SetActionTypeRequest>) -> Answer<v1::BoardWithRules> {
        let (call, span, message) = self.admit("AdminService/SetActionType", Permission::Admin, 1, request)?;
        self.answer(&call, span, async {
            let board = board(&message.board)?;
            let rule = message.rule.as_ref().ok_or(InvalidValue::new("rule", "is missing"))?;
            let rule = ActionRule::try_from(rule)?;
            if !self.0.admin.rules.set_action_type(&board, &rule).await.map_err(|error| failed(&error))? {
                return Err(unknown(&board));
            }
            tracing::info!(caller = &*call.caller.name, %board, action_type = %rule.action_type, "an action type was set");
            Ok((&self.stored_board(&board).await?).into())
        })
        .await
    }

    async fn remove_action_type(&self, request: Request<v1::RemoveActionTypeRequest>) -> Answer<v1::BoardWithRules> {
        let (call, span, message) = self.admit("AdminService/RemoveActionType", Permission::Admin, 1, request)?;
        self.answer(&call, span, async {
            let (board, kind) = (board(&message.board)?, ActionType::parse(&message.action_type)?);
            let removed = self.0.admin.rules.remove_action_type(&board, &kind).await.map_err(|error| failed(&error))?;
            let now = self.stored_board(&board).await?;
            if !removed {
                return Err(Refusal::new(ErrorCode::NotFound, format!("board {board} has no action type {kind}")));
            }
            tracing::info!(caller = &*call.caller.name, %board, action_type = %kind, "an action type was removed");
            Ok((&now).into())
        })
        .await
    }

    async fn set_stream_token(&self, request: Request<v1::SetStreamTokenRequest>) -> Answer<v1::BoardWithRules> {
        let (call, span, message) = self.admit("AdminService/SetStreamToken", Permission::Admin, 1, request)?;
        self.answer(&call, span, async {
            let (board, demanded) = (board(&message.board)?, message.demanded);
            if !self.0.admin.rules.set_stream_token(&board, demanded).await.map_err(|error| failed(&error))? {
                return Err(unknown(&board));
            }
            tracing::info!(caller = &*call.caller.name, %board, demanded, "the token that a stream demands was set");
            Ok((&self.stored_board(&board).await?).into())
        })
        .await
    }
}

impl GatewayGrpc {
    /// From the truth and not from this node's memory: what was changed a moment ago is to be seen.
    async fn stored_board(&self, board: &BoardId) -> Result<Board, Refusal> {
        let boards = self.0.gateway.ports.truth.boards().await.map_err(|error| failed(&error))?;
        boards.into_iter().find(|known| known.id() == board).ok_or_else(|| unknown(board))
    }
}

fn unknown(board: &BoardId) -> Refusal {
    Refusal::new(ErrorCode::UnknownBoard, format!("there is no board {board}"))
}

fn failed(error: &StoreError) -> Refusal {
    tracing::error!(error = %runtime::exit::causes(error), "the store did not do what an operator asked");
    if error.is_transient() { Refusal::unavailable() } else { Refusal::internal() }
}
