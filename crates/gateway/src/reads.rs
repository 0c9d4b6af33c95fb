//! The reads of a board: its top from the node's own snapshot, a player's line from the index.

use actix_web::http::header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, web};
use common::error_code::{ErrorCode, Refusal};
use common::ids::{BoardId, UserId};
use common::ports::StoreError;
use common::standing::{Entry, Neighborhood, TopList};
use common::top_window::MAX_TOP;
use http_edge::ApiError;
use http_edge::query;
use wire::json::{EntryJson, PlayerEntryJson, entries};

use crate::app::Gateway;
use crate::top_answers::TopAnswer;

/// The most lines on each side of a player.
pub(crate) const MAX_AROUND: usize = 50;

/// `GET /api/v1/scoreboard/top?board=global&limit=10`
#[utoipa::path(get, path = "/api/v1/scoreboard/top", tag = "scoreboard", params(("board" = Option<String>, Query, description = "`global` when left out"), ("limit" = Option<u8>, Query, minimum = 1, maximum = 100), ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an answer that is known")), responses(
    (status = 200, description = "Best first", body = [EntryJson], headers(("ETag" = String, description = "The state of the board: epoch.version"))),
    (status = 304, description = "Nothing has changed since the answer that is known", headers(("ETag" = String))),
))]
pub(crate) async fn top(gateway: web::Data<Gateway>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    gateway.count_read(&request)?;
    let limit = query::number(&request, "limit", 10, 1..=MAX_TOP)?;
    let board = query::board(&request)?;
    let TopAnswer { tag, body } = gateway.top_answer(&board, limit).await?;
    let same = tag.to_str().is_ok_and(|tag| not_modified(&request, tag));
    let mut answer = if same { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer.insert_header((ETAG, tag)).insert_header((CACHE_CONTROL, HeaderValue::from_static("no-cache")));
    Ok(if same {
        answer.finish()
    } else {
        answer.content_type(HeaderValue::from_static("application/json")).body(body)
    })
}

/// RFC 9110, section 13.1.2: weak comparison with each listed tag.
fn not_modified(request: &HttpRequest, tag: &str) -> bool {
    request
        .headers()
        .get_all(IF_NONE_MATCH)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|listed| listed.trim().trim_start_matches("W/"))
        .any(|listed| listed == tag || listed == "*")
}

impl Gateway {
    async fn top_answer(&self, board: &BoardId, limit: usize) -> Result<TopAnswer, Refusal> {
        match self.ports.views.view(board) {
            Some(view) => {
                self.metrics.read("top", "memory");
                self.top_answers.of(&view, limit)
            }
            None => TopAnswer::new(&self.top(board, limit).await?),
        }
    }

    /// The best of a board, from the node's own snapshot where it has one.
    pub(crate) async fn top(&self, board: &BoardId, limit: usize) -> Result<TopList, Refusal> {
        if let Some(view) = self.ports.views.view(board) {
            self.metrics.read("top", "memory");
            return Ok(view.top(limit));
        }
        self.known_board(board)?;
        let read = self.standings.top(board, limit).await.map_err(|error| unreadable(board, &error))?;
        let read = read.ok_or_else(|| self.unknown_board(board))?;
        self.metrics.read("top", read.source);
        Ok(read.value)
    }
}

/// `GET /api/v1/scoreboard/users/{userId}?board=&around=0`
#[utoipa::path(get, path = "/api/v1/scoreboard/users/{userId}", tag = "scoreboard", params(("userId" = String, Path), ("board" = Option<String>, Query, description = "`global` when left out"), ("around" = Option<u8>, Query, minimum = 0, maximum = 50)), responses(
    (status = 200, description = "The line, with neighbors when asked for", body = PlayerEntryJson),
))]
pub(crate) async fn player(
    gateway: web::Data<Gateway>,
    request: HttpRequest,
    path: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    gateway.count_read(&request)?;
    let wants_neighbors = request.query_string().split('&').any(|pair| pair.starts_with("around="));
    let around = query::number(&request, "around", 0, 0..=MAX_AROUND)?;
    let board = query::board(&request)?;
    let around = gateway.player(&board, UserId::parse(&path.into_inner()), around).await?;
    let lines = &around.lines;
    let own = lines.get(around.own).ok_or_else(Refusal::internal)?;
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-cache"))
        .json(PlayerEntryJson { entry: EntryJson::from(own), neighbors: wants_neighbors.then(|| entries(lines)) }))
}

impl Gateway {
    /// A player's line with those around it. `None` for the user: what was sent is nobody's id.
    pub(crate) async fn player(
        &self,
        board: &BoardId,
        user: Option<UserId>,
        around: usize,
    ) -> Result<Neighborhood<Entry>, Refusal> {
        self.known_board(board)?;
        let none = || Refusal::new(ErrorCode::NotFound, format!("no such player with a score on board {board}"));
        let user = user.ok_or_else(none)?;
        let read = self.standings.neighborhood(board, user, around).await.map_err(|error| unreadable(board, &error))?;
        let read = read.ok_or_else(none)?;
        self.metrics.read("player", read.source);
        Ok(read.value)
    }
}

fn unreadable(board: &BoardId, error: &StoreError) -> Refusal {
    tracing::error!(%board, error = %runtime::exit::causes(error), "a board cannot be read");
    Refusal::unavailable()
}
