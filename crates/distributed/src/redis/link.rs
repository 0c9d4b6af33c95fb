//! The way to Redis: few connections that many share, every exchange bounded.
//!
//! Commands of many tasks travel pipelined over a multiplexed connection, so that an exchange is one round trip (a pool
//! would ask each connection whether it lives before each use). A connection that failed or kept silent is thrown away,
//! and the next exchange makes a new one.
//!
//! A thread that runs its tasks by itself, as those of an HTTP server do, has a connection of its own: commands and answers
//! would otherwise wake another thread each, and a busy one would hold up all the others.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use common::ports::StoreError;
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, Pipeline, RedisError, ScriptInvocation, ServerErrorKind,
};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use runtime::mailbox::runtime_of_this_thread;
use tokio::time::{Instant, timeout_at};

use super::metrics::Metrics;
use super::{SETTING, STORE};

/// How long exchanges fail at once after a connection could not be made.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_millis(100);

/// Where Redis is and how patient we are with it. Its `Debug` does not show the URL, which may hold a password.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://user:password@host:port/database`.
    pub url: String,
    /// How long one exchange may take, connecting included.
    pub call_timeout: Duration,
    /// How long a page of a fill may take: it carries thousands of rows.
    pub fill_timeout: Duration,
    /// How long a connection attempt may take; it goes on while the exchanges that wait for it give up.
    pub connect_timeout: Duration,
}

