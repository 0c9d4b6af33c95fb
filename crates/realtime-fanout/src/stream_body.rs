//! A socket's outgoing half, as the body of its answer: asked for bytes whenever the connection can take some,
//! it gives the one frame that leads to the newest state. A WebSocket that has everything takes news without being asked:
//! the sweep of its group writes them to the connection, and only what the kernel does not take goes the long way.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_http::ws::CloseCode;
use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use common::state::StatePoint;
use http_edge::DirectWriter;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::encoding::{Format, close};
use crate::hub::{LocalGroup, Shown};
use crate::listener::EVICT_AFTER;
use crate::metrics::Metrics;
use crate::own_changes::OwnChange;
use crate::reader::Reader;
use crate::sockets::SocketPermit;

/// What both halves of a socket and its group know of it. On one thread.
pub(crate) struct Socket {
    pub(crate) id: usize,
    pub(crate) group: Rc<LocalGroup>,
    /// The answer to the newest ping; earlier ones need none (RFC 6455, section 5.5.3).
    pub(crate) pong: RefCell<Option<Bytes>>,
    /// The last frame.
    pub(crate) close: RefCell<Option<Bytes>>,
    /// Nothing is to be sent any more.
    over: Cell<bool>,
    format: Format,
    /// What a token holder is to hear of itself.
    pub(crate) own: RefCell<Option<OwnChange>>,
    reader: RefCell<Reader>,
    /// Where the bytes stand on the connection as they are.
    writer: Option<DirectWriter>,
    is_gone: Cell<bool>,
    gone: Notify,
}

/// What others hold of the writing half.
#[derive(Clone)]
pub(crate) struct SocketControl(Rc<Socket>);

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
    socket: Rc<Socket>,
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

/// A socket in `group`: both halves. `writer`: of a connection that carries the bytes as they are.
pub(crate) fn socket(
    group: Rc<LocalGroup>,
    opening: Opening,
    writer: Option<DirectWriter>,
    metrics: Arc<Metrics>,
    permit: SocketPermit,
) -> (StreamBody, SocketControl) {
    let format = opening.format;
    let reader = Reader::new(opening, &group.shown().set);
    let socket = Rc::new(Socket {
        id: group.enter(),
        group: Rc::clone(&group),
        pong: RefCell::default(),
        close: RefCell::default(),
        over: Cell::new(false),
        format,
        own: RefCell::default(),
        reader: RefCell::new(reader),
        writer,
        is_gone: Cell::new(false),
        gone: Notify::new(),
    });
    if socket.writer.is_some() {
        group.offer_to(Rc::clone(&socket));
    }
    (StreamBody { socket: Rc::clone(&socket), metrics, _permit: permit }, SocketControl(socket))
}

impl Socket {
    /// Writes what the client lacks to its connection; whether it has everything now. If not, its task has to go on.
    pub(crate) fn write_directly(&self, shown: &Shown, now: Instant) -> bool {
        let mut reader = self.reader.borrow_mut();
        let is_free = self.writer.as_ref().is_some_and(DirectWriter::is_free);
        if !is_free || reader.rest.is_some() || reader.ended || self.over.get() {
            return false;
        }
        reader.rest = self.next_bytes(&mut reader, shown);
        if reader.rest.is_some() || reader.ended {
            return false;
        }
        reader.asked_at = now;
        reader.told = self.group.has_everything(reader.told);
        true
    }

    /// What the connection does not take directly of what the client lacks.
    fn next_bytes(&self, reader: &mut Reader, shown: &Shown) -> Option<Bytes> {
        while let Some(bytes) = reader.next_bytes(self, shown) {
            let taken = self.writer.as_ref().map_or(0, |writer| writer.try_write(&bytes));
            if taken < bytes.len() {
                return Some(bytes.slice(taken..));
            }
            if reader.ended {
                break;
            }
        }
        None
    }
}

impl MessageBody for StreamBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let socket = &*self.socket;
        let mut reader = socket.reader.borrow_mut();
        reader.asked_at = Instant::now();
        socket.group.wait(socket.id, context.waker());
        let has_more = reader.rest.is_some() || !reader.ended;
        if has_more && !socket.over.get() {
            if let Some(bytes) = socket.next_bytes(&mut reader, &socket.group.shown()) {
                return Poll::Ready(Some(Ok(bytes)));
            }
            if !reader.ended {
                reader.told = socket.group.has_everything(reader.told);
                return Poll::Pending;
            }
        }
        reader.ended = true;
        Poll::Ready(None)
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        let Self { socket, metrics, .. } = self;
        let reader = socket.reader.borrow();
        socket.group.leave(socket.id, reader.told);
        socket.is_gone.set(true);
        socket.gone.notify_waiters();
        // Had something to give and was not asked for it: the reader had stopped.
        let was_asked = reader.ended || reader.asked_at.elapsed() <= EVICT_AFTER / 2;
        if !was_asked && reader.is_behind(&socket.group.shown().set) {
            metrics.evicted.add(1, &[]);
            tracing::debug!("a socket ended whose reader had made no progress");
        }
    }
}
