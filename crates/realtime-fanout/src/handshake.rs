//! The opening of a stream, as WebSocket or Server-Sent Events: who may, what for, and from where on.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::http::Version;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, SEC_WEBSOCKET_PROTOCOL};
use actix_web::web::{Data, Payload, ServiceConfig};
use actix_web::{FromRequest as _, HttpRequest, HttpResponse, HttpResponseBuilder, dev, web};
use board_view::{Lookup, View};
use bytes::Bytes;
use common::error_code::{ErrorCode, Refusal};
use common::ids::BoardId;
use common::state::StatePoint;
use common::top_window::MAX_TOP;
use http_edge::client_address::counted;
use http_edge::query;
use http_edge::{ApiError, DirectWriter};

use crate::encoding::Format;
use crate::group::GroupKey;
use crate::hub::Hub;
use crate::inbound;
use crate::private_stream::{attend, holder};
use crate::state::FanoutState;
use crate::stream_body::{Opening, SocketControl, StreamBody, socket};

/// Where sockets are opened.
const SOCKET_PATHS: [&str; 2] = ["/ws/scoreboard", "/api/v1/ws/scoreboard"];

/// Where Server-Sent Events are.
const EVENTS_PATH: &str = "/api/v1/scoreboard/stream";

/// The subprotocols that this node speaks; what a client offers first of them is taken.
const SUBPROTOCOLS: [(&str, Format); 2] = [("scoreboard.v1", Format::Text), ("scoreboard.v1.delta", Format::Delta)];

/// Lines of a leaderboard when a client does not say.
const DEFAULT_LIMIT: usize = 10;

/// How long a browser's EventSource waits after a connection that ended without a goodbye.
const GREETING: &[u8] = b"retry: 2000\n\n";

/// Mounts the stream's paths, for every worker thread anew. `Data<FanoutState>` must be app data; `request_scope` of
/// `http-edge` must be around, as on every public listener.
pub fn configure(config: &mut ServiceConfig) {
    config.app_data(Rc::new(Hub::default()));
    for path in SOCKET_PATHS {
        config.service(web::resource(path).route(web::get().to(open_socket)));
    }
    config.service(web::resource(EVENTS_PATH).route(web::get().to(open_events)));
}

struct Parameters {
    board: BoardId,
    limit: usize,
    since: Option<StatePoint>,
    curve: bool,
}

async fn open_socket(
    request: HttpRequest,
    payload: Payload,
    state: Data<FanoutState>,
) -> Result<HttpResponse, ApiError> {
    let (response, format) = negotiated(&request).await?;
    state.settings.allowed_origins.check(&request)?;
    let (body, control) = opened(&request, &state, format, parameters(&request)?, None).await?;
    actix_web::rt::spawn(inbound::read(payload, control));
    Ok(response.set_body(BoxBody::new(body)))
}

async fn open_events(request: HttpRequest, state: Data<FanoutState>) -> Result<HttpResponse, ApiError> {
    state.settings.allowed_origins.check(&request)?;
    let mut parameters = parameters(&request)?;
    // What a browser sends by itself when it comes back is newer than what stands in the address.
    let last_event = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
    if let Some(last) = last_event.and_then(StatePoint::parse) {
        parameters.since = Some(last);
    }
    let greeting = Some(Bytes::from_static(GREETING));
    let (body, _) = opened(&request, &state, Format::Sse, parameters, greeting).await?;
    let response = events_response().body(body);
    Ok(response.map_into_boxed_body())
}

fn events_response() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-cache"))
        // nginx: pass every event on at once.
        .insert_header(("x-accel-buffering", "no"));
    response
}

