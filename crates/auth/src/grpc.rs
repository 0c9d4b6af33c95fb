//! `scoreboard.v1.AuthService` over gRPC.

use std::future::Future;
use std::sync::Arc;

use common::clock::Timestamp;
use common::error_code::Refusal;
use common::ids::{ActionId, ActionType, BoardId, InvalidValue, UserId};
use common::ports::Authority;
use grpc_edge::{GrpcSurface, RequireServiceKey};
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status};
use wire::v1::auth_service_server::{self, AuthServiceServer};
use wire::{status_from_refusal, v1};

use crate::action_signing::ActionToSign;
use crate::callers::{AuthCallers, require_game_server, require_gateway};
use crate::service::AuthService;

/// The largest request: a password of 128 characters of 4 bytes, or a token of 4 KiB. Bytes.
const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// The gRPC side of an [`AuthService`].
pub struct AuthGrpc {
    service: Arc<AuthService>,
}

impl AuthGrpc {
    /// Adds `scoreboard.v1.AuthService` to a port, for callers that show a service key.
    #[must_use]
    pub fn add_to(
        surface: GrpcSurface,
        service: Arc<AuthService>,
        keys: RequireServiceKey<AuthCallers>,
    ) -> GrpcSurface {
        let server = AuthServiceServer::new(Self { service }).max_decoding_message_size(MAX_REQUEST_BYTES);
        surface.with_routes(<AuthServiceServer<Self> as tonic::server::NamedService>::NAME, |routes| {
            routes.add_service(InterceptedService::new(server, keys))
        })
    }
}

