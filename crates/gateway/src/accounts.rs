//! Accounts, sessions and keys: auth does the work, the gateway passes it on.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::ids::Username;
use http_edge::ApiError;
use http_edge::body::json_object;
use http_edge::security_event;
use wire::json::{AccountJson, TokenGrantJson};

use crate::app::Gateway;
use crate::openapi::{CredentialsBody, RefreshBody};

/// Not a valid username.
const NO_NAME: &str = "";

/// `POST /api/v1/auth/register`
#[utoipa::path(post, path = "/api/v1/auth/register", tag = "accounts", request_body = CredentialsBody, responses(
    (status = 201, description = "The account", body = AccountJson),
))]
pub(crate) async fn register(
    gateway: web::Data<Gateway>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    gateway.count_anonymous(&request).await?;
    let body = json_object(&request, payload).await?;
    let (username, password) = (body.required_text("username")?, body.required_text("password")?);
    let (user, username) = gateway.ports.authority.register(username, password).await?;
    Ok(HttpResponse::Created().json(AccountJson { user_id: user.to_string(), username }))
}

/// `POST /api/v1/auth/login`
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "accounts", request_body = CredentialsBody, responses(
    (status = 200, description = "Tokens and the signing key", body = TokenGrantJson),
))]
pub(crate) async fn login(
    gateway: web::Data<Gateway>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    gateway.count_anonymous(&request).await?;
    let body = json_object(&request, payload).await?;
    let (username, password) = (body.required_text("username")?, body.required_text("password")?);
    gateway.count(gateway.settings.limits.account_logins, counted_name(username)).await?;
    let grant = gateway.ports.authority.login(username, password).await?;
    Ok(granted(&TokenGrantJson::from(&grant)))
}

/// The name that a login is counted under. What nobody can be called shares one: it opens nothing, and takes no memory.
/// It is told apart nowhere else, and costs as much as a name that nobody has.
fn counted_name(username: &str) -> String {
    Username::parse(username).map_or_else(|_| NO_NAME.to_owned(), |name| name.folded())
}

/// `POST /api/v1/auth/refresh`
#[utoipa::path(post, path = "/api/v1/auth/refresh", tag = "accounts", request_body = RefreshBody, responses(
    (status = 200, description = "Fresh tokens", body = TokenGrantJson),
))]
pub(crate) async fn refresh(
    gateway: web::Data<Gateway>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    gateway.count_anonymous(&request).await?;
    let body = json_object(&request, payload).await?;
    let grant = gateway.ports.authority.refresh(body.required_text("refreshToken")?).await?;
    Ok(granted(&TokenGrantJson::from(&grant)))
}

/// RFC 6749, section 5.1: tokens are never cached.
fn granted(grant: &TokenGrantJson) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(grant)
}

/// `POST /api/v1/auth/logout`
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "accounts", security(("bearer" = [])), responses(
    (status = 204, description = "The session is over"),
))]
pub(crate) async fn logout(gateway: web::Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let claims = gateway.counted_claims(&request).await?;
    gateway.ports.authority.logout(claims.session).await?;
    gateway.tokens.revoke(claims.session);
    gateway.ports.guard.revoke(claims.session).await;
    security_event::tell(&request, "logout");
    Ok(HttpResponse::NoContent().finish())
}

/// `GET /.well-known/jwks.json` (RFC 7517, RFC 8037)
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "accounts", responses(
    (status = 200, description = "The public keys, by kid", body = serde_json::Value),
))]
pub(crate) async fn jwks(gateway: web::Data<Gateway>) -> Result<HttpResponse, ApiError> {
    let keys = gateway.tokens.keys()?;
    let keys: Vec<_> = keys
        .iter()
        .map(|key| {
            serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
                "kid": key.kid, "x": URL_SAFE_NO_PAD.encode(key.public_key),
            })
        })
        .collect();
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "public, max-age=60"))
        .json(serde_json::json!({ "keys": keys })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_counted_under_its_account_and_what_is_no_name_under_one() {
        assert_eq!(counted_name("Al.Ice"), counted_name("al.ice"));
        assert_ne!(counted_name("al.ice"), counted_name("bob"));
        let long = "a".repeat(16 * 1024);
        for no_name in ["", " alice", "al\0ice", "{alice}", long.as_str()] {
            assert_eq!(counted_name(no_name), NO_NAME);
        }
        assert!(Username::parse(NO_NAME).is_err(), "no account is counted with them");
    }
}
