//! A database for one test.

use std::sync::Arc;

use common::board::ActionRule;
use common::ids::BoardId;
use distributed::postgres::{PgSettings, PgStore, migrate};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

const VARIABLE: &str = "SCOREBOARD_TEST_DATABASE_URL";

/// A database of its own, dropped with this value (best effort: a test that is killed leaves it behind).
pub(crate) struct Database {
    /// Where it is.
    pub(crate) url: String,
    name: String,
    server: String,
}

impl Database {
    /// Without a schema.
    ///
    /// # Panics
    /// When no server is named, or it does not answer.
    pub(crate) async fn empty() -> Self {
        let server = std::env::var(VARIABLE).unwrap_or_else(|_| {
            panic!("{VARIABLE} is not set: ./scripts/test sets it, or point it at a PostgreSQL that tests may use")
        });
        let name = format!("scoreboard_test_{}", Uuid::new_v4().simple());
        let client = connect(&server).await;
        // From template0, which nobody is ever connected to.
        client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.expect("a database is made");
        Self { url: with_database(&server, &name), name, server }
    }

    /// With the newest schema.
    pub(crate) async fn migrated() -> Self {
        let database = Self::empty().await;
        migrate(&database.url).await.expect("the schema is made");
        database
    }

    /// The database as services see it.
    pub(crate) fn store(&self) -> PgStore {
        self.store_with(|_| ())
    }

    /// The same with other settings.
    pub(crate) fn store_with(&self, change: impl FnOnce(&mut PgSettings)) -> PgStore {
        let mut settings = PgSettings::new(&self.url, "scoreboard-test");
        change(&mut settings);
        PgStore::new(settings).expect("the URL is well-formed")
    }

    /// The database as an operator sees it.
    pub(crate) async fn operator(&self) -> Client {
        connect(&self.url).await
    }

    /// A new board with rules.
    pub(crate) async fn add_board(&self, board: &BoardId, rules: &[ActionRule]) {
        let client = self.operator().await;
        client.execute("INSERT INTO boards (board, epoch) VALUES ($1, 'e1')", &[&board.as_str()]).await.unwrap();
        for r in rules {
            let (action_type, proof) = (r.action_type.as_str(), r.proof.as_str());
            client
                .execute(
                    "INSERT INTO action_types (board, action_type, proof, min_points, max_points, default_points, daily_cap)
                     VALUES ($1, $2, $3, $4, $5, $6, $7)",
                    &[
                        &board.as_str(),
                        &action_type,
                        &proof,
                        &r.min_points,
                        &r.max_points,
                        &r.default_points,
                        &r.daily_cap,
                    ],
                )
                .await
                .unwrap();
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A thread of its own: drop cannot wait inside the test's runtime.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                let Ok((client, connection)) = tokio_postgres::connect(&server, NoTls).await else { return };
                let connection = tokio::spawn(connection);
                let _ = client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
                drop(client);
                let _ = connection.await;
            });
        });
        let _ = dropping.join();
    }
}

/// A connection of the test's own.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the test's server answers");
    // Ends when the client is dropped.
    tokio::spawn(connection);
    client
}

/// The same server, another database.
fn with_database(url: &str, name: &str) -> String {
    let (base, options) = url.split_once('?').map_or((url, None), |(base, options)| (base, Some(options)));
    let authority = base.find("://").map_or(0, |at| at + 3);
    let end = base[authority..].find('/').map_or(base.len(), |at| authority + at);
    options.map_or_else(|| format!("{}/{name}", &base[..end]), |o| format!("{}/{name}?{o}", &base[..end]))
}

/// A store that shares the database's life.
pub(crate) async fn store() -> (Arc<Database>, PgStore) {
    let database = Arc::new(Database::migrated().await);
    let store = database.store();
    (database, store)
}
