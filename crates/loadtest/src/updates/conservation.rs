//! The conservation of points: what was promised = what the ledger brought = what the scores hold = what Redis ranks =
//! what everybody is shown.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use deadpool_redis::redis;
use serde_json::Value;
use uuid::Uuid;

use super::players::{self, Player};
use super::promises::{Promises, broken};
use crate::command_line::causes;
use crate::failure::Failure;
use crate::http::Connection;
use crate::report::Report;
use crate::target::Target;

/// A 202 is decided soon, and projections follow: so long at most, else it is told.
const SETTLE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(50);

/// Rows of a sorted set that are read at once.
const PAGE: isize = 10_000;

/// The most differences that are told word by word.
const MAX_TOLD: usize = 5;

/// What is compared.
#[derive(Debug)]
pub(crate) struct Conservation<'a> {
    pub(crate) target: &'a Target,
    pub(crate) players: &'a [Player],
    pub(crate) boards: &'a [String],
    pub(crate) before: &'a BTreeMap<(String, Uuid), i64>,
    pub(crate) database_url: Option<&'a str>,
    pub(crate) redis_url: Option<&'a str>,
}

impl Conservation<'_> {
    /// Waits until everything is decided, then compares everything; what differs is a problem of the report.
    ///
    /// # Errors
    /// [`Failure::Server`] when something cannot be asked.
    pub(crate) async fn check(&self, promises: &mut Promises, report: &mut Report) -> Result<(), Failure> {
        let undecided = self.decide(promises).await?;
        if undecided > 0 {
            report.problem(format!("{undecided} updates were answered with 202 and not decided within 30 s"));
        }
        self.compare_growth(promises, report).await?;
        for board in self.boards {
            let mut held = None;
            if let Some(url) = self.database_url {
                held = Some(compare_ledger(url, board, report).await?);
            }
            if let (Some(url), Some(held)) = (self.redis_url, &held) {
                compare_redis(url, board, held, report).await?;
            }
        }
        Ok(())
    }

    /// Every 202 ends as applied or rejected. How many did not.
    async fn decide(&self, promises: &mut Promises) -> Result<usize, Failure> {
        let mut connection = Connection::new(self.target.clone(), Duration::from_secs(10));
        let deadline = Instant::now() + SETTLE;
        let mut pending = std::mem::take(&mut promises.pending);
        while let Some(promise) = pending.pop() {
            let board = &self.boards[promise.board];
            let path = format!("/api/v1/score/updates/{}?board={board}", promise.action);
            let token = &self.players[promise.player].token;
            loop {
                let receipt = connection.get_json(&path, Some(token)).await;
                match receipt.as_ref().ok().and_then(|receipt| receipt["status"].as_str()) {
                    Some("applied") => promises.applied(&promise),
                    Some("rejected") => {}
                    _ if Instant::now() < deadline => {
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                    _ => {
                        pending.push(promise);
                        return Ok(pending.len());
                    }
                }
                break;
            }
        }
        Ok(0)
    }

    async fn compare_growth(&self, promises: &Promises, report: &mut Report) -> Result<(), Failure> {
        let after = players::scores(self.target, self.players, self.boards).await?;
        let mut grown = BTreeMap::new();
        for (board_at, board) in self.boards.iter().enumerate() {
            for (player_at, player) in self.players.iter().enumerate() {
                let key = (board.clone(), player.user);
                let score = |scores: &BTreeMap<_, i64>| scores.get(&key).copied().unwrap_or(0);
                grown.insert((board_at, player_at), score(&after) - score(self.before));
            }
        }
        let differences = broken(promises, &grown);
        let shown: i64 = grown.values().sum();
        let (promised, uncertain) = (promises.total(), promises.uncertain.values().sum::<i64>());
        let words = format!("{promised} promised (+ {uncertain} whose answer was lost), {shown} on the boards");
        report.line("promisedPoints", "points", words, promised);
        report.only_json("shownPoints", shown);
        differences.iter().take(MAX_TOLD).for_each(|difference| report.problem(difference.as_str()));
        if differences.len() > MAX_TOLD {
            report.problem(format!("… and {} more players", differences.len() - MAX_TOLD));
        }
        Ok(())
    }
}

