//! A TCP proxy before a server, on which connections are delayed, cut, refused, held up and lost.
//!
//! Held up and lost are two kinds of partition. What is held up lies where it is and arrives when the partition ends. On
//! what is lost everything vanishes for good, the end of a connection too: it is half open, and neither side is told.
//! Only whoever sends and waits for an answer with a deadline notices.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Pieces that travel at the same time in one direction of a connection: with a delay of a second, 64 MB/s.
const PIECES: usize = 1_024;

/// A proxy at work; dropping it ends every connection.
pub struct Proxy {
    url: String,
    /// The server in URLs: a host, with a port or without.
    named: String,
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// What is the matter with the line.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    frozen: bool,
    losing: bool,
    /// How often losing began: a connection that is older than the last time is lost, also where it took no time.
    losses: u64,
    /// One way.
    delay: Duration,
}

struct Shared {
    server: String,
    line: watch::Sender<Line>,
    cut: broadcast::Sender<()>,
    refusing: AtomicBool,
    connections: AtomicUsize,
    /// Bytes that every client hears from the server.
    said: broadcast::Sender<Vec<u8>>,
}

impl Proxy {
    /// Before the server that a URL names.
    ///
    /// # Panics
    /// When there is no host in the URL, or no port to listen on.
    pub async fn before(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let named = authority.rsplit('@').next().filter(|host| !host.is_empty()).expect("a host");
        let server = if named.contains(':') { named.to_owned() } else { format!("{named}:{}", usual_port(scheme)) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server,
            line: watch::Sender::new(Line::default()),
            cut: broadcast::Sender::new(1),
            refusing: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            said: broadcast::Sender::new(16),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { url: url.to_owned(), named: named.to_owned(), port, shared, accepting }
    }

    /// The server's URL by way of the proxy.
    #[must_use]
    pub fn url(&self) -> String {
        self.on_the_way_to(&self.url)
    }

    /// Another URL of the same server by way of the proxy.
    #[must_use]
    pub fn on_the_way_to(&self, url: &str) -> String {
        url.replacen(&self.named, &format!("127.0.0.1:{}", self.port), 1)
    }

    /// Where the proxy listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends every connection.
    pub fn cut(&self) {
        // An error says that there are none.
        let _ = self.shared.cut.send(());
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::SeqCst);
    }

    /// Whether everything lies where it is, both ways, to arrive later.
    pub fn freeze(&self, frozen: bool) {
        self.shared.line.send_modify(|line| line.frozen = frozen);
    }

    /// Whether everything vanishes, both ways. Connections on which anything could vanish stay lost for ever; those that
    /// are made afterwards are sound.
    pub fn lose(&self, losing: bool) {
        self.shared.line.send_modify(|line| {
            line.losing = losing;
            line.losses += u64::from(losing);
        });
    }

    /// How much longer a round trip takes.
    pub fn delay(&self, round_trip: Duration) {
        self.shared.line.send_modify(|line| line.delay = round_trip / 2);
    }

