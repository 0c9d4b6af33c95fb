//! PostgreSQL alone: transactions that add ledger rows and move scores, with the product's indexes, in tables of our own.

use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::try_join_all;
use serde_json::json;
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

use crate::command_line::causes;
use crate::failure::Failure;
use crate::percentiles::Durations;
use crate::progress::Progress;
use crate::report::Report;
use crate::watch::plan::us;

/// Everything of `loadtest floor postgres`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PostgresArgs {
    /// The database
    #[arg(long, env = "SCOREBOARD__DATABASE__URL")]
    pub(crate) database_url: String,
    /// Rows of a transaction
    #[arg(long, default_value_t = 100)]
    pub(crate) batch: usize,
    /// Connections that commit at once
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: usize,
    /// Players whose scores move
    #[arg(long, default_value_t = 10_000)]
    pub(crate) players: u32,
    /// Seconds
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u64,
    /// No progress line
    #[arg(long)]
    pub(crate) quiet: bool,
}

const LEDGER: &str = "INSERT INTO ledger (user_id, submission, board, action_id, points, version) \
    SELECT user_id, submission, 'floor', action_id, 1, version \
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[]) AS new (user_id, submission, action_id, version)";

const SCORES: &str = "INSERT INTO scores AS held (board, user_id, score, version) \
    SELECT 'floor', user_id, 1, version FROM unnest($1::uuid[], $2::bigint[]) AS new (user_id, version) \
    ON CONFLICT (board, user_id) DO UPDATE SET score = held.score + 1, version = excluded.version";

fn tables(schema: &str) -> String {
    format!(
        "CREATE SCHEMA {schema};
         CREATE TABLE {schema}.ledger (
             user_id uuid NOT NULL, submission uuid NOT NULL, board text COLLATE \"C\" NOT NULL,
             action_id text COLLATE \"C\" NOT NULL, points bigint NOT NULL, version bigint NOT NULL,
             decided_at timestamptz NOT NULL DEFAULT now(), UNIQUE (user_id, submission)
         );
         CREATE UNIQUE INDEX ON {schema}.ledger (user_id, board, action_id);
         CREATE TABLE {schema}.scores (
             board text COLLATE \"C\" NOT NULL, user_id uuid NOT NULL, score bigint NOT NULL, version bigint NOT NULL,
             PRIMARY KEY (board, user_id)
         ) WITH (fillfactor = 80);
         CREATE INDEX ON {schema}.scores (board, score DESC, version);
         CREATE UNIQUE INDEX ON {schema}.scores (board, version);"
    )
}

pub(crate) async fn command(args: PostgresArgs) -> Result<Report, Failure> {
    let (rows, durations, elapsed) = measure(&args).await?;
    let (batch, connections) = (args.batch, args.connections);
    let mut report = Report::new(format!("floor: PostgreSQL, {connections} connection(s), batches of {batch}"));
    let rate = rows as f64 / elapsed.as_secs_f64();
    report.line("rowsPerSecond", "committed (ledger row + score)", format!("{rows}, {rate:.0}/s"), rate);
    let summary = durations.summary();
    report.line("commitMs", "transaction", summary.in_words(), json!(summary));
    Ok(report)
}

/// How many rows were committed, each transaction, and the time of all.
///
/// # Errors
/// [`Failure::Server`]
pub(crate) async fn measure(args: &PostgresArgs) -> Result<(u64, Durations, Duration), Failure> {
    let told = |error: tokio_postgres::Error| Failure::server("PostgreSQL", causes(&error));
    let schema = format!("loadtest_floor_{}", hex::encode(rand::random::<[u8; 4]>()));
    let owner = connect(&args.database_url).await.map_err(told)?;
    owner.batch_execute(&tables(&schema)).await.map_err(told)?;
    let committers = (0..args.connections.max(1)).map(|number| commit(args, &schema, number));
    let began = Instant::now();
    let committed = try_join_all(committers).await;
    let elapsed = began.elapsed();
    // Whatever came before: the schema is nobody's but ours.
    let dropped = owner.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await;
    let (mut rows, mut durations) = (0, Durations::default());
    for (count, took) in committed.map_err(told)? {
        rows += count;
        durations.add(&took);
    }
    dropped.map_err(told)?;
    Ok((rows, durations, elapsed))
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // It ends with its client.
    tokio::spawn(connection);
    Ok(client)
}

async fn commit(args: &PostgresArgs, schema: &str, number: usize) -> Result<(u64, Durations), tokio_postgres::Error> {
    let mut client = connect(&args.database_url).await?;
    client.batch_execute(&format!("SET search_path = {schema}")).await?;
    let (ledger, scores) = (client.prepare(LEDGER).await?, client.prepare(SCORES).await?);
    let (began, limit) = (Instant::now(), Duration::from_secs(args.seconds));
    let (mut rows, mut durations, mut progress) = (0, Durations::default(), Progress::new(args.quiet || number > 0));
    // Connections do not meet: each has its own players and versions.
    let (mut version, own) = ((number as i64) << 40, u128::from(args.players.max(1)));
    while began.elapsed() < limit {
        let started = Instant::now();
        let batch: Vec<i64> = (0..args.batch.max(1))
            .map(|_| {
                version += 1;
                version
            })
            .collect();
        let user = |version: &i64| Uuid::from_u128(((number as u128) << 96) | (version.unsigned_abs() as u128 % own));
        write(&mut client, &ledger, &scores, &batch, user).await?;
        rows += batch.len() as u64;
        durations.record(us(started.elapsed()));
        progress.tell(&format!("{rows} rows committed on the first connection"));
    }
    Ok((rows, durations))
}

async fn write(
    client: &mut Client,
    ledger: &Statement,
    scores: &Statement,
    versions: &[i64],
    user: impl Fn(&i64) -> Uuid,
) -> Result<(), tokio_postgres::Error> {
    let users: Vec<Uuid> = versions.iter().map(user).collect();
    let submissions: Vec<Uuid> = versions.iter().map(|_| Uuid::now_v7()).collect();
    let actions: Vec<String> = versions.iter().map(|version| format!("a-{version}")).collect();
    let transaction = client.transaction().await?;
    transaction.execute(ledger, &[&users, &submissions, &actions, &versions]).await?;
    // One row for a player: a batch is smaller than their number, or its last one wins.
    let newest: std::collections::BTreeMap<Uuid, i64> = users.iter().copied().zip(versions.iter().copied()).collect();
    let (users, versions): (Vec<Uuid>, Vec<i64>) = newest.into_iter().unzip();
    transaction.execute(scores, &[&users, &versions]).await?;
    transaction.commit().await
}
