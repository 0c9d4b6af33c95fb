//! The private side of a stream that showed a token: it hears of its player's own changes, and ends with the token.

use std::sync::Arc;
use std::time::Duration;

use actix_http::ws::CloseCode;
use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use common::clock::Clock;
use common::error_code::Refusal;
use http_edge::bearer_token::bearer;
use runtime::access_token::Claims;
use runtime::token_gate::{FollowedSession, TokenGate};

use crate::own_changes::{OwnChange, OwnFeed};
use crate::stream_body::SocketControl;

/// What a token stands behind, where a browser cannot set the Authorization header of a handshake.
const SUBPROTOCOL_PREFIX: &str = "bearer.";

/// A clock that is set does not let a token live on: its end is looked at again at least so often.
const LOOK: Duration = Duration::from_secs(30);

/// Who opened a stream, and when that ends.
pub(crate) struct Holder {
    pub(crate) claims: Claims,
    session: FollowedSession,
}

/// The holder of the token that a request shows; `None` when it shows none.
///
/// # Errors
/// What the gate refuses the token with.
pub(crate) async fn holder(request: &HttpRequest, gate: &TokenGate) -> Result<Option<Holder>, Refusal> {
    let Some(token) = token(request)? else { return Ok(None) };
    let claims = gate.verify(token).await?;
    // Before that, a token of a session that was ended would look good.
    if !gate.knows_revocations() {
        return Err(Refusal::unavailable());
    }
    let session = gate.follow(claims.session);
    Ok(Some(Holder { claims, session }))
}

/// An Authorization header that holds no token is refused, never taken for none: its client would wait for private events.
fn token(request: &HttpRequest) -> Result<Option<&str>, Refusal> {
    if request.headers().contains_key(AUTHORIZATION) {
        return bearer(request).map(Some);
    }
    let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).filter_map(|offers| offers.to_str().ok());
    Ok(offers.flat_map(|offers| offers.split(',')).find_map(|offer| offer.trim().strip_prefix(SUBPROTOCOL_PREFIX)))
}

/// Tells the stream of its player's changes until it is closed: by its client, or because the token ended.
pub(crate) async fn attend(control: SocketControl, holder: Holder, feed: Arc<OwnFeed>, clock: Arc<dyn Clock>) {
    let mut changes = feed.subscribe();
    // What was told before this stream was there is not its news.
    changes.mark_unchanged();
    // The change that this stream was last told of.
    let mut told: Option<OwnChange> = None;
    let ended = loop {
        let left_ms = holder.claims.expires_at.millis_since(clock.now());
        let Some(left_ms) = u64::try_from(left_ms).ok().filter(|left| *left > 0) else { break "token_expired" };
        tokio::select! {
            () = control.gone() => return,
            () = holder.session.ended() => break "token_revoked",
            () = tokio::time::sleep(Duration::from_millis(left_ms).min(LOOK)) => {}
            changed = changes.changed() => {
                if changed.is_ok() {
                    let mut change = changes.borrow_and_update().clone();
                    let before = told.filter(|told| told.epoch == change.epoch);
                    change.previous_rank = before.map_or(change.previous_rank, |before| before.rank);
                    told = Some(change.clone());
                    control.own_change(change);
                }
            }
        }
    };
    tracing::debug!(reason = ended, "a private stream ends with its token");
    control.end(CloseCode::Policy, ended);
}
