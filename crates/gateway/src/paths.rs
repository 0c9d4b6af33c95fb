//! The one table of paths. The paths of the source documents reach the same handlers with the same bodies and answers.

use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, Resource, Responder};

use crate::{accounts, asyncapi, boards, docs_page, openapi, page, reads, receipts, score_update, sessions};

/// Where a score update may be posted.
pub(crate) const UPDATE: [&str; 3] = ["/api/v1/score/update", "/api/scores/update", "/api/scoreboard/update"];
/// The bare `{userId, actionId}` of the second source document: its default action type is `task`.
pub(crate) const UPDATE_TASK: &str = "/update-score";
const RECEIPT: &str = "/api/v1/score/updates/{actionId}";
const TOP: [&str; 2] = ["/api/v1/scoreboard/top", "/api/scores/leaderboard"];
const PLAYER: [&str; 2] = ["/api/v1/scoreboard/users/{userId}", "/api/scores/user/{userId}"];
const REGISTER: [&str; 2] = ["/api/v1/auth/register", "/api/auth/register"];
const LOGIN: [&str; 2] = ["/api/v1/auth/login", "/api/auth/login"];
const REFRESH: [&str; 2] = ["/api/v1/auth/refresh", "/api/auth/refresh"];
/// The page's scripts, styles and icons; in `client/` the stream's client, for other pages too.
const PAGE_FILE: &str = r"/{file:(?:client/)?[a-z0-9-]+\.(?:js|css|svg)}";
const LOGOUT: [&str; 2] = ["/api/v1/auth/logout", "/api/auth/logout"];

/// Paths with more than one name, the contract's first.
pub(crate) const ALIASES: [&[&str]; 7] = [&UPDATE, &TOP, &PLAYER, &REGISTER, &LOGIN, &REFRESH, &LOGOUT];

/// Mounts every path of the gateway.
pub fn configure(config: &mut ServiceConfig) {
    // The router asks one after the other: what is asked for most comes first, and before patterns.
    for path in TOP {
        config.service(read(path, reads::top));
    }
    for path in UPDATE {
        config.service(web::resource(path).route(web::post().to(score_update::post)));
    }
    config.service(web::resource(UPDATE_TASK).route(web::post().to(score_update::post_task)));
    config.service(read(RECEIPT, receipts::receipt));
    for path in PLAYER {
        config.service(read(path, reads::player));
    }
    for path in REGISTER {
        config.service(web::resource(path).route(web::post().to(accounts::register)));
    }
    for path in LOGIN {
        config.service(web::resource(path).route(web::post().to(accounts::login)));
    }
    for path in REFRESH {
        config.service(web::resource(path).route(web::post().to(accounts::refresh)));
    }
    for path in LOGOUT {
        config.service(web::resource(path).route(web::post().to(accounts::logout)));
    }
    config
        .service(web::resource("/api/v1/auth/password").route(web::post().to(sessions::change_password)))
        .service(web::resource("/api/v1/auth/logout-all").route(web::post().to(sessions::logout_all)))
        .service(read("/api/v1/auth/sessions", sessions::list))
        .service(read("/.well-known/jwks.json", accounts::jwks))
        .service(read("/api/v1/boards", boards::list))
        .service(read("/api/v1/boards/{board}", boards::one))
        .service(read("/openapi.json", openapi::json))
        .service(read("/asyncapi.json", asyncapi::json))
        .service(read("/docs", docs_page::index))
        .service(read("/docs/", docs_page::without_slash))
        .service(read(r"/docs/{file:[a-z-]+\.(?:js|css)}", docs_page::file))
        .service(read("/page-config.json", page::config))
        .service(read("/", page::index))
        .service(read("/index.html", page::index))
        .service(read(PAGE_FILE, page::file));
}

/// A resource that is read: GET, and HEAD wherever GET is (RFC 9110, section 9.1).
fn read<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args> + Clone,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path).route(web::get().to(handler.clone())).route(web::head().to(handler))
}
