//! All sockets on one thread: one poll, one buffer, and per socket only what it has seen.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use super::findings::Findings;
use super::known_frames::KnownFrames;
use super::plan::{Shared, WatchPlan, us};
use super::server_side;
use super::socket::{Phase, Seen, Socket, Taken};
use crate::failure::Failure;
use crate::stream::screen::Screen;
use crate::ws::frames::{Frame, masked_pong};
use crate::ws::handshake::{Answered, Asked, answered};

const READ_BYTES: usize = 256 * 1024;
const EVENTS: usize = 1_024;
/// The longest sleep: wishes are looked at in between.
const LONGEST_POLL: Duration = Duration::from_millis(5);
const HOUSEKEEPING: Duration = Duration::from_millis(50);
/// The kernel's table of connections is long.
const LOOK_AT_SERVER: Duration = Duration::from_millis(500);
/// Handshakes that are under way at once: a listener's queue is short.
const MAX_UNDER_WAY: usize = 200;

/// The thread's state.
pub(super) struct Engine {
    plan: WatchPlan,
    shared: Arc<Shared>,
    poll: Poll,
    sockets: Vec<Socket>,
    known: KnownFrames,
    findings: Findings,
    /// Sockets that were opened for the first time.
    started: usize,
    under_way: usize,
    evicted: Vec<bool>,
    looked_at_server_us: u64,
    kept_house_us: u64,
}

impl Engine {
    pub(super) fn new(plan: WatchPlan, shared: Arc<Shared>) -> Result<Self, Failure> {
        let poll = Poll::new().map_err(Failure::system("no event queue"))?;
        let sockets = (0..plan.sockets).map(|_| Socket::default()).collect();
        let evicted = vec![false; plan.sockets];
        Ok(Self {
            plan,
            shared,
            poll,
            sockets,
            known: KnownFrames::default(),
            findings: Findings::default(),
            started: 0,
            under_way: 0,
            evicted,
            looked_at_server_us: 0,
            kept_house_us: 0,
        })
    }

