//! A socket's outgoing half, as the body of its answer: asked for bytes whenever the connection can take some,
//! it gives the one frame that leads to the newest state.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use common::state::StatePoint;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::encoding::Format;
use crate::frames::{FrameSet, Lead};
use crate::hub::{LocalGroup, Shown};
use crate::listener::EVICT_AFTER;
use crate::metrics::{Metrics, Sent};
use crate::sockets::SocketPermit;

/// What both halves of a socket know of each other. On one thread.
struct Shared {
    id: usize,
    group: Rc<LocalGroup>,
    /// The answer to the newest ping; earlier ones need none (RFC 6455, section 5.5.3).
    pong: RefCell<Option<Bytes>>,
    /// The last frame.
    close: RefCell<Option<Bytes>>,
    client_left: Cell<bool>,
    body_gone: Notify,
}

/// The reading half's hold on the writing one.
pub(crate) struct SocketControl(Rc<Shared>);

impl SocketControl {
    /// Resolves when nothing is written any more.
    pub(crate) async fn gone(&self) {
        self.0.body_gone.notified().await;
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
        self.0.client_left.set(true);
        self.0.group.wake(self.0.id);
    }
}

/// The writing half.
pub(crate) struct StreamBody {
    shared: Rc<Shared>,
    format: Format,
    /// The newest state that the client was given; `None` before the first snapshot.
    seen: Option<StatePoint>,
    /// It was given its first state, or stood at the newest when it came.
    answered: bool,
    /// What stands before everything else.
    greeting: Option<Bytes>,
    beat: u64,
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
    pub(crate) greeting: Option<Bytes>,
}

/// A socket in `group`: both halves.
pub(crate) fn socket(
    group: Rc<LocalGroup>,
    opening: Opening,
    metrics: Arc<Metrics>,
    permit: SocketPermit,
) -> (StreamBody, SocketControl) {
    let Opening { format, seen, greeting } = opening;
    let set = Arc::clone(&group.shown().set);
    let shared = Rc::new(Shared {
        id: group.enter(),
        group,
        pong: RefCell::default(),
        close: RefCell::default(),
        client_left: Cell::new(false),
        body_gone: Notify::new(),
    });
    let body = StreamBody {
        shared: Rc::clone(&shared),
        format,
        answered: seen.as_ref() == Some(set.state()),
        seen,
        greeting,
        beat: set.beat,
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
        let (event, bytes) = self.next_frame(&shown)?;
        self.shared.group.count(event, bytes.len());
        Some(bytes)
    }

    fn next_frame(&mut self, shown: &Shown) -> Option<(Sent, Bytes)> {
        let frames = &*shown.set;
        if let Some(bye) = frames.bye {
            return Some(self.goodbye(bye.reason, rand::random_range(0..=bye.window_ms)));
        }
        // The truth itself went back: on this socket no version may, so its client starts anew on another.
        if frames.history != self.history {
            return Some(self.goodbye("the board was restored", rand::random_range(0..=1_000)));
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
        if frames.beat > self.beat {
            return Some(self.given(frames, Sent::Heartbeat, frames.heartbeat(self.format)));
        }
        None
    }

    /// What leads to the newest state; nothing if the client sees the list as it is.
    fn next_state(&mut self, shown: &Shown) -> Option<(Sent, Bytes)> {
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
    fn given(&mut self, frames: &FrameSet, event: Sent, bytes: Bytes) -> (Sent, Bytes) {
        let state = frames.state();
        match &mut self.seen {
            Some(seen) if seen.epoch == state.epoch => seen.version = state.version,
            seen => *seen = Some(state.clone()),
        }
        self.answered = true;
        self.beat = frames.beat;
        self.repaired = frames.repaired;
        (event, bytes)
    }

    fn goodbye(&mut self, reason: &str, reconnect_in_ms: u64) -> (Sent, Bytes) {
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
        if this.ended || this.shared.client_left.get() {
            this.ended = true;
            return Poll::Ready(None);
        }
        if let Some(bytes) = this.next_bytes() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        this.shared.group.wait(this.shared.id, context.waker());
        Poll::Pending
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.shared.group.leave(self.shared.id);
        self.shared.body_gone.notify_one();
        let shown = self.shared.group.shown();
        let behind = self.seen.as_ref().is_none_or(|seen| !shown.set.is_shown_by(seen));
        // Had something to give and was not asked for it: the reader had stopped.
        if !self.ended && behind && self.asked_at.elapsed() > EVICT_AFTER / 2 {
            self.metrics.evicted.add(1, &[]);
            tracing::debug!("a socket ended whose reader had made no progress");
        }
    }
}
