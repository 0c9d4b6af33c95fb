//! A socket's outgoing half, as the body of its answer: asked for bytes whenever the connection can take some,
//! it gives the one frame that leads to the newest state.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_http::ws::CloseCode;
use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use common::state::{Epoch, StatePoint};
use tokio::sync::Notify;
use tokio::time::Instant;
use wire::frames::{Frame, OwnChangeJson};

use crate::encoding::{Format, close, shut_out};
use crate::frames::{Event, FrameSet, Lead};
use crate::hub::{LocalGroup, Shown};
use crate::listener::EVICT_AFTER;
use crate::metrics::{Metrics, Sent};
use crate::own_changes::OwnChange;
use crate::sockets::SocketPermit;

/// What both halves of a socket know of each other. On one thread.
struct Shared {
    id: usize,
    group: Rc<LocalGroup>,
    /// The answer to the newest ping; earlier ones need none (RFC 6455, section 5.5.3).
    pong: RefCell<Option<Bytes>>,
    /// The last frame.
    close: RefCell<Option<Bytes>>,
    /// Nothing is to be sent any more.
    over: Cell<bool>,
    format: Format,
    /// What a token holder is to hear of itself.
    own: RefCell<Option<OwnChange>>,
    is_gone: Cell<bool>,
    gone: Notify,
}

/// What others hold of the writing half.
#[derive(Clone)]
pub(crate) struct SocketControl(Rc<Shared>);

impl SocketControl {
    /// Resolves when nothing is written any more.
    pub(crate) async fn gone(&self) {
        // On one thread: nothing can happen between the question and the wait.
        if !self.0.is_gone.get() {
            self.0.gone.notified().await;
        }
    }

    pub(crate) fn pong(&self, frame: Bytes) {
        self.0.pong.replace(Some(frame));
        self.0.group.wake(self.0.id);
    }

    pub(crate) fn close(&self, frame: Bytes) {
        self.0.close.replace(Some(frame));
        self.0.group.wake(self.0.id);
    }

    pub(crate) fn client_left(&self) {
        self.0.over.set(true);
        self.0.group.wake(self.0.id);
    }

    /// Ends the stream: a WebSocket with this code.
    pub(crate) fn end(&self, code: CloseCode, reason: &str) {
        match self.0.format {
            Format::Text | Format::Delta => self.close(close(code, reason)),
            Format::Sse => self.client_left(),
        }
    }

    /// The token holder's newest change; one that was not taken yet is forgotten for it.
    pub(crate) fn own_change(&self, change: OwnChange) {
        self.0.own.replace_with(|untold| {
            let untold = untold.take().filter(|untold| untold.epoch == change.epoch);
            let previous_rank = untold.map_or(change.previous_rank, |untold| untold.previous_rank);
            Some(OwnChange { previous_rank, ..change })
        });
        self.0.group.wake(self.0.id);
    }
}

/// The writing half.
pub(crate) struct StreamBody {
    shared: Rc<Shared>,
    format: Format,
    holds_token: bool,
    /// The history that versions are of.
    epoch: Epoch,
    /// No event of that history may carry a lower version.
    floor: u64,
    /// The newest state that the client was given; `None` before the first snapshot.
    seen: Option<StatePoint>,
    /// It was given its first state, or stood at the newest when it came.
    answered: bool,
    /// What stands before everything else.
    greeting: Option<Bytes>,
    beat: u64,
    curves: u64,
    /// Up to where it has everything that it was told of.
    told: Option<u64>,
    history: u64,
    repaired: u64,
    told_stale: bool,
    ended: bool,
    asked_at: Instant,
    metrics: Arc<Metrics>,
    _permit: SocketPermit,
}

/// What a socket is opened with.
pub(crate) struct Opening {
    pub(crate) format: Format,
    /// What its client has seen, if it can be led on from there.
    pub(crate) seen: Option<StatePoint>,
    /// What the node's view has reached and the client has seen: nothing older of its history is shown.
    pub(crate) floor: Option<StatePoint>,
    pub(crate) greeting: Option<Bytes>,
    pub(crate) holds_token: bool,
}

/// A socket in `group`: both halves.
pub(crate) fn socket(
    group: Rc<LocalGroup>,
    opening: Opening,
    metrics: Arc<Metrics>,
    permit: SocketPermit,
) -> (StreamBody, SocketControl) {
    let Opening { format, seen, floor, greeting, holds_token } = opening;
    let set = Arc::clone(&group.shown().set);
    let shared = Rc::new(Shared {
        id: group.enter(),
        group,
        pong: RefCell::default(),
        close: RefCell::default(),
        over: Cell::new(false),
        format,
        own: RefCell::default(),
        is_gone: Cell::new(false),
        gone: Notify::new(),
    });
    let body = StreamBody {
        shared: Rc::clone(&shared),
        format,
        holds_token,
        epoch: set.state().epoch.clone(),
        floor: floor.filter(|floor| floor.epoch == set.state().epoch).map_or(0, |floor| floor.version.0),
        answered: seen.as_ref() == Some(set.state()),
        seen,
        greeting,
        beat: set.beat,
        curves: 0,
        told: None,
        history: set.history,
        repaired: set.repaired,
        told_stale: false,
        ended: false,
        asked_at: Instant::now(),
        metrics,
        _permit: permit,
    };
    (body, SocketControl(shared))
}

