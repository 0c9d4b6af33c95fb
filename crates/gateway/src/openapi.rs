//! The OpenAPI document, from the handlers and types themselves.

mod answers;

use actix_web::HttpResponse;
use answers::Answers;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};
use wire::json::{
    AccountJson, ActionTypeJson, BoardJson, EntryJson, ErrorJson, OpenSessionJson, PlayerEntryJson, ReceiptJson,
    TokenGrantJson, UpdateAnswerJson,
};

/// The body of a score update.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code)] // read field by field in `update_shape`, so that each refusal names its field
pub(crate) struct ScoreUpdateBody {
    /// What the player did; unique per user and board.
    #[schema(min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9_.:-]+$")]
    action_id: String,
    /// The points; the type's default when left out.
    points: Option<i64>,
    /// RFC 3339, within 5 minutes of the server's clock. Needed unless the type asks for token proof only.
    timestamp: Option<String>,
    /// 64 lower-case hex digits: HMAC-SHA256 under the session's key over seven lines joined by a newline (`scoreboard-v1`,
    /// board, userId, actionId, actionType, points or nothing, timestamp as sent). Needed unless the type asks for token proof only.
    signature: Option<String>,
    /// `global` when left out.
    board: Option<String>,
    /// `default` when left out (`task` at `/update-score`).
    action_type: Option<String>,
    /// If sent, the token's user.
    user_id: Option<String>,
    /// Names the request; the `Idempotency-Key` header wins.
    idempotency_key: Option<String>,
    /// The issuer key that signed.
    key_id: Option<String>,
}

/// A name and a password.
#[derive(ToSchema)]
#[allow(dead_code)]
pub(crate) struct CredentialsBody {
    /// Unique without case.
    #[schema(min_length = 3, max_length = 32, pattern = "^[A-Za-z0-9_.-]+$")]
    username: String,
    /// 10 to 128 characters.
    #[schema(min_length = 10, max_length = 128)]
    password: String,
}

/// The old and the new password.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code)]
pub(crate) struct PasswordChangeBody {
    /// The one that is good now.
    #[schema(max_length = 128)]
    current_password: String,
    /// 10 to 128 characters.
    #[schema(min_length = 10, max_length = 128)]
    new_password: String,
}

/// A refresh token.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code)]
pub(crate) struct RefreshBody {
    /// The newest one of the session.
    refresh_token: String,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Scoreboard", description = "A live leaderboard: a score moves durably and exactly once, and everyone watching sees it."),
    modifiers(&BearerScheme, &Answers),
    paths(
        crate::score_update::post, crate::score_update::post_task, crate::receipts::receipt,
        crate::reads::top, crate::reads::player, crate::boards::list, crate::boards::one,
        crate::accounts::register, crate::accounts::login, crate::accounts::refresh, crate::accounts::logout, crate::accounts::jwks,
        crate::sessions::change_password, crate::sessions::logout_all, crate::sessions::list,
        crate::asyncapi::json, crate::docs_page::index,
    ),
    components(schemas(
        ScoreUpdateBody, CredentialsBody, PasswordChangeBody, OpenSessionJson, RefreshBody, AccountJson, ActionTypeJson, BoardJson, EntryJson, ErrorJson,
        PlayerEntryJson, ReceiptJson, TokenGrantJson, UpdateAnswerJson,
    ))
)]
struct Document;

struct BearerScheme;

impl Modify for BearerScheme {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The document of the public HTTP interface.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// `GET /openapi.json`
pub(crate) async fn json() -> HttpResponse {
    HttpResponse::Ok().json(document())
}
