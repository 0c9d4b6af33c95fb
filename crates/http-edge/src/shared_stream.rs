//! A connection's TCP stream, shared on its thread between actix, which serves it, and whoever may write to it past actix.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use actix_web::HttpRequest;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The stream, as actix reads and writes it.
#[derive(Debug)]
pub(crate) struct SharedStream(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Borrowed for single calls only, none of which calls back.
    tcp: RefCell<TcpStream>,
    /// Actix has nothing left to write.
    settled: Cell<bool>,
}

/// Writes to a connection past actix. For the body of a `101` only, whose bytes stand on the connection as they are: a frame
/// need not take the way of a wake, a poll of the whole connection, and a copy.
///
/// Bytes of both ways never mix: whatever the body gives to actix is preceded by a [`DirectWriter::leave_to_actix`], or by
/// a write that was not taken whole, and from then on nothing is taken here until actix has written all that it has.
#[derive(Clone, Debug)]
pub struct DirectWriter(Weak<Shared>);

impl SharedStream {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Self(Rc::new(Shared { tcp: RefCell::new(tcp), settled: Cell::new(false) }))
    }

    /// For whoever answers this connection's requests.
    pub(crate) fn direct_writer(&self) -> DirectWriter {
        DirectWriter(Rc::downgrade(&self.0))
    }
}

impl DirectWriter {
    /// The writer of the connection that a request came on; `None` where the server does not offer it.
    #[must_use]
    pub fn of(request: &HttpRequest) -> Option<Self> {
        request.conn_data::<Self>().cloned()
    }

    /// Actix has something to write: the answer's head, before the body's first bytes.
    pub fn leave_to_actix(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.settled.set(false);
        }
    }

    /// Hands bytes to the kernel; how many it took. What is left is for actix to write, which also finds out why it was
    /// not taken: actix was not done, the reader is slow, or the connection has failed.
    #[must_use]
    pub fn try_write(&self, bytes: &[u8]) -> usize {
        let Some(shared) = self.0.upgrade().filter(|shared| shared.settled.get()) else { return 0 };
        let taken = shared.tcp.borrow().try_write(bytes).unwrap_or(0);
        shared.settled.set(taken == bytes.len());
        taken
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

    /// Actix flushes when, and only when, it has written everything.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.0.settled.set(true);
        Pin::new(&mut *self.0.tcp.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.0.settled.set(false);
        Pin::new(&mut *self.0.tcp.borrow_mut()).poll_shutdown(context)
    }
}