    /// Connections that clients have open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Tells every client these bytes in the server's name. Only while nothing else travels: they must not fall into the
    /// middle of something.
    ///
    /// # Panics
    /// When there is no client.
    pub fn say(&self, bytes: &[u8]) {
        self.shared.said.send(bytes.to_owned()).expect("a client");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

fn usual_port(scheme: &str) -> u16 {
    match scheme {
        "amqp" => 5672,
        "redis" => 6379,
        _ => 5432,
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if shared.refusing.load(Ordering::SeqCst) {
            continue;
        }
        let shared = Arc::clone(&shared);
        let mut cut = shared.cut.subscribe();
        tokio::spawn(async move {
            shared.connections.fetch_add(1, Ordering::SeqCst);
            tokio::select! {
                _ = cut.recv() => {}
                // An error is the end of a connection, as is everything else.
                _ = relay(client, &shared) => {}
            }
            shared.connections.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn relay(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut line = shared.line.subscribe();
    let Line { losing, losses, .. } = *line.borrow_and_update();
    if losing {
        swallow(&mut client).await;
        return Ok(());
    }
    let mut server = TcpStream::connect(&shared.server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let carried = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let mut said = shared.said.subscribe();
        let up = carry(from_client, to_server, shared.line.subscribe(), None);
        let down = carry(from_server, to_client, shared.line.subscribe(), Some(&mut said));
        tokio::select! {
            biased;
            _ = line.wait_for(|line| line.losses > losses) => None,
            carried = async { tokio::try_join!(up, down) } => Some(carried),
        }
    };
    match carried {
        Some(carried) => carried.map(drop),
        None => {
            // Each end is open until its own side has given it up.
            tokio::join!(swallow(&mut client), swallow(&mut server));
            Ok(())
        }
    }
}

async fn swallow(stream: &mut TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}

/// One direction, until it ends.
async fn carry(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut line: watch::Receiver<Line>,
    mut said: Option<&mut broadcast::Receiver<Vec<u8>>>,
) -> io::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let taking = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let count @ 1.. = from.read(&mut buffer).await? {
            if sender.send((Instant::now(), buffer[..count].to_vec())).await.is_err() {
                break;
            }
        }
        Ok::<(), io::Error>(())
    };
    let giving = async move {
        loop {
            let injected = async {
                match &mut said {
                    Some(said) => said.recv().await.expect("the proxy lives"),
                    None => std::future::pending().await,
                }
            };
            let piece = tokio::select! {
                piece = pieces.recv() => piece,
                bytes = injected => Some((Instant::now(), bytes)),
            };
            if let Some((taken, _)) = &piece {
                let delay = line.borrow().delay;
                sleep_until(*taken + delay).await;
            }
            line.wait_for(|line| !line.frozen).await.expect("the proxy lives");
            match piece {
                Some((_, bytes)) => to.write_all(&bytes).await?,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    };
    tokio::try_join!(taking, giving).map(|((), ())| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting::{SOON, eventually, within};

    /// A server that says what it hears, and a proxy before it.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("echo://somebody@{}/path", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        Proxy::before(&url).await
    }

    async fn connected(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap()
    }

    async fn echoed(stream: &mut TcpStream) -> io::Result<[u8; 4]> {
        stream.write_all(b"ping").await?;
        let mut heard = [0; 4];
        stream.read_exact(&mut heard).await?;
        Ok(heard)
    }

    #[tokio::test]
    async fn carries_and_delays() {
        let proxy = echo().await;
        assert_eq!(proxy.url(), format!("echo://somebody@127.0.0.1:{}/path", proxy.port()));
        let mut stream = connected(&proxy).await;
        assert_eq!(&echoed(&mut stream).await.unwrap(), b"ping");
        proxy.delay(Duration::from_millis(100));
        let began = Instant::now();
        assert_eq!(&echoed(&mut stream).await.unwrap(), b"ping");
        assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn what_is_cut_ends_and_what_is_refused_does_not_begin() {
        let proxy = echo().await;
        let mut stream = connected(&proxy).await;
        echoed(&mut stream).await.unwrap();
        proxy.refuse(true);
        proxy.cut();
        within(SOON, "the end", echoed(&mut stream)).await.expect_err("cut");
        eventually(SOON, "nobody to be connected", async || proxy.connections() == 0).await;
        within(SOON, "the end", echoed(&mut connected(&proxy).await)).await.expect_err("refused");
    }

    #[tokio::test]
    async fn what_is_held_up_arrives_later() {
        let proxy = echo().await;
        let mut stream = connected(&proxy).await;
        echoed(&mut stream).await.unwrap();
        proxy.freeze(true);
        let silence = tokio::time::timeout(Duration::from_millis(100), echoed(&mut stream)).await;
        assert!(silence.is_err(), "{silence:?}");
        proxy.freeze(false);
        let mut heard = [0; 4];
        within(SOON, "what was held up", stream.read_exact(&mut heard)).await.unwrap();
        assert_eq!(&heard, b"ping");
    }

    #[tokio::test]
    async fn what_is_lost_stays_lost_and_nobody_is_told() {
        let proxy = echo().await;
        let mut stream = connected(&proxy).await;
        echoed(&mut stream).await.unwrap();
        proxy.lose(true);
        let mut meanwhile = connected(&proxy).await;
        for stream in [&mut stream, &mut meanwhile] {
            let silence = tokio::time::timeout(Duration::from_millis(100), echoed(stream)).await;
            assert!(silence.is_err(), "{silence:?}");
        }
        proxy.lose(false);
        for stream in [&mut stream, &mut meanwhile] {
            let silence = tokio::time::timeout(Duration::from_millis(100), echoed(stream)).await;
            assert!(silence.is_err(), "half open for ever: {silence:?}");
        }
        let mut afterwards = connected(&proxy).await;
        assert_eq!(&within(SOON, "an echo", echoed(&mut afterwards)).await.unwrap(), b"ping");
    }
}