async fn answer<D, M>(work: impl Future<Output = Result<D, Refusal>>, message: impl FnOnce(D) -> M) -> Answer<M> {
    match work.await {
        Ok(done) => Ok(Response::new(message(done))),
        Err(refusal) => Err(status_from_refusal(&refusal)),
    }
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn damaged(message: wire::DamagedMessage) -> Status {
    Status::invalid_argument(message.to_string())
}

#[allow(clippy::needless_pass_by_value)] // for `answer`
fn ended_sessions(ended: Vec<common::ids::SessionId>) -> v1::EndedSessions {
    v1::EndedSessions { session_ids: ended.iter().map(ToString::to_string).collect() }
}

type Answer<M> = Result<Response<M>, Status>;

#[tonic::async_trait]
impl auth_service_server::AuthService for AuthGrpc {
    async fn register(&self, request: Request<v1::RegisterRequest>) -> Answer<v1::RegisterResponse> {
        require_gateway(&request)?;
        let v1::RegisterRequest { username, password } = request.into_inner();
        answer(self.service.register(&username, &password), |(user, username)| v1::RegisterResponse {
            user_id: user.to_string(),
            username,
        })
        .await
    }

    async fn login(&self, request: Request<v1::LoginRequest>) -> Answer<v1::TokenGrant> {
        require_gateway(&request)?;
        let v1::LoginRequest { username, password } = request.into_inner();
        answer(self.service.login(&username, &password), |grant| (&grant).into()).await
    }

    async fn refresh(&self, request: Request<v1::RefreshRequest>) -> Answer<v1::TokenGrant> {
        require_gateway(&request)?;
        let token = request.into_inner().refresh_token;
        answer(self.service.refresh(&token), |grant| (&grant).into()).await
    }

    async fn logout(&self, request: Request<v1::LogoutRequest>) -> Answer<v1::LogoutResponse> {
        require_gateway(&request)?;
        let session = wire::auth::session_id(&request.get_ref().session_id)
            .map_err(|damaged| Status::invalid_argument(damaged.to_string()))?;
        answer(self.service.logout(session), |()| v1::LogoutResponse {}).await
    }

    async fn logout_all(&self, request: Request<v1::LogoutAllRequest>) -> Answer<v1::EndedSessions> {
        require_gateway(&request)?;
        let user = wire::auth::user_id(&request.get_ref().user_id).map_err(damaged)?;
        answer(self.service.logout_all(user), ended_sessions).await
    }

    async fn change_password(&self, request: Request<v1::ChangePasswordRequest>) -> Answer<v1::EndedSessions> {
        require_gateway(&request)?;
        let v1::ChangePasswordRequest { user_id, session_id, current_password, new_password } = request.into_inner();
        let user = wire::auth::user_id(&user_id).map_err(damaged)?;
        let session = wire::auth::session_id(&session_id).map_err(damaged)?;
        answer(self.service.change_password(user, session, &current_password, &new_password), ended_sessions).await
    }

    async fn sessions(&self, request: Request<v1::SessionsRequest>) -> Answer<v1::SessionsResponse> {
        require_gateway(&request)?;
        let user = wire::auth::user_id(&request.get_ref().user_id).map_err(damaged)?;
        answer(self.service.sessions(user), |open| v1::SessionsResponse {
            sessions: open.iter().map(Into::into).collect(),
        })
        .await
    }

    async fn validate_token(&self, request: Request<v1::ValidateTokenRequest>) -> Answer<v1::ValidateTokenResponse> {
        let token = request.into_inner().access_token;
        answer(self.service.validate(&token), |claims| v1::ValidateTokenResponse {
            user_id: claims.user.to_string(),
            username: claims.username.to_string(),
            session_id: claims.session.to_string(),
            expires_at_ms: claims.expires_at.as_millis(),
        })
        .await
    }

    async fn jwks(&self, _request: Request<v1::JwksRequest>) -> Answer<v1::JwksResponse> {
        let message = |keys: Vec<_>| v1::JwksResponse { keys: keys.iter().map(Into::into).collect() };
        answer(self.service.verification_keys(), message).await
    }

    async fn revocations(&self, request: Request<v1::RevocationsRequest>) -> Answer<v1::RevocationsResponse> {
        let since = Timestamp::from_millis(request.get_ref().since_ms);
        answer(self.service.revocations(since), |revocations| v1::RevocationsResponse {
            revocations: revocations.iter().map(Into::into).collect(),
        })
        .await
    }

    async fn issuer_keys(&self, request: Request<v1::IssuerKeysRequest>) -> Answer<v1::IssuerKeysResponse> {
        require_gateway(&request)?;
        let message = |keys: Vec<_>| v1::IssuerKeysResponse { keys: keys.iter().map(Into::into).collect() };
        answer(self.service.issuer_keys(), message).await
    }

    async fn sign_action(&self, request: Request<v1::SignActionRequest>) -> Answer<v1::SignActionResponse> {
        let caller = require_game_server(&request)?;
        let action = action_to_sign(request.get_ref()).map_err(|error| status_from_refusal(&error.into()))?;
        answer(async { self.service.sign_action(caller.name(), &action) }, |signed| {
            let (caller, user, board, action_id) = (caller.name(), action.user, &action.board, &action.action_id);
            tracing::info!(caller, %user, %board, %action_id, key_id = signed.key_id, "an action was signed");
            v1::SignActionResponse { signature: signed.signature, timestamp: signed.timestamp, key_id: signed.key_id }
        })
        .await
    }
}

/// The same forms and defaults as in an update.
fn action_to_sign(request: &v1::SignActionRequest) -> Result<ActionToSign, InvalidValue> {
    let wrong_user = || InvalidValue::new("userId", "must be a UUID with hyphens");
    let board = Some(request.board.as_str()).filter(|board| !board.is_empty()).map(BoardId::parse).transpose()?;
    let kind = Some(request.action_type.as_str()).filter(|kind| !kind.is_empty()).map(ActionType::parse).transpose()?;
    Ok(ActionToSign {
        user: UserId::parse(&request.user_id).ok_or_else(wrong_user)?,
        board: board.unwrap_or_else(BoardId::global),
        action_id: ActionId::parse(&request.action_id)?,
        action_type: kind.unwrap_or_else(ActionType::default_type),
        points: request.points,
    })
}
