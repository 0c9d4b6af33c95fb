//! A connection that comes back by itself.
//!
//! One task per [`RabbitConnection`] connects, declares the topology and hands out the [`Session`]; when the session
//! ends, whatever ended it, everything is thrown away and built anew with the next generation. That is all there is to
//! recovery: no channel, consumer or delivery tag outlives its session, and the driver's own recovery (which gives up
//! after 16 tries, and swaps connections under a consumer without telling it) stays off.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::tcp::{AMQPUriTcpExt as _, TLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, Event};
use parking_lot::Mutex;
use runtime::backoff::Backoff;
use tokio::sync::{OnceCell, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::error::RabbitError;
use super::metrics::{Metrics, TOPOLOGY_NOTICED_BY};
use super::settings::RabbitSettings;
use super::topology::{self, Names};

/// How long TCP, TLS, the handshake and the declarations may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the broker may take to open a channel, or to say goodbye.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(2);

/// A session that lived this long was good: the next wait starts small.
const GOOD_LIFE: Duration = Duration::from_secs(5);

/// How often a session is looked at, beside listening to its events.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Where a connection stands.
#[derive(Clone)]
enum State {
    /// Why not, for an operator.
    Down(String),
    Up(Arc<Session>),
}

/// A connection to the broker that is rebuilt when it ends.
pub(super) struct RabbitConnection {
    state: watch::Receiver<State>,
}

/// One life of a connection.
pub(super) struct Session {
    generation: u64,
    connection: Connection,
    broken: CancellationToken,
    reason: OnceLock<String>,
    /// What kind of failure ended it.
    kind: OnceLock<&'static str>,
    unconfirmed: OnceCell<Channel>,
    socket: SocketGuard,
}

/// Ends the socket when dropped. The driver's thread reads until then: it has no other way out of a handshake with
/// a peer that says nothing, or of a close that a blocking broker does not read.
struct SocketGuard(std::net::TcpStream);

impl SocketGuard {
    fn new(stream: &impl AsFd) -> io::Result<Self> {
        let socket = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        // Small frames must not wait for the peer's delayed ACK.
        socket.set_nodelay(true)?;
        Ok(Self(socket))
    }
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl RabbitConnection {
    /// Starts connecting, until `stop`. `role` tells the connections of a process apart.
    pub(super) fn start(
        settings: &RabbitSettings,
        role: &'static str,
        metrics: Arc<Metrics>,
        tasks: &tokio_util::task::TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (sender, state) = watch::channel(State::Down("connecting".to_owned()));
        let supervisor = Supervisor {
            uri: settings.uri.clone(),
            names: Names::new(&settings.name_prefix),
            label: format!("{} {role}", settings.process),
            role,
            metrics,
            state: sender,
            stop,
        };
        tasks.spawn(supervisor.run());
        Self { state }
    }

    /// The session, if work can be given to it now.
    pub(super) fn ready(&self) -> Result<Arc<Session>, RabbitError> {
        match &*self.state.borrow() {
            State::Down(reason) => Err(RabbitError::NotConnected(reason.clone())),
            State::Up(session) if session.broken.is_cancelled() => Err(RabbitError::lost()),
            State::Up(session) if session.is_blocked() => Err(RabbitError::Blocked),
            State::Up(session) => Ok(Arc::clone(session)),
        }
    }

    /// Waits for a session younger than `generation`. `None`: there will be none, the connection is closed.
    pub(super) async fn session_after(&self, generation: u64) -> Option<Arc<Session>> {
        let mut state = self.state.clone();
        let younger = |state: &State| matches!(state, State::Up(session) if session.generation > generation);
        match &*state.wait_for(younger).await.ok()? {
            State::Up(session) => Some(Arc::clone(session)),
            State::Down(_) => None,
        }
    }
}

impl Session {
    /// Counts up with every life of its connection.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// A new channel.
    pub(super) async fn channel(&self) -> Result<Channel, RabbitError> {
        match timeout(EXCHANGE_TIMEOUT, self.connection.create_channel()).await {
            Ok(channel) => Ok(channel?),
            Err(_) => Err(RabbitError::TimedOut(EXCHANGE_TIMEOUT)),
        }
    }

    /// The session's channel for messages that nobody confirms. Any number of tasks may publish on it.
    pub(super) async fn unconfirmed_channel(&self) -> Result<&Channel, RabbitError> {
        self.unconfirmed.get_or_try_init(|| self.channel()).await
    }

    /// Gives the session up: a new one is built.
    pub(super) fn fail(&self, reason: &RabbitError) {
        // The first reason counts; what follows are its consequences.
        let _ = self.reason.set(reason.to_string());
        let _ = self.kind.set(reason.kind());
        self.broken.cancel();
    }

    /// Waits for the session's end.
    pub(super) async fn ended(&self) {
        self.broken.cancelled().await;
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Says goodbye, then ends the socket in any case (when the last user drops the session at the latest).
    async fn close(&self) {
        self.broken.cancel();
        if self.connection.status().connected() && !self.is_blocked() {
            // Nothing can be done about a broker that does not answer a farewell.
            let _ = timeout(EXCHANGE_TIMEOUT, self.connection.close(200, "OK".into())).await;
        }
        let _ = self.socket.0.shutdown(Shutdown::Both);
    }
}

/// Builds sessions, one after the other.
struct Supervisor {
    uri: AMQPUri,
    names: Names,
    /// How the broker's lists name the connection.
    label: String,
    role: &'static str,
    metrics: Arc<Metrics>,
    state: watch::Sender<State>,
    stop: CancellationToken,
}

impl Supervisor {
    async fn run(self) {
        let mut backoff = Backoff::reconnect();
        for generation in 1.. {
            let connecting = tokio::select! {
                () = self.stop.cancelled() => return,
                opened = timeout(CONNECT_TIMEOUT, self.open(generation)) => {
                    opened.unwrap_or(Err(RabbitError::TimedOut(CONNECT_TIMEOUT)))
                }
            };
            match connecting {
                Ok(session) => {
                    let born = Instant::now();
                    self.attend(Arc::new(session)).await;
                    if born.elapsed() >= GOOD_LIFE {
                        backoff.reset();
                    }
                }
                Err(error) => self.report_down(&error.to_string()),
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = sleep(backoff.next_wait()) => {}
            }
        }
    }

    async fn open(&self, generation: u64) -> Result<Session, RabbitError> {
        let (connection, socket) = connect(&self.uri, &self.label).await?;
        let session = Session {
            generation,
            connection,
            broken: CancellationToken::new(),
            reason: OnceLock::new(),
            kind: OnceLock::new(),
            unconfirmed: OnceCell::new(),
            socket,
        };
        topology::declare(&session, &self.names).await?;
        Ok(session)
    }

    /// Hands the session out and stays with it to its end.
    async fn attend(&self, session: Arc<Session>) {
        let mut events = std::pin::pin!(session.connection.events_listener());
        tracing::info!(connection = %self.label, generation = session.generation, "connected to RabbitMQ");
        self.metrics.connected(self.role, true);
        self.state.send_replace(State::Up(Arc::clone(&session)));
        let mut look = interval(WATCH_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = session.ended() => break,
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(reason)) => {
                        tracing::warn!(connection = %self.label, reason, "RabbitMQ takes no messages");
                        self.metrics.blocked(self.role, true);
                    }
                    Some(Event::ConnectionUnblocked) => {
                        tracing::info!(connection = %self.label, "RabbitMQ takes messages again");
                        self.metrics.blocked(self.role, false);
                    }
                    Some(Event::Error(error)) => session.fail(&error.into()),
                    Some(_) => {}
                    None => session.fail(&RabbitError::lost()),
                },
                _ = look.tick() => if !session.connection.status().connected() {
                    session.fail(&RabbitError::lost());
                },
            }
        }
        self.metrics.connected(self.role, false);
        self.metrics.blocked(self.role, false);
        if let Some(kind) = session.kind.get().copied().filter(|kind| TOPOLOGY_NOTICED_BY.contains(kind)) {
            self.metrics.topology_repaired(kind);
        }
        self.report_down(session.reason.get().map_or("closed", String::as_str));
        session.close().await;
    }

    /// Logged once per outage and reason, not once per attempt.
    fn report_down(&self, reason: &str) {
        let news = match &*self.state.borrow() {
            State::Up(_) => true,
            State::Down(before) => before != reason,
        };
        if news && !self.stop.is_cancelled() {
            tracing::warn!(connection = %self.label, error = reason, "not connected to RabbitMQ; trying again");
        }
        self.state.send_replace(State::Down(reason.to_owned()));
    }
}

