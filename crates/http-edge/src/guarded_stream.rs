//! Between a connection and actix: what actix's parser refuses by itself never reaches a handler or a middleware, and
//! leaves as an empty answer without a request id; and its deadline for a head ends with a connection's first request.
//!
//! The guard follows the bytes on their way in ([`Framing`]). What must not be read any further it withholds, and puts a
//! byte in its place that no head may hold: actix then refuses that request in its turn, after the answers to those
//! before it. On the way out such a refusal is told by its form (an answer that ends with its head, has no body and no
//! request id: none of ours does), and the contract's answer leaves instead. A body that cannot be followed ends where it
//! goes wrong, and its handler answers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::http::StatusCode;
use common::error_code::{ErrorCode, Refusal};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use uuid::Uuid;

use crate::framing::{Fault, Framing, MAX_HEAD, MAX_REQUEST_LINE, Phase};
use crate::refusal::{from_status, status};
use crate::request_scope::{SECURITY_HEADERS, count_refusal};

/// No head may hold it, wherever it stands (RFC 9110, section 5.5; RFC 9112, section 3).
const NO_HEAD: u8 = 0;

/// How long a refused client may take to read its answer, and what it may still send meanwhile: closing on unread bytes
/// would reset the connection and take the answer away.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 2 * 1024 * 1024;

/// How long an answer may take for who has stopped sending, where who has left must not be kept. Longer than any request
/// of ours waits for its outcome.
const LEAVING: Duration = Duration::from_secs(5);

/// The head of an answer that actix makes by itself is shorter.
const LONGEST_BARE_HEAD: usize = 256;

/// How long requests may take to arrive.
#[derive(Clone, Copy, Debug)]
pub struct ArrivalLimits {
    /// A request's head, from its first byte.
    pub head: Duration,
    /// What is left of a body that no handler reads any more. Those that are read have a deadline of their own, which
    /// must be shorter.
    pub body: Duration,
}

impl Default for ArrivalLimits {
    fn default() -> Self {
        Self { head: Duration::from_secs(15), body: Duration::from_secs(20) }
    }
}

