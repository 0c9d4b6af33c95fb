//! What a player does with the account's sessions as a whole: list them, end them, change the password.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, web};
use common::ids::SessionId;
use futures_util::future::join_all;
use http_edge::ApiError;
use http_edge::body::json_object;
use http_edge::security_event;
use wire::json::OpenSessionJson;

use crate::app::Gateway;
use crate::openapi::PasswordChangeBody;

/// Ended sessions that are noted in the shared memory; every node reads the rest from auth within a second.
const NOTED: usize = 100;

/// `POST /api/v1/auth/password`
#[utoipa::path(post, path = "/api/v1/auth/password", tag = "accounts", security(("bearer" = [])), request_body = PasswordChangeBody, responses(
    (status = 204, description = "The password is another one; all other sessions are over"),
))]
pub(crate) async fn change_password(
    gateway: web::Data<Gateway>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let claims = gateway.counted_claims(&request).await?;
    let body = json_object(&request, payload).await?;
    let (current, new) = (body.required_text("currentPassword")?, body.required_text("newPassword")?);
    // Counted with the logins: a stolen token is no way to guess a password faster.
    gateway.count(gateway.settings.limits.account_logins, claims.username.to_ascii_lowercase()).await?;
    let ended = gateway.ports.authority.change_password(claims.user, claims.session, current, new).await?;
    gateway.note_ended(&ended).await;
    security_event::tell(&request, "password_changed");
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /api/v1/auth/logout-all`
#[utoipa::path(post, path = "/api/v1/auth/logout-all", tag = "accounts", security(("bearer" = [])), responses(
    (status = 204, description = "All sessions of the player are over, this one too"),
))]
pub(crate) async fn logout_all(gateway: web::Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let claims = gateway.counted_claims(&request).await?;
    let ended = gateway.ports.authority.logout_all(claims.user).await?;
    gateway.note_ended(&ended).await;
    security_event::tell(&request, "logout_all");
    Ok(HttpResponse::NoContent().finish())
}

/// `GET /api/v1/auth/sessions`
#[utoipa::path(get, path = "/api/v1/auth/sessions", tag = "accounts", security(("bearer" = [])), responses(
    (status = 200, description = "The player's sessions that can still be refreshed, the newest first, at most 100", body = [OpenSessionJson]),
))]
pub(crate) async fn list(gateway: web::Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let claims = gateway.counted_claims(&request).await?;
    let open = gateway.ports.authority.sessions(claims.user).await?;
    let open: Vec<_> = open.iter().map(|open| OpenSessionJson::new(open, open.session == claims.session)).collect();
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(open))
}

impl Gateway {
    /// Refuses the tokens of these sessions here at once, and tells other nodes.
    async fn note_ended(&self, sessions: &[SessionId]) {
        for session in sessions {
            self.tokens.revoke(*session);
        }
        join_all(sessions.iter().take(NOTED).map(|session| self.ports.guard.revoke(*session))).await;
    }
}