impl StreamBody {
    /// The next bytes, if the client lacks something.
    fn next_bytes(&mut self) -> Option<Bytes> {
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting);
        }
        if let Some(pong) = self.shared.pong.take() {
            return Some(pong);
        }
        if let Some(close) = self.shared.close.take() {
            self.ended = true;
            return Some(close);
        }
        let shown = self.shared.group.shown();
        if shown.set.demands_token && !self.holds_token {
            self.ended = true;
            return shut_out(self.format);
        }
        let (event, bytes) = self.next_frame(&shown)?;
        self.shared.group.count(event, bytes.len());
        Some(bytes)
    }

    fn next_frame(&mut self, shown: &Shown) -> Option<Event> {
        let frames = &*shown.set;
        if let Some(bye) = frames.bye {
            return Some(self.goodbye(bye.reason, rand::random_range(0..=bye.window_ms)));
        }
        // The truth itself went back: on this socket no version may, so its client starts anew on another.
        if frames.history != self.history {
            return Some(self.goodbye("the board was restored", rand::random_range(0..=frames.return_window_ms)));
        }
        if frames.state().epoch != self.epoch {
            self.enter_history(&frames.state().epoch);
        }
        let newest = frames.state().version.0;
        // What the player heard of itself may be newer than what this thread was told of the board: that follows.
        if newest < self.floor {
            self.shared.group.hold(self.shared.id);
            return None;
        }
        if let Some(own) = self.take_own(newest) {
            return Some(self.own_change(frames, own));
        }
        if self.told_stale && !frames.is_stale() {
            self.told_stale = false;
            return Some(self.given(frames, Sent::Snapshot, frames.snapshot(self.format)));
        }
        if let Some(frame) = self.next_state(shown) {
            return Some(frame);
        }
        if frames.is_stale() && !self.told_stale {
            self.told_stale = true;
            return Some((Sent::Stale, frames.stale(self.format)));
        }
        if frames.curves != self.curves {
            self.curves = frames.curves;
            if let Some(curve) = frames.curve(self.format) {
                self.floor = newest;
                return Some((Sent::Curve, curve));
            }
        }
        if frames.beat > self.beat {
            // It moves no row: the client stands where it stood, and the next delta leads on from there.
            (self.floor, self.beat) = (newest, frames.beat);
            return Some((Sent::Heartbeat, frames.heartbeat(self.format)));
        }
        // Everything else was given, so whatever comes next is newer.
        self.take_own(u64::MAX).map(|own| self.own_change(frames, own))
    }

    /// The untold change, if it is of the history that is shown and not of a later version than this.
    fn take_own(&self, newest: u64) -> Option<OwnChange> {
        let told = |own: &mut OwnChange| own.epoch.as_ref() == Some(&self.epoch) && own.version <= newest;
        self.shared.own.borrow_mut().take_if(told)
    }

    /// Versions of different histories do not compare: nothing that was said of the one before counts any more. Its
    /// snapshot follows, as the client's state is of another epoch.
    fn enter_history(&mut self, epoch: &Epoch) {
        self.epoch.clone_from(epoch);
        self.floor = 0;
        self.shared.own.borrow_mut().take_if(|own| own.epoch.as_ref() != Some(epoch));
    }

    /// The client was given states up to its floor; a change that is told later than that says so.
    fn own_change(&mut self, frames: &FrameSet, own: OwnChange) -> Event {
        self.floor = self.floor.max(own.version);
        let json = OwnChangeJson {
            board: frames.board().as_str(),
            version: self.floor,
            new_score: own.score,
            rank: own.rank,
            previous_rank: own.previous_rank,
        };
        (Sent::Me, self.format.encode(&Frame::Me(json), None))
    }

    /// What leads to the newest state; nothing if the client sees the list as it is.
    fn next_state(&mut self, shown: &Shown) -> Option<Event> {
        let frames = &*shown.set;
        let lead = match &self.seen {
            Some(_) if frames.repaired != self.repaired => Lead::Snapshot,
            Some(seen) => frames.lead(seen, self.format, !self.answered),
            None => Lead::Snapshot,
        };
        let (event, bytes) = match lead {
            Lead::Nothing => return None,
            Lead::Step => shown.step(self.format),
            other => {
                if self.answered {
                    self.shared.group.count_conflated();
                }
                match other {
                    Lead::Frame(event, bytes) => (event, bytes),
                    _ => (Sent::Snapshot, frames.snapshot(self.format)),
                }
            }
        };
        Some(self.given(frames, event, bytes))
    }

    /// The client stands where the frames do; whatever it was given is traffic, so no heartbeat follows at once.
    fn given(&mut self, frames: &FrameSet, event: Sent, bytes: Bytes) -> Event {
        let state = frames.state();
        self.floor = state.version.0;
        match &mut self.seen {
            Some(seen) if seen.epoch == state.epoch => seen.version = state.version,
            seen => *seen = Some(state.clone()),
        }
        self.answered = true;
        self.beat = frames.beat;
        self.repaired = frames.repaired;
        (event, bytes)
    }

    fn goodbye(&mut self, reason: &str, reconnect_in_ms: u64) -> Event {
        self.ended = true;
        (Sent::Bye, self.format.goodbye(reason, reconnect_in_ms))
    }
}

impl MessageBody for StreamBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let this = self.get_mut();
        this.asked_at = Instant::now();
        if this.ended || this.shared.over.get() {
            this.ended = true;
            return Poll::Ready(None);
        }
        if let Some(bytes) = this.next_bytes() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        this.told = this.shared.group.wait(this.shared.id, context.waker(), this.told);
        Poll::Pending
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.shared.group.leave(self.shared.id, self.told);
        self.shared.is_gone.set(true);
        self.shared.gone.notify_waiters();
        let shown = self.shared.group.shown();
        let behind = self.seen.as_ref().is_none_or(|seen| !shown.set.is_shown_by(seen));
        // Had something to give and was not asked for it: the reader had stopped.
        if !self.ended && behind && self.asked_at.elapsed() > EVICT_AFTER / 2 {
            self.metrics.evicted.add(1, &[]);
            tracing::debug!("a socket ended whose reader had made no progress");
        }
    }
}