impl RedisSettings {
    /// The usual patience: 250 ms for an exchange, 2 s for a page of a fill, 1 s for a connection.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            call_timeout: Duration::from_millis(250),
            fill_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(1),
        }
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("call_timeout", &self.call_timeout)
            .field("fill_timeout", &self.fill_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

/// The setting is not a URL that the driver can read.
#[derive(Debug, thiserror::Error)]
#[error("{SETTING} is not a Redis URL such as redis://user:password@host:6379/0")]
pub struct RedisUrlError(#[source] RedisError);

/// An exchange with Redis failed. Whether the server did what was asked is unknown.
#[derive(Debug, thiserror::Error)]
pub enum RedisFailure {
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    NoAnswer(Duration),
    /// A connection was refused a moment ago; nothing was tried.
    #[error("could not be reached a moment ago")]
    Away,
    /// No connection could be made.
    #[error("cannot be reached")]
    Unreachable(#[source] Arc<RedisError>),
    /// The connection broke, or the server answered with an error.
    #[error("the exchange failed")]
    Exchange(#[source] RedisError),
}

impl From<RedisFailure> for StoreError {
    fn from(failure: RedisFailure) -> Self {
        Self::Unavailable { store: STORE, source: failure.into() }
    }
}

type Attempt = Shared<BoxFuture<'static, Result<MultiplexedConnection, Arc<RedisError>>>>;

/// The shared way to one Redis. Cheap to clone; clones share the connections, which are made when they are first needed.
#[derive(Clone)]
pub struct RedisLink {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    settings: RedisSettings,
    slots: Mutex<HashMap<Home, Slot>>,
    metrics: Metrics,
}

/// Where a connection is driven: on a thread that runs its tasks by itself, or (`None`) wherever a runtime of many threads
/// finds it best.
type Home = Option<ThreadId>;

/// Where the calling task runs.
fn home() -> Home {
    runtime_of_this_thread().map(|_| thread::current().id())
}

#[derive(Default)]
struct Slot {
    /// The connection or the attempt to make one, under a number that tells it from later ones.
    current: Option<(u64, Attempt)>,
    /// When the newest attempt began.
    tried_at: Option<Instant>,
    made: u64,
    refused_at: Option<Instant>,
}

impl RedisLink {
    /// A link that connects when it is first used: services start without their Redis.
    ///
    /// # Errors
    /// [`RedisUrlError`] when the URL is malformed.
    pub fn new(settings: RedisSettings) -> Result<Self, RedisUrlError> {
        let client = Client::open(settings.url.as_str()).map_err(RedisUrlError)?;
        let inner = Inner { client, settings, slots: Mutex::default(), metrics: Metrics::new() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How patient it is.
    #[must_use]
    pub fn settings(&self) -> &RedisSettings {
        &self.inner.settings
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Calls a script, which is sent in full only when the server does not know it.
    pub(super) async fn invoke<T: FromRedisValue + Send>(
        &self,
        operation: &'static str,
        limit: Duration,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, RedisFailure> {
        let call =
            |mut connection: MultiplexedConnection| async move { invocation.invoke_async(&mut connection).await };
        self.exchange(operation, limit, call).await
    }

    /// Sends commands together and reads their answers.
    pub(super) async fn query<T: FromRedisValue + Send>(
        &self,
        operation: &'static str,
        limit: Duration,
        pipeline: &Pipeline,
    ) -> Result<T, RedisFailure> {
        let call = |mut connection: MultiplexedConnection| async move { pipeline.query_async(&mut connection).await };
        self.exchange(operation, limit, call).await
    }

    /// One exchange, bounded by `limit`. Everything that is sent to Redis may arrive twice without harm, so that what
    /// failed on a connection that had died unnoticed is sent once more on a new one.
    async fn exchange<T, F, Fut>(&self, operation: &'static str, limit: Duration, call: F) -> Result<T, RedisFailure>
    where
        F: Fn(MultiplexedConnection) -> Fut,
        Fut: Future<Output = Result<T, RedisError>>,
    {
        let start = Instant::now();
        let deadline = start + limit;
        let mut result = self.once(deadline, limit, &call).await;
        if let Err(RedisFailure::Exchange(error)) = &result
            && error.is_connection_dropped()
        {
            result = self.once(deadline, limit, &call).await;
        }
        self.inner.metrics.exchanged(operation, result.is_ok(), start.elapsed());
        result
    }

    async fn once<T, F, Fut>(&self, deadline: Instant, limit: Duration, call: &F) -> Result<T, RedisFailure>
    where
        F: Fn(MultiplexedConnection) -> Fut,
        Fut: Future<Output = Result<T, RedisError>>,
    {
        let (number, attempt) = self.attempt()?;
        let connection = match timeout_at(deadline, attempt).await {
            // Others may still be waiting for it, and the next exchange goes on waiting.
            Err(_) => return Err(RedisFailure::NoAnswer(limit)),
            Ok(Err(error)) => {
                self.forget(number, true);
                return Err(RedisFailure::Unreachable(error));
            }
            Ok(Ok(connection)) => connection,
        };
        match timeout_at(deadline, call(connection)).await {
            Err(_) => {
                // It may be half open: nothing but a new one can tell.
                self.forget(number, false);
                Err(RedisFailure::NoAnswer(limit))
            }
            Ok(result) => result.map_err(|error| {
                if spoils_connection(&error) {
                    self.forget(number, false);
                }
                RedisFailure::Exchange(error)
            }),
        }
    }

    /// The connection or the attempt that is under way; else a new one.
    fn attempt(&self) -> Result<(u64, Attempt), RedisFailure> {
        let mut slots = self.inner.slots.lock();
        let slot = slots.entry(home()).or_default();
        // An attempt goes on only while somebody waits for it: one that was left alone longer than it may take has
        // nothing to say about now.
        let abandoned = slot.tried_at.is_some_and(|at| at.elapsed() > self.inner.settings.connect_timeout);
        if let Some((number, attempt)) = &slot.current
            && (attempt.peek().is_some() || !abandoned)
        {
            return Ok((*number, attempt.clone()));
        }
        if slot.refused_at.is_some_and(|at| at.elapsed() < PAUSE_AFTER_REFUSAL) {
            return Err(RedisFailure::Away);
        }
        let (client, settings) = (self.inner.client.clone(), &self.inner.settings);
        // Answers are waited for by `timeout_at` only, so that pages of a fill may take longer.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(None);
        let connect =
            async move { client.get_multiplexed_async_connection_with_config(&config).await.map_err(Arc::new) };
        let attempt = connect.boxed().shared();
        slot.made += 1;
        slot.current = Some((slot.made, attempt.clone()));
        slot.tried_at = Some(Instant::now());
        Ok((slot.made, attempt))
    }

    /// Gives a connection up, unless somebody else did and a newer one is there.
    fn forget(&self, number: u64, refused: bool) {
        let mut slots = self.inner.slots.lock();
        let slot = slots.entry(home()).or_default();
        if slot.current.as_ref().is_some_and(|current| current.0 == number) {
            slot.current = None;
            slot.refused_at = refused.then(Instant::now);
        }
    }
}

/// Whether a connection that gave this error must not be used again: it is broken, or leads to a server that lost its
/// part (the name behind the URL may lead to another one by now).
fn spoils_connection(error: &RedisError) -> bool {
    let demoted = ErrorKind::Server(ServerErrorKind::ReadOnly) == error.kind()
        || ErrorKind::Server(ServerErrorKind::MasterDown) == error.kind();
    demoted || error.is_io_error() || error.is_unrecoverable_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_url_names_the_setting_and_no_password_is_shown() {
        let settings = RedisSettings::new("redis://u:geheim@h:notaport/0");
        let error = RedisLink::new(settings.clone()).err().expect("not a URL");
        let words = runtime::exit::causes(&error);
        assert!(words.contains("SCOREBOARD__REDIS__URL") && !words.contains("geheim"), "{words}");
        assert!(!format!("{settings:?}").contains("geheim"));
    }

    #[tokio::test]
    async fn a_thread_that_runs_its_tasks_by_itself_has_a_home_of_its_own() {
        let here = home();
        assert_eq!(here, Some(thread::current().id()));
        assert_eq!(tokio::spawn(async { home() }).await.unwrap(), here);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn tasks_of_a_runtime_of_many_threads_share_one() {
        assert_eq!(home(), None);
        assert_eq!(tokio::spawn(async { home() }).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_refused_connection_is_not_tried_again_at_once() {
        // Nobody listens on a port that was just given back.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let link = RedisLink::new(RedisSettings::new(format!("redis://127.0.0.1:{port}"))).unwrap();
        let mut ping = deadpool_redis::redis::pipe();
        ping.cmd("PING").ignore();
        let limit = link.settings().call_timeout;
        let first = link.query::<()>("ping", limit, &ping).await;
        assert!(matches!(first, Err(RedisFailure::Unreachable(_))), "{first:?}");
        let second = link.query::<()>("ping", limit, &ping).await;
        assert!(matches!(second, Err(RedisFailure::Away)), "{second:?}");
    }
}
