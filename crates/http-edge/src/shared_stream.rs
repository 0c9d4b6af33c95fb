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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (SharedStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (SharedStream::new(listener.accept().await.unwrap().0), peer)
    }

    /// There is room in the kernel all the time: only the order of the bytes forbids the writes.
    #[tokio::test]
    async fn nothing_is_taken_before_the_head_or_between_parts_of_a_frame() {
        let (mut stream, mut peer) = pair().await;
        let writer = stream.direct_writer();
        let refused = |when: &str| {
            assert!(!writer.is_free(), "{when}");
            assert_eq!(writer.try_write(b"in between"), 0, "{when}");
        };
        refused("before the head");
        stream.write_all(b"head, ").await.unwrap();
        refused("while the head may be under way");
        stream.flush().await.unwrap();
        assert!(writer.is_free());
        assert_eq!(writer.try_write(b"frame, "), 7);
        stream.write_all(b"the rest of ").await.unwrap();
        refused("within a frame");
        stream.write_all(b"a frame").await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(writer.try_write(b"."), 1);
        drop(stream);
        refused("after the end");
        let mut came = String::new();
        peer.read_to_string(&mut came).await.unwrap();
        assert_eq!(came, "head, frame, the rest of a frame.");
    }

    #[tokio::test]
    async fn what_the_kernel_takes_in_part_is_for_the_body_to_end() {
        let (mut stream, mut peer) = pair().await;
        let writer = stream.direct_writer();
        stream.flush().await.unwrap();
        let frame = vec![7; 16 << 20];
        let taken = writer.try_write(&frame);
        assert!((1..frame.len()).contains(&taken), "{taken} of {} bytes", frame.len());
        // Room or not: the rest comes first.
        let mut first = vec![0; taken];
        peer.read_exact(&mut first).await.unwrap();
        assert!(!writer.is_free());
        assert_eq!(writer.try_write(b"next"), 0);
        let (ended, mut second) = (async { stream.write_all(&frame[taken..]).await }, vec![0; frame.len() - taken]);
        let (ended, read) = tokio::join!(ended, peer.read_exact(&mut second));
        ended.and(read.map(drop)).unwrap();
        stream.flush().await.unwrap();
        assert_eq!(writer.try_write(b"next"), 4);
    }
}
