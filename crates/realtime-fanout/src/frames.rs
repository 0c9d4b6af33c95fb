//! The frames of a group, each encoded once for everybody.

use std::sync::{Arc, OnceLock};

use actix_http::ws::{CloseCode, CloseReason, OpCode, Parser};
use board_view::View;
use bytes::{Bytes, BytesMut};
use common::clock::Timestamp;
use common::ids::BoardId;
use common::standing::TopList;
use common::state::{StatePoint, Version};
use wire::json::{Frame, HeartbeatJson, SnapshotJson, UpdateJson, entries};

use crate::moves::moves;

/// What sockets of a group may be given now. Immutable: the next replaces it.
#[derive(Clone)]
pub(crate) struct FrameSet {
    board: BoardId,
    limit: usize,
    /// The visible list at the board's newest state.
    top: Arc<TopList>,
    /// The list has looked like this since this version.
    since: Version,
    /// Leads to the list from the one before it.
    update: Option<Update>,
    snapshot: OnceLock<Bytes>,
    stale: Option<Bytes>,
    /// Grows with every heartbeat that is due.
    pub(crate) beat: u64,
    heartbeat: Bytes,
    /// Grows when the board's history was replaced by an older state of the same epoch: no socket may follow that.
    pub(crate) history: u64,
    /// Every socket is to be closed.
    pub(crate) bye: Option<Goodbye>,
}

#[derive(Clone)]
struct Update {
    /// Whoever has seen the list as it was from here on can take the update.
    base: Version,
    bytes: Bytes,
}

/// Why sockets are closed, and over how long a time (milliseconds) their clients should come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Goodbye {
    pub(crate) reason: &'static str,
    pub(crate) window_ms: u64,
}

/// What the next set means for sockets.
pub(crate) struct Moved {
    pub(crate) frames: FrameSet,
    /// Sockets have to hear of it.
    pub(crate) told: bool,
    /// When the newest visible change was made.
    pub(crate) changed_at: Option<Timestamp>,
}

impl FrameSet {
    /// The first of a group.
    pub(crate) fn first(view: &View, limit: usize) -> Self {
        let top = Arc::new(view.top(limit));
        Self {
            board: view.board.clone(),
            limit,
            since: top.state.version,
            update: None,
            snapshot: OnceLock::new(),
            stale: stale(view),
            beat: 0,
            heartbeat: Bytes::new(),
            history: 0,
            bye: None,
            top,
        }
    }

    /// The set after the view moved.
    pub(crate) fn moved(&self, view: &View) -> Moved {
        let top = Arc::new(view.top(self.limit));
        let mut frames = Self { snapshot: OnceLock::new(), stale: stale(view), ..self.clone() };
        let (old, new) = (&self.top.state, &top.state);
        let mut told = frames.stale.is_some() != self.stale.is_some();
        let mut changed_at = None;
        if old.epoch != new.epoch || new.version < old.version {
            frames.history += u64::from(old.epoch == new.epoch);
            (frames.since, frames.update, told) = (new.version, None, true);
        } else if self.top.entries != top.entries {
            let moves = moves(&self.top, &top, view);
            changed_at = moves.last().map(|newest| newest.updated_at);
            frames.update = moves.last().map(|newest| {
                let json = UpdateJson {
                    board: self.board.as_str(),
                    epoch: new.epoch.as_str(),
                    version: new.version.0,
                    user_id: newest.json.user_id.clone(),
                    new_score: newest.json.new_score,
                    leaderboard: entries(&top.entries),
                    updates: moves.iter().map(|one| one.json.clone()).collect(),
                };
                Update { base: self.since, bytes: text(&Frame::Update(json)) }
            });
            (frames.since, told) = (new.version, true);
        }
        frames.top = top;
        Moved { frames, told, changed_at }
    }

    /// The set when a heartbeat is due.
    pub(crate) fn beaten(&self) -> Self {
        let state = self.state();
        let json = HeartbeatJson { board: self.board.as_str(), epoch: state.epoch.as_str(), version: state.version.0 };
        Self { beat: self.beat + 1, heartbeat: text(&Frame::Heartbeat(json)), ..self.clone() }
    }

    /// The set that closes every socket.
    pub(crate) fn closing(&self, bye: Goodbye) -> Self {
        Self { bye: Some(bye), ..self.clone() }
    }

    /// The board's newest state.
    pub(crate) fn state(&self) -> &StatePoint {
        &self.top.state
    }

    /// Whether somebody who has seen `seen` sees the list as it is.
    pub(crate) fn is_shown_by(&self, seen: &StatePoint) -> bool {
        seen.epoch == self.state().epoch && seen.version >= self.since
    }

    /// The update, for somebody who has seen the list before it.
    pub(crate) fn update_for(&self, seen: &StatePoint) -> Option<Bytes> {
        let update = self.update.as_ref()?;
        (seen.epoch == self.state().epoch && seen.version >= update.base).then(|| update.bytes.clone())
    }

    /// The whole list; encoded when somebody needs it first.
    pub(crate) fn snapshot(&self) -> Bytes {
        let snapshot = || text(&Frame::Snapshot(SnapshotJson::new(self.board.as_str(), &self.top)));
        self.snapshot.get_or_init(snapshot).clone()
    }

    /// The frame that says that the list may be old; `None` while it is not.
    pub(crate) const fn stale(&self) -> Option<&Bytes> {
        self.stale.as_ref()
    }

    pub(crate) fn heartbeat(&self) -> Bytes {
        self.heartbeat.clone()
    }
}

fn stale(view: &View) -> Option<Bytes> {
    view.stale
        .then(|| text(&Frame::Stale { reason: "this node cannot be sure to show what was committed a second ago" }))
}

/// `server:bye` and the Close frame after it.
pub(crate) fn goodbye(reason: &str, reconnect_in_ms: u64) -> Bytes {
    let mut bytes = BytesMut::from(&text(&Frame::Bye { reason, reconnect_in_ms })[..]);
    bytes.extend_from_slice(&close(CloseCode::Restart, reason));
    bytes.freeze()
}

/// A Close frame.
pub(crate) fn close(code: CloseCode, reason: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    Parser::write_close(&mut bytes, Some(CloseReason { code, description: Some(reason.to_owned()) }), false);
    bytes.freeze()
}

/// The answer to a ping.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    Parser::write_message(&mut bytes, payload, OpCode::Pong, true, false);
    bytes.freeze()
}

fn text(frame: &Frame<'_>) -> Bytes {
    // Maps of strings and numbers: serialising them has no failing case.
    let json = serde_json::to_vec(frame).unwrap_or_default();
    let mut bytes = BytesMut::with_capacity(json.len() + 10);
    Parser::write_message(&mut bytes, json, OpCode::Text, true, false);
    bytes.freeze()
}
