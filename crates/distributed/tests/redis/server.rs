//! The Redis that tests share, and one that a test has to itself.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{self, Client, FromRedisValue};
use distributed::redis::{RedisLink, RedisSettings};
use testkit::waiting::{SOON, eventually};

const VARIABLE: &str = "SCOREBOARD_TEST_REDIS_URL";

/// Where the Redis is that tests share: each works on boards and users of its own, none flushes it.
///
/// # Panics
/// When no server is named.
pub(crate) fn shared_url() -> String {
    std::env::var(VARIABLE).unwrap_or_else(|_| {
        panic!("{VARIABLE} is not set: ./scripts/test sets it, or point it at a Redis that tests may use")
    })
}

/// A link to the shared Redis, patient enough for a machine that is busy with other tests.
pub(crate) fn shared_link() -> RedisLink {
    link_to(&shared_url())
}

fn link_to(url: &str) -> RedisLink {
    let patience = Duration::from_secs(5);
    let settings = RedisSettings { call_timeout: patience, fill_timeout: patience, ..RedisSettings::new(url) };
    RedisLink::new(settings).expect("the URL is well-formed")
}

/// A connection past the adapter.
pub(crate) async fn operator(url: &str) -> MultiplexedConnection {
    let client = Client::open(url).expect("the URL is well-formed");
    eventually(SOON, "redis to answer", || client.get_multiplexed_async_connection()).await
}

/// A command past the adapter.
pub(crate) async fn ask<T: FromRedisValue>(connection: &mut MultiplexedConnection, command: &str) -> T {
    let mut words = command.split(' ');
    let mut cmd = redis::cmd(words.next().expect("a command"));
    words.for_each(|word| _ = cmd.arg(word));
    cmd.query_async(connection).await.unwrap_or_else(|error| panic!("{command}: {error}"))
}

/// A Redis that a test may flush, stop and start; gone with this value.
pub(crate) struct PrivateServer {
    port: u16,
    process: Option<Child>,
    folder: std::path::PathBuf,
}

impl PrivateServer {
    /// One that answers.
    ///
    /// # Panics
    /// When `redis-server` is not installed or does not come up.
    pub(crate) async fn start() -> Self {
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
            let folder = std::env::temp_dir().join(format!("scoreboard-redis-{}-{port}", std::process::id()));
            std::fs::create_dir_all(&folder).expect("a folder");
            let mut server = Self { port, process: None, folder };
            // Somebody else may have taken the port in the meantime.
            if server.run().await {
                return server;
            }
        }
        panic!("no private redis-server came up")
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn link(&self) -> RedisLink {
        link_to(&self.url())
    }

    /// With the patience that services have.
    pub(crate) fn impatient_link(&self) -> RedisLink {
        RedisLink::new(RedisSettings::new(self.url())).expect("the URL is well-formed")
    }

    pub(crate) async fn operator(&self) -> MultiplexedConnection {
        operator(&self.url()).await
    }

    /// Whether it came up.
    async fn run(&mut self) -> bool {
        let (port, folder) = (self.port.to_string(), self.folder.display().to_string());
        let process = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--dir", &folder, "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed (Debian: apt-get install redis-server)");
        let process = self.process.insert(process);
        eventually(SOON, "a private redis-server", || {
            let seen = match process.try_wait().expect("the process is ours") {
                Some(_) => Some(false),
                None => TcpStream::connect(("127.0.0.1", self.port)).is_ok().then_some(true),
            };
            async move { seen }
        })
        .await
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it can be killed");
            process.wait().expect("it ends");
        }
    }

    /// Starts it again, with nothing in memory.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.run().await, "it does not come up again");
    }

    /// Makes it silent: connections are taken by the kernel, nothing is answered.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill(1)").success());
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // A stopped process takes SIGKILL as well.
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