/// A connection that gives the contract's answer to what is no request.
#[derive(Debug)]
pub(crate) struct GuardedStream<S> {
    inner: S,
    limits: ArrivalLimits,
    framing: Framing,
    intake: Intake,
    fault: Option<Fault>,
    /// Runs out when the phase that it was set for has lasted too long; made when a request first comes in parts.
    deadline: Option<(u64, Pin<Box<Sleep>>)>,
    farewell: Option<Farewell>,
    /// Whether who has stopped sending is kept for as long as its answer takes.
    half_closed: bool,
    /// When who has stopped sending is let go.
    leaving: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Intake {
    Open,
    /// The next byte is one that makes actix refuse the head.
    Refuse,
    /// Nothing more comes.
    Ended,
    /// Nothing more is asked for.
    Refused,
}

/// The last answer on a connection.
#[derive(Debug)]
struct Farewell {
    answer: Vec<u8>,
    written: usize,
    shut: bool,
    drained: usize,
    until: Option<Pin<Box<Sleep>>>,
    done: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> GuardedStream<S> {
    pub(crate) fn new(inner: S, limits: ArrivalLimits, half_closed: bool) -> Self {
        Self {
            inner,
            limits,
            framing: Framing::default(),
            intake: Intake::Open,
            fault: None,
            deadline: None,
            farewell: None,
            half_closed,
            leaving: None,
        }
    }

    /// The connection itself, unguarded: what comes on it is no HTTP any more.
    pub(crate) fn into_inner(self) -> S {
        self.inner
    }

    /// Nothing more is read. Actix itself would end the connection at once and take away an answer that is being made, or
    /// keep it for as long as an answer takes that may be a stream without end.
    fn ended(&mut self) {
        if !self.half_closed && self.leaving.is_none() {
            self.leaving = Some(Box::pin(sleep_until(Instant::now() + LEAVING)));
        }
    }

    /// Fails when who has stopped sending has been kept for long enough; wakes the task when it will have.
    fn let_go(&mut self, context: &mut Context<'_>) -> Result<(), io::Error> {
        let is_over = self.leaving.as_mut().is_some_and(|leaving| leaving.as_mut().poll(context).is_ready());
        if is_over { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Takes note of what came, and takes back what must not be read.
    fn follow(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let Err((good, fault)) = self.framing.feed(&buffer.filled()[before..]) else { return };
        buffer.set_filled(before + good);
        self.fault = Some(fault);
        self.intake = if fault == Fault::Body { Intake::Ended } else { Intake::Refuse };
        if good == 0 {
            self.intake(buffer);
        }
    }

    /// What is read instead of the connection.
    fn intake(&mut self, buffer: &mut ReadBuf<'_>) {
        if self.intake == Intake::Refuse && buffer.remaining() > 0 {
            buffer.put_slice(&[NO_HEAD]);
            self.intake = Intake::Refused;
        }
    }

    /// Whether what is under way has taken too long; wakes the task when it will have.
    fn is_overdue(&mut self, context: &mut Context<'_>) -> Option<Fault> {
        let (limit, fault) = match self.framing.phase() {
            Phase::Idle | Phase::Opaque => return None,
            Phase::Head => (self.limits.head, Fault::HeadTimeout),
            Phase::Body => (self.limits.body, Fault::Body),
        };
        let turn = self.framing.turns();
        let (_, sleep) = match &mut self.deadline {
            Some((set_for, sleep)) if *set_for != turn => {
                sleep.as_mut().reset(Instant::now() + limit);
                *set_for = turn;
                self.deadline.as_mut()?
            }
            Some(_) => self.deadline.as_mut()?,
            none => none.insert((turn, Box::pin(sleep_until(Instant::now() + limit)))),
        };
        sleep.as_mut().poll(context).is_ready().then_some(fault)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for GuardedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), io::Error>> {
        let this = self.get_mut();
        match this.intake {
            Intake::Open => {}
            Intake::Refuse => {
                this.intake(buffer);
                return Poll::Ready(Ok(()));
            }
            Intake::Ended => {
                this.ended();
                return Poll::Ready(Ok(()));
            }
            Intake::Refused => return Poll::Pending,
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {
                if buffer.filled().len() == before {
                    this.ended();
                }
                this.follow(buffer, before);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let Some(fault) = this.is_overdue(context) else { return Poll::Pending };
                this.fault = Some(fault);
                if fault == Fault::Body {
                    this.intake = Intake::Ended;
                    this.ended();
                } else {
                    this.intake = Intake::Refuse;
                    this.intake(buffer);
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GuardedStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, io::Error>> {
        let this = self.get_mut();
        this.let_go(context)?;
        if this.farewell.is_none() {
            let bare = match this.framing.phase() {
                Phase::Opaque => None,
                Phase::Idle | Phase::Head | Phase::Body => bare_answer(bytes),
            };
            let (from, status) = match bare {
                None => return Pin::new(&mut this.inner).poll_write(context, bytes),
                // First what stands before it.
                Some((from, _)) if from > 0 => return Pin::new(&mut this.inner).poll_write(context, &bytes[..from]),
                Some(bare) => bare,
            };
            let refusal = refusal(this.fault, status, this.limits);
            this.farewell = Some(Farewell::new(&refusal, date(&bytes[from..])));
        }
        // "Pending" until it has arrived: as soon as actix believes it written, it drops the connection.
        if let Some(farewell) = &mut this.farewell {
            ready!(farewell.poll(&mut this.inner, context))?;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        let this = self.get_mut();
        this.let_go(context)?;
        Pin::new(&mut this.inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        let this = self.get_mut();
        if this.farewell.as_ref().is_some_and(|farewell| farewell.shut) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.inner).poll_shutdown(context)
    }
}

impl Farewell {
    fn new(refusal: &Refusal, date: &str) -> Self {
        let request_id = Uuid::new_v4().simple().to_string();
        count_refusal(refusal);
        tracing::debug!(
            error.code = refusal.code.as_str(),
            request_id,
            "what came was no request: {}",
            refusal.message
        );
        let body = serde_json::to_string(&wire::json::ErrorJson::new(refusal, &request_id)).unwrap_or_default();
        let security: String = SECURITY_HEADERS.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let answer = format!(
            "HTTP/1.1 {}\r\ncontent-length: {}\r\ncontent-type: application/json\r\nconnection: close\r\n\
             x-request-id: {request_id}\r\n{security}{date}\r\n{body}",
            status(refusal.code),
            body.len(),
        );
        Self { answer: answer.into_bytes(), written: 0, shut: false, drained: 0, until: None, done: false }
    }

    fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), io::Error>> {
        let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        self.done |= until.as_mut().poll(context).is_ready();
        while !self.done && self.written < self.answer.len() {
            self.written += ready!(Pin::new(&mut *stream).poll_write(context, &self.answer[self.written..]))?;
        }
        if !self.done && !self.shut {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
            self.shut = true;
        }
        let mut scratch = [0; 4096];
        while !self.done {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer));
            self.drained += buffer.filled().len();
            self.done = read.is_err() || buffer.filled().is_empty() || self.drained > LINGER_BYTES;
        }
        Poll::Ready(Ok(()))
    }
}

/// Where in `bytes` an answer begins that actix made by itself, and its status. It is the last one on its connection, and
/// is written in one piece.
fn bare_answer(bytes: &[u8]) -> Option<(usize, StatusCode)> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let tail = bytes.len().saturating_sub(LONGEST_BARE_HEAD);
    let from = tail + bytes[tail..].windows(9).rposition(|window| window == b"HTTP/1.1 ")?;
    let head = std::str::from_utf8(&bytes[from..]).ok()?;
    let status: u16 = head.get(9..12)?.parse().ok()?;
    let bare = status >= 400 && head.contains("\r\ncontent-length: 0\r\n") && !head.contains("\r\nx-request-id: ");
    bare.then(|| StatusCode::from_u16(status).ok()).flatten().map(|status| (from, status))
}

/// The line with the date of an answer, with its end.
fn date(head: &[u8]) -> &str {
    let head = std::str::from_utf8(head).unwrap_or_default();
    head.split_inclusive("\r\n").find(|line| line.starts_with("date: ")).unwrap_or_default()
}

fn refusal(fault: Option<Fault>, status: StatusCode, limits: ArrivalLimits) -> Refusal {
    let (code, message) = match fault {
        Some(Fault::UriTooLong) => {
            (ErrorCode::UriTooLong, format!("the request line must be at most {MAX_REQUEST_LINE} bytes"))
        }
        Some(Fault::HeadersTooLarge) => {
            (ErrorCode::HeadersTooLarge, format!("the head must be at most {MAX_HEAD} bytes and 96 fields"))
        }
        Some(Fault::HeadTimeout) => {
            (ErrorCode::RequestTimeout, format!("the head took longer than {} s to arrive", limits.head.as_secs()))
        }
        Some(Fault::Unreadable | Fault::Body) | None => return from_status(status),
    };
    Refusal::new(code, message)
}