    /// Until [`Shared::stop`].
    pub(super) fn run(mut self) -> Result<Findings, Failure> {
        let (mut events, mut buffer) = (Events::with_capacity(EVENTS), vec![0; READ_BYTES]);
        while !self.shared.stop.load(Relaxed) {
            match self.poll.poll(&mut events, Some(LONGEST_POLL)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(Failure::System { what: "waiting for sockets".to_owned(), source: error });
                }
                _ => {}
            }
            for event in &events {
                self.ready(event.token().0, &mut buffer);
            }
            self.open_due();
            if self.shared.now_us() - self.kept_house_us >= us(HOUSEKEEPING) {
                self.keep_house();
            }
        }
        let there = |socket: &&Socket| matches!(socket.phase, Phase::Open | Phase::Stalled);
        self.findings.missing_at_end = (self.sockets.len() - self.sockets.iter().filter(there).count()) as u64;
        self.findings.arrivals = self.known.into_arrivals();
        Ok(self.findings)
    }

    fn open_due(&mut self) {
        let now_us = self.shared.now_us();
        let allowed = now_us.saturating_mul(u64::from(self.plan.ramp_per_second)) / 1_000_000;
        while self.started < self.sockets.len() && (self.started as u64) < allowed && self.under_way < MAX_UNDER_WAY {
            let index = self.started;
            self.started += 1;
            self.connect(index);
        }
    }

    fn connect(&mut self, index: usize) {
        let stalls = index < self.plan.stalled;
        match self.try_connect(index, stalls) {
            Ok(stream) => {
                let socket = &mut self.sockets[index];
                socket.local = stream.local_addr().ok().and_then(|address| match address {
                    SocketAddr::V4(address) => Some(address),
                    SocketAddr::V6(_) => None,
                });
                socket.stream = Some(stream);
                socket.phase = Phase::Connecting;
                self.under_way += 1;
            }
            Err(error) => {
                self.findings.problem(&format!("no connection: {error}"));
                self.lost(index);
            }
        }
    }

    fn try_connect(&mut self, index: usize, stalls: bool) -> std::io::Result<TcpStream> {
        let raw = RawSocket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        raw.set_nonblocking(true)?;
        if stalls {
            raw.set_recv_buffer_size(self.plan.stalled_receive_bytes)?;
        }
        if self.plan.target.address.ip().is_loopback() {
            raw.bind(&SocketAddr::from((source_address(index / self.plan.per_address), 0)).into())?;
        }
        match raw.connect(&self.plan.target.address.into()) {
            Err(error) if error.kind() != ErrorKind::WouldBlock && error.raw_os_error() != Some(EINPROGRESS) => {
                return Err(error);
            }
            _ => {}
        }
        let mut stream = TcpStream::from_std(raw.into());
        self.poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        Ok(stream)
    }

    fn ready(&mut self, index: usize, buffer: &mut [u8]) {
        if matches!(self.sockets[index].phase, Phase::Connecting) && !self.greet(index) {
            return;
        }
        loop {
            let socket = &mut self.sockets[index];
            if !matches!(socket.phase, Phase::Open | Phase::Greeting(_)) {
                return;
            }
            let Some(stream) = &mut socket.stream else { return };
            match stream.read(buffer) {
                Ok(0) => return self.lost(index),
                Ok(length) => {
                    if let Err(problem) = self.received(index, &buffer[..length]) {
                        self.violation(&problem);
                        return self.lost(index);
                    }
                    // Less than was asked for: the kernel has no more, and will say so when it has (epoll(7)).
                    if length < buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.lost(index),
            }
        }
    }

    /// The connection stands: asks for the stream. `false` while it does not stand or when it failed.
    fn greet(&mut self, index: usize) -> bool {
        let socket = &mut self.sockets[index];
        let Some(stream) = &mut socket.stream else { return false };
        if stream.take_error().ok().flatten().is_some() {
            self.lost(index);
            return false;
        }
        if stream.peer_addr().is_err() {
            return false;
        }
        let _ = stream.set_nodelay(true);
        let request = Asked {
            host: &self.plan.target.host,
            path: &self.plan.path,
            board: &self.plan.board,
            limit: self.plan.limit,
            protocol: &self.plan.protocol,
        }
        .request();
        let Some(stream) = &mut self.sockets[index].stream else { return false };
        // A new connection takes a few hundred bytes at once, or it is of no use.
        if stream.write(request.as_bytes()).ok() != Some(request.len()) {
            self.lost(index);
            return false;
        }
        self.sockets[index].phase = Phase::Greeting(Vec::new());
        true
    }

    fn received(&mut self, index: usize, bytes: &[u8]) -> Result<(), String> {
        if let Phase::Greeting(head) = &mut self.sockets[index].phase {
            head.extend_from_slice(bytes);
            let head = std::mem::take(head);
            return match answered(&head) {
                Answered::Incomplete => {
                    self.sockets[index].phase = Phase::Greeting(head);
                    Ok(())
                }
                Answered::Open { head: length, protocol } => {
                    if protocol.as_deref() != Some(self.plan.protocol.as_str()) {
                        return Err(format!("the server chose {protocol:?}, not {}", self.plan.protocol));
                    }
                    self.opened(index);
                    self.frames(index, &head[length..])
                }
                Answered::Refused { status } => {
                    *self.findings.refused.entry(status).or_default() += 1;
                    self.lost(index);
                    Ok(())
                }
                Answered::Malformed => Err("no HTTP answer".to_owned()),
            };
        }
        self.frames(index, bytes)
    }

    fn opened(&mut self, index: usize) {
        self.under_way -= 1;
        self.shared.open.fetch_add(1, Relaxed);
        self.sockets[index].phase = Phase::Open;
    }

    fn frames(&mut self, index: usize, bytes: &[u8]) -> Result<(), String> {
        let measured_at_us = self.shared.measuring.load(Relaxed).then(|| self.shared.now_us());
        let mut reader = std::mem::take(&mut self.sockets[index].reader);
        let (socket, known, findings) = (&mut self.sockets[index], &mut self.known, &mut self.findings);
        let (mut frames, mut problem, mut pong) = (0, None, None);
        let fed = reader.feed(bytes, |frame| match frame {
            Frame::Text(text) => {
                frames += 1;
                match socket.take(text, known, measured_at_us) {
                    Ok(Taken::State { snapshot }) => findings.snapshots += u64::from(snapshot),
                    Ok(Taken::Stale) => findings.stale += 1,
                    Ok(Taken::Other) => {}
                    Err(words) => problem = Some(words),
                }
            }
            Frame::Ping(payload) => pong = Some(masked_pong(payload)),
            Frame::Close(code) => socket.close_code = code,
            Frame::Pong => {}
        });
        socket.reader = reader;
        if let (Some(pong), Some(stream)) = (pong, &mut socket.stream) {
            // Whoever does not take six bytes is about to end.
            let _ = stream.write(&pong);
        }
        self.shared.frames.fetch_add(frames, Relaxed);
        self.shared.bytes.fetch_add(bytes.len() as u64, Relaxed);
        if let Some(words) = problem {
            self.violation(&words);
        }
        fed.map_err(|error| error.to_string())
    }

    fn violation(&mut self, words: &str) {
        self.shared.problems.fetch_add(1, Relaxed);
        self.findings.problem(words);
    }

    /// The connection is gone, or never was.
    fn lost(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        match socket.phase {
            Phase::Open => {
                self.shared.open.fetch_sub(1, Relaxed);
                *self.findings.closed.entry(socket.close_code.unwrap_or(0)).or_default() += 1;
            }
            Phase::Connecting | Phase::Greeting(_) => {
                self.under_way -= 1;
                self.findings.failed_attempts += 1;
            }
            _ => self.findings.failed_attempts += 1,
        }
        if let Some(mut stream) = socket.stream.take() {
            // It is closed with its last handle anyway.
            let _ = self.poll.registry().deregister(&mut stream);
        }
        socket.phase = Phase::Gone;
    }

    fn keep_house(&mut self) {
        self.kept_house_us = self.shared.now_us();
        let truth = self.shared.truth.lock().clone();
        if let Some(truth) = truth {
            // Sockets share their screens: the rows of each are compared once, as far as neighbours show the same.
            let mut last: Option<(Rc<Screen>, bool)> = None;
            let mut shows = |seen: &Seen| match &last {
                Some((screen, same)) if Rc::ptr_eq(screen, &seen.screen) => *same,
                _ => {
                    let same = seen.screen.rows == truth;
                    last = Some((Rc::clone(&seen.screen), same));
                    same
                }
            };
            let reading = self.sockets.iter().filter(|socket| !matches!(socket.phase, Phase::Stalled));
            let behind = reading.filter(|socket| {
                let open = matches!(socket.phase, Phase::Open);
                !(open && socket.seen.as_ref().is_some_and(&mut shows))
            });
            self.shared.behind.store(behind.count() as u64, Relaxed);
        }
        if self.shared.stalling.load(Relaxed) && self.plan.stalled > 0 {
            self.watch_stalled();
        }
    }

    fn watch_stalled(&mut self) {
        let now_us = self.shared.now_us();
        if self.findings.stalled_at_us == 0 {
            self.findings.stalled_at_us = now_us;
            for socket in self.sockets.iter_mut().take(self.plan.stalled) {
                if matches!(socket.phase, Phase::Open) {
                    socket.phase = Phase::Stalled;
                }
            }
        }
        if now_us - self.looked_at_server_us < us(LOOK_AT_SERVER) {
            return;
        }
        self.looked_at_server_us = now_us;
        let Some(held) = server_side::clients_of(self.plan.target.address.port()) else { return };
        for (socket, evicted) in self.sockets.iter_mut().zip(&mut self.evicted).take(self.plan.stalled) {
            let gone = socket.local.is_none_or(|local| !held.contains(&local));
            if matches!(socket.phase, Phase::Stalled) && gone && !*evicted {
                *evicted = true;
                self.findings.evicted_us.push(now_us);
                self.shared.evicted.fetch_add(1, Relaxed);
            }
        }
    }
}

/// Linux's number for a connection that is being made.
const EINPROGRESS: i32 = 115;

/// The n-th source address: all of 127.0.0.0/8 is this machine. 127.0.0.1 is left to others.
fn source_address(n: usize) -> Ipv4Addr {
    let n = u32::try_from(n + 2).unwrap_or(2);
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 0, 0)) + n % (1 << 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_addresses_are_this_machines_and_differ() {
        assert_eq!(source_address(0), Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(source_address(300), Ipv4Addr::new(127, 0, 1, 46));
        assert!((0..70_000).all(|n| source_address(n).is_loopback()));
    }
}
