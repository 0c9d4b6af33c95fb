//! A place of its own on the shared servers: a database, a logical database of Redis, names on RabbitMQ.

use std::time::Duration;

use deadpool_redis::redis;
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use testkit::waiting::eventually;
use tokio_postgres::NoTls;
use uuid::Uuid;

/// The logical databases of a Redis with its default settings; 0 belongs to other tests.
const LOGICAL_DATABASES: std::ops::RangeInclusive<u8> = 1..=15;

/// After this the place of a test that was killed is given to others.
const LEASE_S: u64 = 300;

/// Where one deployment keeps everything.
pub(crate) struct Place {
    pub(crate) database_url: String,
    pub(crate) redis_url: String,
    pub(crate) amqp_url: String,
    pub(crate) amqp_prefix: String,
    database: String,
    server_url: String,
    redis_server: String,
    lease: String,
}

/// Where a server is that tests share.
pub(crate) fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: ./scripts/test sets it, or point it at a server that tests may use")
    })
}

impl Place {
    /// A new one; the database does not exist yet.
    pub(crate) async fn new() -> Self {
        let [database, redis, amqp] =
            ["DATABASE", "REDIS", "AMQP"].map(|name| server(&format!("SCOREBOARD_TEST_{name}_URL")));
        Self::at(database, redis, amqp).await
    }

    /// A new one on servers of the test's own.
    pub(crate) async fn at(server_url: String, redis_server: String, amqp_url: String) -> Self {
        let id = Uuid::new_v4().simple().to_string();
        let database = format!("scoreboard_e2e_{id}");
        let (number, lease) = lease_redis(&redis_server, &id).await;
        Self {
            database_url: with_path(&server_url, &database),
            redis_url: with_path(&redis_server, &number.to_string()),
            amqp_url,
            amqp_prefix: format!("e2e-{id}."),
            database,
            server_url,
            redis_server,
            lease,
        }
    }

    /// Creates the database, without a schema.
    pub(crate) async fn create_database(&self) {
        let client = postgres(&self.server_url).await;
        let create = format!("CREATE DATABASE {} TEMPLATE template0", self.database);
        client.batch_execute(&create).await.expect("a database is made");
    }

    /// The database as an operator sees it.
    pub(crate) async fn operator(&self) -> tokio_postgres::Client {
        postgres(&self.database_url).await
    }

    /// Empties our Redis, behind everybody's back.
    pub(crate) async fn flush_redis(&self) {
        ask::<()>(&self.redis_url, redis::cmd("FLUSHDB")).await;
    }

    /// The members of a board's sorted set, best first, with their scores.
    pub(crate) async fn redis_ranks(&self, board: &str) -> Vec<(String, i64)> {
        let mut command = redis::cmd("ZREVRANGE");
        command.arg(format!("leaderboard:{{{board}}}:scores")).arg(0).arg(-1).arg("WITHSCORES");
        ask(&self.redis_url, command).await
    }

    /// Gives everything back. A test that fails leaves its place behind, to be looked at.
    pub(crate) async fn give_back(self) {
        let client = postgres(&self.server_url).await;
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.database);
        client.batch_execute(&drop).await.expect("the database is dropped");
        self.flush_redis().await;
        let mut release = redis::cmd("DEL");
        release.arg(&self.lease);
        ask::<()>(&self.redis_server, release).await;
        let connection = lapin::Connection::connect(&self.amqp_url, lapin::ConnectionProperties::default()).await;
        let channel = connection.expect("the broker answers").create_channel().await.expect("a channel");
        let queues = ["", ".dead", ".retry.1000", ".retry.5000", ".retry.30000", ".retry.120000"];
        for queue in queues.map(|suffix| format!("score.updates{suffix}")) {
            let name = format!("{}{queue}", self.amqp_prefix);
            channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.expect("the queue is deleted");
        }
        let events = format!("{}scoreboard.events", self.amqp_prefix);
        channel
            .exchange_delete(events.into(), ExchangeDeleteOptions::default())
            .await
            .expect("the exchange is deleted");
    }
}

async fn lease_redis(server: &str, id: &str) -> (u8, String) {
    eventually(Duration::from_secs(120), "a logical database of Redis that no other test uses", async || {
        for number in LOGICAL_DATABASES {
            let lease = format!("e2e:lease:{number}");
            let mut take = redis::cmd("SET");
            take.arg(&lease).arg(id).arg("NX").arg("EX").arg(LEASE_S);
            if ask::<Option<String>>(server, take).await.is_some() {
                ask::<()>(&with_path(server, &number.to_string()), redis::cmd("FLUSHDB")).await;
                return Some((number, lease));
            }
        }
        None
    })
    .await
}

async fn ask<T: redis::FromRedisValue>(url: &str, command: redis::Cmd) -> T {
    let client = redis::Client::open(url).expect("a Redis URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
    command.query_async(&mut connection).await.expect("Redis does it")
}

async fn postgres(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("PostgreSQL answers");
    // Ends when the client is dropped.
    tokio::spawn(connection);
    client
}

/// The same server, another database.
fn with_path(url: &str, path: &str) -> String {
    let (head, options) = url.split_once('?').map_or((url, String::new()), |(head, rest)| (head, format!("?{rest}")));
    let (scheme, rest) = head.split_once("://").expect("a URL");
    let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
    format!("{scheme}://{authority}/{path}{options}")
}