/// TCP, TLS and the handshake, with the socket kept at hand.
async fn connect(uri: &AMQPUri, label: &str) -> Result<(Connection, SocketGuard), RabbitError> {
    let runtime = lapin::runtime::default_runtime()?;
    let tcp_only = AMQPUri { scheme: AMQPScheme::AMQP, ..uri.clone() };
    let stream =
        tcp_only.connect_with_config_async(TLSConfig::default(), &runtime).await.map_err(lapin::Error::from)?;
    let AsyncTcpStream::Plain(tcp) = &stream else {
        return Err(lapin::Error::from(io::Error::from(io::ErrorKind::Unsupported)).into());
    };
    let socket = SocketGuard::new(tcp.get_ref()).map_err(lapin::Error::from)?;
    let stream = match uri.scheme {
        AMQPScheme::AMQP => stream,
        AMQPScheme::AMQPS => {
            stream.into_tls(&uri.authority.host, TLSConfig::default()).await.map_err(lapin::Error::from)?
        }
    };
    // The driver asks for a stream once for each of its attempts, and makes one.
    let stream = Mutex::new(Some(stream));
    let hand_over = async move |_, _| {
        let stream = stream.lock().take();
        stream.ok_or_else(|| lapin::Error::from(io::Error::from(io::ErrorKind::NotConnected)))
    };
    let properties = ConnectionProperties::default().with_connection_name(label.into());
    let connection = Connection::connector(uri.clone(), runtime, hand_over, properties).await?;
    Ok((connection, socket))
}