/// Everything that is asked before a stream opens, and both halves of it.
async fn opened(
    request: &HttpRequest,
    state: &FanoutState,
    format: Format,
    parameters: Parameters,
    greeting: Option<Bytes>,
) -> Result<(StreamBody, SocketControl), Refusal> {
    let Parameters { board, limit, since, curve } = parameters;
    if state.is_draining() {
        return Err(Refusal::unavailable());
    }
    let view = known_view(state, &board)?;
    let holder = holder(request, &state.tokens).await?;
    if holder.is_none() && demands_token(state, &board)? {
        return Err(Refusal::new(
            ErrorCode::Unauthenticated,
            format!("board {board} shows its stream to whoever is logged in: an access token is needed"),
        ));
    }
    let address = counted(state.settings.trusted_proxies.client(request));
    let permit = state.sockets.admit(address, state.clock.now())?;
    let view = match &since {
        Some(since) => caught_up(state, view, since).await,
        None => view,
    };
    // Nothing old is sent to whoever has seen just this state; from another that is remembered the client is led on;
    // anybody else starts with a snapshot.
    // The frames may lag behind the view by a tick; they are waited for rather than shown to whoever has seen newer ones.
    let reached = |since: &&StatePoint| since.epoch == view.state().epoch && since.version <= view.state().version;
    let floor = since.as_ref().filter(reached).cloned();
    let seen = since.filter(|since| since == view.state() || state.views.at(&board, since).is_some());
    let hub = request.app_data::<Rc<Hub>>().ok_or_else(Refusal::internal)?;
    let key = GroupKey { board: board.clone(), limit, curve };
    let group = hub.join(&state.groups, &key).ok_or_else(Refusal::unavailable)?;
    // Server-Sent Events stand in chunks, which actix makes.
    let writer = DirectWriter::of(request).filter(|_| format != Format::Sse);
    let opening = Opening { format, seen, floor, greeting, holds_token: holder.is_some() };
    let (body, control) = socket(group, opening, writer, state.groups.metrics.clone(), permit);
    if let Some(holder) = holder {
        let feed = state.own_changes.join(&board, holder.claims.user);
        actix_web::rt::spawn(attend(control.clone(), holder, feed, Arc::clone(&state.clock)));
    }
    Ok((body, control))
}

/// The `101` answer, by actix-ws: the handshake of RFC 6455 and the subprotocol. Its session and message stream are not
/// used: the session's channel would keep old frames in front of slow readers, and the message stream waits for the
/// whole of a frame whatever size it announces.
async fn negotiated(request: &HttpRequest) -> Result<(HttpResponse, Format), Refusal> {
    let not_a_handshake = |error: actix_web::Error| {
        Refusal::new(ErrorCode::InvalidRequest, format!("this path takes WebSocket handshakes only: {error}"))
    };
    // actix-ws does not look at it; an HTTP/1.0 party between would take what follows for a body (RFC 6455, section 4.2.1).
    if request.version() < Version::HTTP_11 {
        let message = "this path takes WebSocket handshakes only: they need HTTP/1.1";
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    let nothing = Payload::from_request(request, &mut dev::Payload::None).await.map_err(not_a_handshake)?;
    let names = SUBPROTOCOLS.map(|(name, _)| name);
    let (response, _session, _messages) =
        actix_ws::handle_with_protocols(request, nothing, &names).map_err(not_a_handshake)?;
    let taken = response.headers().get(SEC_WEBSOCKET_PROTOCOL).and_then(|taken| taken.to_str().ok());
    let format = SUBPROTOCOLS.iter().find(|(name, _)| taken == Some(*name)).map_or(Format::Text, |(_, format)| *format);
    Ok((response, format))
}

fn parameters(request: &HttpRequest) -> Result<Parameters, Refusal> {
    Ok(Parameters {
        board: query::board(request)?,
        limit: query::number(request, "limit", DEFAULT_LIMIT, 1..=MAX_TOP)?,
        // A malformed one counts as none.
        since: query::value(request, "since")?.as_deref().and_then(StatePoint::parse),
        curve: query::number(request, "curve", 0, 0..=1)? == 1,
    })
}

/// A board whose rules have not been read yet might.
fn demands_token(state: &FanoutState, board: &BoardId) -> Result<bool, Refusal> {
    Ok(state.views.board(board).ok_or_else(Refusal::unavailable)?.stream_token)
}

fn known_view(state: &FanoutState, board: &BoardId) -> Result<Arc<View>, Refusal> {
    match state.views.lookup(board) {
        Lookup::Known(view) => Ok(view),
        Lookup::Loading => Err(Refusal::unavailable()),
        Lookup::Unknown => Err(Refusal::new(ErrorCode::UnknownBoard, format!("there is no board {board}"))),
    }
}

/// The view, after a look at the truth if the client says that it has seen a newer one (on another node, say).
async fn caught_up(state: &FanoutState, view: Arc<View>, since: &StatePoint) -> Arc<View> {
    // Another epoch is answered with a snapshot in any case.
    if since.epoch != view.state().epoch || since.version <= view.state().version {
        return view;
    }
    state.views.reach(&view.board, since, state.settings.resume_wait).await.unwrap_or(view)
}