/// The scores of a board, where the ledger agrees with them; where not, a problem.
async fn compare_ledger(url: &str, board: &str, report: &mut Report) -> Result<HashMap<Uuid, i64>, Failure> {
    let told = |error: tokio_postgres::Error| Failure::server("PostgreSQL", causes(&error));
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.map_err(told)?;
    let driving = tokio::spawn(connection);
    let differing = client
        .query_one(
            "SELECT count(*) FROM (SELECT user_id, sum(points)::bigint AS points FROM actions \
             WHERE board = $1 AND version IS NOT NULL GROUP BY user_id) ledger \
             FULL JOIN (SELECT user_id, score FROM scores WHERE board = $1 AND score IS NOT NULL) shown USING (user_id) \
             WHERE ledger.points IS DISTINCT FROM shown.score",
            &[&board],
        )
        .await
        .map_err(told)?
        .get::<_, i64>(0);
    let rows = client
        .query("SELECT user_id, score FROM scores WHERE board = $1 AND score IS NOT NULL", &[&board])
        .await
        .map_err(told)?;
    drop(client);
    // It ends with its client.
    let _ = driving.await;
    let held: HashMap<Uuid, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    if differing > 0 {
        report.problem(format!("{board}: {differing} players have other scores than the ledger brought them"));
    }
    let sum: i64 = held.values().sum();
    report.line(&format!("ledger:{board}"), "ledger = scores", format!("{} players, {sum} points", held.len()), sum);
    Ok(held)
}

/// Redis follows within [`SETTLE`].
async fn compare_redis(url: &str, board: &str, held: &HashMap<Uuid, i64>, report: &mut Report) -> Result<(), Failure> {
    let told = |error: redis::RedisError| Failure::server("Redis", causes(&error));
    let client = redis::Client::open(url).map_err(told)?;
    let mut connection = client.get_multiplexed_async_connection().await.map_err(told)?;
    let deadline = Instant::now() + SETTLE;
    loop {
        let found = ranked(&mut connection, board).await.map_err(told)?;
        if found == *held {
            report.line(&format!("redis:{board}"), "Redis = scores", "the same players and points", found.len());
            return Ok(());
        }
        if Instant::now() > deadline {
            let missing = held.iter().filter(|(user, score)| found.get(user) != Some(score)).count();
            report.problem(format!("{board}: Redis has {} players, {missing} of them missing or wrong", found.len()));
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ranked(
    connection: &mut redis::aio::MultiplexedConnection,
    board: &str,
) -> redis::RedisResult<HashMap<Uuid, i64>> {
    let key = format!("leaderboard:{{{board}}}:scores");
    let mut found = HashMap::new();
    for start in (0..).step_by(PAGE.unsigned_abs()) {
        let page: Vec<(String, f64)> = redis::cmd("ZRANGE")
            .arg(&key)
            .arg(start)
            .arg(start + PAGE - 1)
            .arg("WITHSCORES")
            .query_async(connection)
            .await?;
        let last = page.len() < PAGE.unsigned_abs();
        for (member, score) in page {
            if let Some(user) = member.split_once(':').and_then(|(_, user)| Uuid::parse_str(user).ok()) {
                // Scores are whole and below 2^53.
                found.insert(user, score as i64);
            }
        }
        if last {
            break;
        }
    }
    Ok(found)
}

/// The rows that a board shows, from the public interface.
///
/// # Errors
/// [`Failure::Server`]
pub(crate) async fn shown(
    target: &Target,
    board: &str,
    limit: usize,
) -> Result<Vec<crate::stream::screen::Row>, Failure> {
    let mut connection = Connection::new(target.clone(), Duration::from_secs(10));
    let path = format!("/api/v1/scoreboard/top?board={board}&limit={limit}");
    let told = |problem: String| Failure::server("the board", problem);
    match connection.get_json(&path, None).await.map_err(told)? {
        Value::Array(lines) => crate::stream::events::rows(&lines).map_err(told),
        other => Err(told(format!("{other} is no list"))),
    }
}
