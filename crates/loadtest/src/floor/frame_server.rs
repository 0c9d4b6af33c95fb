//! The floor of the fan-out: a bare loop that writes the same bytes to every socket, in a process of its own.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serde_json::json;

use crate::failure::Failure;
use crate::ws::frames::text_frame;

const LISTENER: Token = Token(usize::MAX);

/// What the server writes.
#[derive(Clone, Debug, Args)]
pub(crate) struct FrameServerArgs {
    /// Bytes of a frame, its head included
    #[arg(long, default_value_t = 1024)]
    pub(crate) frame_bytes: usize,
    /// Frames per second to every socket
    #[arg(long, default_value_t = 10)]
    pub(crate) per_second: u32,
    /// The subprotocol that it answers with
    #[arg(long, default_value = "scoreboard.v1", hide = true)]
    pub(crate) answer_protocol: String,
}

/// The process, ended with its handle.
#[derive(Debug)]
pub(crate) struct FrameServer {
    child: Child,
    pub(crate) address: String,
}

impl FrameServer {
    /// Starts this program a second time as the floor's server.
    pub(crate) fn start(args: &FrameServerArgs) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Failure::system("this program's own path"))?;
        let mut child = Command::new(program)
            .args(["serve-frames", "--frame-bytes", &args.frame_bytes.to_string()])
            .args(["--per-second", &args.per_second.to_string(), "--answer-protocol", &args.answer_protocol])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Failure::system("the floor's server does not start"))?;
        let address = first_line(&mut child);
        let address = match address {
            Some(address) => address,
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Failure::server("the floor's server", "it told no address"));
            }
        };
        Ok(Self { child, address })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for FrameServer {
    fn drop(&mut self) {
        // An error only says that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first line that a child of ours prints: its address.
pub(crate) fn first_line(child: &mut Child) -> Option<String> {
    use std::io::BufRead as _;
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// A `score:update` of exactly `bytes` bytes as a frame, if that many are enough for it.
fn frame(version: u64, bytes: usize) -> Vec<u8> {
    let text = |padding: usize| {
        json!({"event": "score:update", "data": {
            "board": "floor", "epoch": "floor", "version": version, "leaderboard": [], "padding": "x".repeat(padding),
        }})
        .to_string()
    };
    let bare = text_frame(text(0).as_bytes()).len();
    let mut frame = text_frame(text(bytes.saturating_sub(bare)).as_bytes());
    // The head of a longer frame is longer.
    let excess = frame.len().saturating_sub(bytes.max(bare));
    if excess > 0 {
        frame = text_frame(text(bytes.saturating_sub(bare + excess)).as_bytes());
    }
    frame
}

/// The process: until its standard input ends, as it does with whoever started it.
pub(crate) fn serve(args: &FrameServerArgs) -> Result<(), Failure> {
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).map_err(Failure::system("no port"))?;
    let address = listener.local_addr().map_err(Failure::system("no address"))?;
    println!("http://{address}");
    end_with_standard_input();
    let mut poll = Poll::new().map_err(Failure::system("no event queue"))?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)
        .map_err(Failure::system("the listener cannot be watched"))?;
    let mut server = Loop { listener, poll: &mut poll, sockets: Vec::new(), protocol: &args.answer_protocol };
    let every = Duration::from_secs(1) / args.per_second.max(1);
    let (mut events, mut due, mut version) = (Events::with_capacity(1_024), Instant::now() + every, 0);
    loop {
        let wait = due.saturating_duration_since(Instant::now());
        match server.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(Failure::System { what: "waiting for sockets".to_owned(), source: error });
            }
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER { server.accept() } else { server.greet(event.token().0) }
        }
        if Instant::now() >= due {
            due += every;
            version += 1;
            server.write(&frame(version, args.frame_bytes));
        }
    }
}

/// A server of ours ends with whoever started it.
pub(crate) fn end_with_standard_input() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(0);
    });
}

struct Loop<'a> {
    listener: TcpListener,
    poll: &'a mut Poll,
    /// With whether it has asked; `None` once it has gone.
    sockets: Vec<Option<(TcpStream, bool)>>,
    protocol: &'a str,
}

impl Loop<'_> {
    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let _ = stream.set_nodelay(true);
            let token = Token(self.sockets.len());
            if self.poll.registry().register(&mut stream, token, Interest::READABLE).is_ok() {
                self.sockets.push(Some((stream, false)));
            }
        }
    }

    fn greet(&mut self, index: usize) {
        let Some((stream, asked)) = self.sockets.get_mut(index).and_then(Option::as_mut) else { return };
        let mut request = [0; 2_048];
        loop {
            match stream.read(&mut request) {
                Ok(length) if length > 0 => {
                    if !*asked && request[..length].ends_with(b"\r\n\r\n") {
                        *asked = true;
                        let head = format!(
                            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                             Sec-WebSocket-Protocol: {}\r\n\r\n",
                            self.protocol
                        );
                        if stream.write(head.as_bytes()).is_err() {
                            break;
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => break,
            }
        }
        self.sockets[index] = None;
    }

    fn write(&mut self, frame: &[u8]) {
        for slot in &mut self.sockets {
            let Some((stream, true)) = slot else { continue };
            match stream.write(frame) {
                Ok(length) if length == frame.len() => {}
                // A reader that is too slow misses this one.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Half a frame cannot be followed by another.
                _ => *slot = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_bytes_that_were_asked_for() {
        for bytes in [256, 600, 1_024, 1_025, 4_000] {
            assert_eq!(frame(7, bytes).len(), bytes);
        }
        assert!(frame(7, 1).len() > 1, "as short as it can be");
    }
}
