//! `loadtest fill`: a board with very many players, in seconds. Straight into the truth, which is complete and
//! consistent afterwards (a ledger row for each score); projections fill themselves from it when servers start.

use std::path::PathBuf;

use clap::Args;
use rusqlite::Connection;
use tokio_postgres::NoTls;

use crate::command_line::causes;
use crate::failure::Failure;
use crate::report::Report;

/// Everything of `loadtest fill`.
#[derive(Clone, Debug, Args)]
pub(crate) struct FillArgs {
    /// PostgreSQL, migrated
    #[arg(long, conflicts_with = "sqlite", required_unless_present = "sqlite")]
    database_url: Option<String>,
    /// The SQLite file of an embedded server that does not run
    #[arg(long)]
    sqlite: Option<PathBuf>,
    /// The board
    #[arg(long, default_value = "global")]
    board: String,
    /// Players that are added; nobody can log in as one of them
    #[arg(long, default_value_t = 1_000_000)]
    players: u32,
}

/// Scores are spread over this many values, so that many are alike.
const SCORES: u32 = 100_000;

pub(crate) async fn command(args: FillArgs) -> Result<Report, Failure> {
    let began = std::time::Instant::now();
    match (&args.database_url, &args.sqlite) {
        (Some(url), _) => {
            let told = |error: tokio_postgres::Error| Failure::server("PostgreSQL", causes(&error));
            let (client, connection) = tokio_postgres::connect(url, NoTls).await.map_err(told)?;
            tokio::spawn(connection);
            client.batch_execute(&postgres(&args)).await.map_err(told)?;
        }
        (None, Some(path)) => {
            let told = |error: rusqlite::Error| Failure::server(path.display().to_string(), causes(&error));
            if !path.exists() {
                return Err(Failure::Usage(format!("{} is not there: start the server once", path.display())));
            }
            let connection = Connection::open(path).map_err(told)?;
            connection.execute_batch(&sqlite(&args)).map_err(told)?;
        }
        (None, None) => return Err(Failure::Usage("--database-url or --sqlite is needed".to_owned())),
    }
    let mut report = Report::new(format!("{} players on {}", args.players, args.board));
    report.line(
        "seconds",
        "filled in",
        format!("{:.1} s", began.elapsed().as_secs_f64()),
        began.elapsed().as_secs_f64(),
    );
    Ok(report)
}

/// The board is fixed by its own form: it can be put into a statement.
fn board(args: &FillArgs) -> &str {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if args.board.chars().all(fits) { &args.board } else { "global" }
}

fn postgres(args: &FillArgs) -> String {
    let (board, players) = (board(args), args.players);
    format!(
        "BEGIN;
         CREATE TEMP TABLE filled ON COMMIT DROP AS
             SELECT n, gen_random_uuid() AS user_id, 1 + (n::bigint * 7919) % {SCORES} AS score,
                    (SELECT version FROM boards WHERE board = '{board}') + n AS version
             FROM generate_series(1, {players}) AS n;
         INSERT INTO users (user_id, username, password_hash, created_at)
             SELECT user_id, 'filled-' || left(user_id::text, 8) || '-' || n, '!', now() FROM filled;
         INSERT INTO scores (board, user_id, score, version, updated_at)
             SELECT '{board}', user_id, score, version, now() FROM filled;
         INSERT INTO actions (user_id, submission, board, action_id, action_type, points, proof, content_hash, outcome,
                              version, score_after, accepted_at, decided_at, request_id)
             SELECT user_id, gen_random_uuid(), '{board}', 'filled', 'default', score, 'session',
                    sha256(user_id::text::bytea), 'applied', version, score, now(), now(), 'filled' FROM filled;
         UPDATE boards SET version = version + {players} WHERE board = '{board}';
         COMMIT;
         ANALYZE;"
    )
}

fn sqlite(args: &FillArgs) -> String {
    let (board, players) = (board(args), args.players);
    format!(
        "BEGIN;
         CREATE TEMP TABLE filled AS
             WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {players})
             SELECT n, randomblob(16) AS user, 1 + (n * 7919) % {SCORES} AS score,
                    (SELECT version FROM boards WHERE id = '{board}') + n AS version FROM numbers;
         INSERT INTO users (id, username, username_folded, password_hash, created_at)
             SELECT user, 'filled-' || lower(hex(substr(user, 1, 4))) || '-' || n,
                    'filled-' || lower(hex(substr(user, 1, 4))) || '-' || n, '!', unixepoch() * 1000
             FROM filled ORDER BY user;
         INSERT INTO scores (board, user, score, version, updated_at)
             SELECT '{board}', user, score, version, unixepoch() * 1000 FROM filled ORDER BY user;
         INSERT INTO actions (submission, board, user, action_id, action_type, points, score_after, version, proof,
                              content_hash, outcome, request_id, accepted_at, decided_at)
             SELECT randomblob(16), '{board}', user, 'filled', 'default', score, score, version, 'session',
                    randomblob(32), 'applied', 'filled', unixepoch() * 1000, unixepoch() * 1000 FROM filled;
         UPDATE boards SET version = version + {players} WHERE id = '{board}';
         DROP TABLE filled;
         COMMIT;
         PRAGMA wal_checkpoint(TRUNCATE);"
    )
}
