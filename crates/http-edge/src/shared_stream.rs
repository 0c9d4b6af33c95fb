//! A connection's TCP stream, shared on its thread between who serves the connection, who takes what comes on it, and who
//! may write to it directly.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use actix_http::error::PayloadError;
use actix_web::{HttpMessage as _, HttpRequest};
use bytes::Bytes;
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that are read at a time of what comes.
const READ: usize = 1024;

/// The stream, as who serves the connection reads and writes it.
#[derive(Debug)]
pub(crate) struct SharedStream(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Borrowed for single calls only, none of which calls back.
    tcp: RefCell<TcpStream>,
    /// Who serves the connection has nothing left to write.
    settled: Cell<bool>,
}

/// Writes to a connection past the task that serves it. For the body of a `101` only, whose bytes stand on the connection as
/// they are: a frame need not take the way of a wake, a poll of the connection, and a copy.
///
/// Bytes of both ways never mix: what is not taken whole here is for the body to give, and nothing is taken until that has
/// left, nor before the answer's head has.
#[derive(Clone, Debug)]
pub struct DirectWriter(Weak<Shared>);

/// What comes on a connection, for the payload of its request.
pub(crate) struct Incoming {
    before: Bytes,
    shared: Rc<Shared>,
}

impl SharedStream {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Self(Rc::new(Shared { tcp: RefCell::new(tcp), settled: Cell::new(false) }))
    }

    /// For the body of this connection's answer, which is yet to be written.
    pub(crate) fn direct_writer(&self) -> DirectWriter {
        self.0.settled.set(false);
        DirectWriter(Rc::downgrade(&self.0))
    }

    /// What comes from now on. `before`: what was read already.
    pub(crate) fn incoming(&self, before: Bytes) -> Incoming {
        Incoming { before, shared: Rc::clone(&self.0) }
    }
}

impl DirectWriter {
    /// The writer of the connection that a request came on; `None` where it did not ask for another protocol.
    #[must_use]
    pub fn of(request: &HttpRequest) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }

    /// Whether bytes may be taken.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.0.upgrade().is_some_and(|shared| shared.settled.get())
    }

    /// Hands bytes to the kernel; how many it took. Who is given the rest also finds out why: the body's last bytes have
    /// not left, the reader is slow, or the connection has failed.
    #[must_use]
    pub fn try_write(&self, bytes: &[u8]) -> usize {
        let Some(shared) = self.0.upgrade().filter(|shared| shared.settled.get()) else { return 0 };
        let taken = shared.tcp.borrow().try_write(bytes).unwrap_or(0);
        shared.settled.set(taken == bytes.len());
        taken
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if !this.before.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut this.before))));
        }
        let mut space = [MaybeUninit::uninit(); READ];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *this.shared.tcp.borrow_mut()).poll_read(context, &mut buffer))?;
        let came = Bytes::copy_from_slice(buffer.filled());
        Poll::Ready((!came.is_empty()).then_some(Ok(came)))
    }
}

impl AsyncRead for SharedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), io::Error>> {
        Pin::new(&mut *self.0.tcp.borrow_mut()).poll_read(context, buffer)
    }
}

impl AsyncWrite for SharedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, io::Error>> {
        self.0.settled.set(false);
        Pin::new(&mut *self.0.tcp.borrow_mut()).poll_write(context, bytes)
    }

    /// Called when, and only when, everything is written.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.0.settled.set(true);
        Pin::new(&mut *self.0.tcp.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.0.settled.set(false);
        Pin::new(&mut *self.0.tcp.borrow_mut()).poll_shutdown(context)
    }
}
