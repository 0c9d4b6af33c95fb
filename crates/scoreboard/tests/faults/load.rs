//! Players who play at a rate and repeat what was not promised, with the key that they sent before; and whether what they
//! were promised is in the truth once and on every projection. The rate does not wait for answers: what a fault delays is
//! offered all the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use testkit::waiting::eventually;
use tokio::task::{JoinHandle, JoinSet};

use crate::client::{Client, Player};
use crate::deployment::Deployment;

/// What the contract allows for an answer, and something for a machine that does everything at once.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Actions of one player that may be under way: above it the rate waits for answers, so that an outage ends in no flood.
const AT_ONCE: usize = 12;

/// Nobody waits longer than this before the next try, whatever the answer says.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Points by user.
type Points = BTreeMap<String, i64>;

#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    offered: AtomicU64,
    promised: AtomicU64,
    pending: AtomicU64,
    refused: AtomicU64,
    unanswered: AtomicU64,
    /// Of answers without a promise.
    slowest_refusal: Mutex<Duration>,
    latencies_ms: Mutex<Vec<u64>>,
    points: Mutex<Points>,
    /// When the last promise was given.
    last_promise: Mutex<Option<Instant>>,
}

/// Players at play.
pub(crate) struct Load {
    seen: Arc<Seen>,
    players: Vec<JoinHandle<()>>,
    began: Instant,
}

impl Load {
    /// So many players, together so many actions a second.
    pub(crate) async fn start(deployment: &Deployment, players: usize, per_second: u32) -> Self {
        let mut joined = Vec::new();
        for n in 0..players {
            joined.push(deployment.api.join(&format!("player-{n}")).await);
        }
        let seen = Arc::new(Seen::default());
        let pause = Duration::from_secs(1) * u32::try_from(players).unwrap() / per_second;
        let play = |player: Player| tokio::spawn(play(deployment.api.clone(), player, pause, Arc::clone(&seen)));
        let players = joined.into_iter().map(play).collect();
        Self { seen, players, began: Instant::now() }
    }

    /// Promises so far.
    pub(crate) fn promised(&self) -> u64 {
        self.seen.promised.load(Ordering::SeqCst)
    }

    /// When the last promise was given.
    pub(crate) fn last_promise(&self) -> Option<Instant> {
        *self.seen.last_promise.lock()
    }

    /// Waits for a promise that is given from now on.
    pub(crate) async fn promised_again(&self, within: Duration, what: &str) {
        let since = Instant::now();
        eventually(within, what, async || self.last_promise().is_some_and(|at| at > since)).await;
    }

    /// Everybody ends the action in hand.
    pub(crate) async fn stop(self, title: &str) -> Promised {
        let Self { seen, players, began } = self;
        let played = began.elapsed();
        seen.stop.store(true, Ordering::SeqCst);
        for player in players {
            tokio::time::timeout(Duration::from_secs(60), player).await.expect("a player ends").unwrap();
        }
        let mut latencies = std::mem::take(&mut *seen.latencies_ms.lock());
        latencies.sort_unstable();
        let at = |share: usize| latencies.get(latencies.len() * share / 100).copied().unwrap_or(0);
        let of = |count: &AtomicU64| count.load(Ordering::SeqCst);
        let slowest = *seen.slowest_refusal.lock();
        let slowest_promise = latencies.last().copied().unwrap_or(0);
        eprintln!(
            "{title}: {} offered in {:.1} s ({:.0}/s), all promised ({} of them 202), {} refused (slowest {} ms), \
             {} unanswered; promises p50 {} ms, p99 {} ms, slowest {slowest_promise} ms",
            of(&seen.offered),
            played.as_secs_f64(),
            of(&seen.offered) as f64 / played.as_secs_f64(),
            of(&seen.pending),
            of(&seen.refused),
            slowest.as_millis(),
            of(&seen.unanswered),
            at(50),
            at(99),
        );
        assert_eq!(of(&seen.offered), of(&seen.promised), "everybody plays until the promise");
        Promised {
            actions: of(&seen.promised),
            refused: of(&seen.refused),
            slowest_answer: slowest.max(Duration::from_millis(slowest_promise)),
            points: std::mem::take(&mut *seen.points.lock()),
        }
    }
}

async fn play(api: Client, player: Player, pause: Duration, seen: Arc<Seen>) {
    let player = Arc::new(player);
    let mut under_way = JoinSet::new();
    let mut next = Instant::now();
    for n in 0_u32.. {
        if seen.stop.load(Ordering::SeqCst) {
            break;
        }
        seen.offered.fetch_add(1, Ordering::SeqCst);
        under_way.spawn(act(api.clone(), Arc::clone(&player), n, Arc::clone(&seen)));
        while let Some(ended) = under_way.try_join_next() {
            ended.unwrap();
        }
        if under_way.len() >= AT_ONCE {
            under_way.join_next().await.expect("some are under way").unwrap();
        }
        next += pause;
        tokio::time::sleep_until(next.into()).await;
        // Who fell behind in an outage does not catch up in one burst.
        next = next.max(Instant::now());
    }
    while let Some(ended) = under_way.join_next().await {
        ended.unwrap();
    }
}

/// Sends an action until it is promised.
async fn act(api: Client, player: Arc<Player>, n: u32, seen: Arc<Seen>) {
    let (action, points) = (format!("a-{n}"), i64::from(n % 40) + 1);
    let bearer = player.bearer();
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", action.as_str())];
    loop {
        let began = Instant::now();
        let mut pause = LONGEST_PAUSE / 2;
        match api.try_post("/api/v1/score/update", &player.signed(&action, points), &headers).await {
            Ok(answer) if matches!(answer.status, 200 | 202) => {
                seen.promised.fetch_add(1, Ordering::SeqCst);
                seen.pending.fetch_add(u64::from(answer.status == 202), Ordering::SeqCst);
                seen.latencies_ms.lock().push(u64::try_from(began.elapsed().as_millis()).unwrap());
                *seen.points.lock().entry(player.id.clone()).or_default() += points;
                *seen.last_promise.lock() = Some(Instant::now());
                return;
            }
            Ok(answer) => {
                assert!(matches!(answer.status, 503 | 409), "{} {}", answer.status, answer.body);
                let seconds: u64 = answer.header("retry-after").parse().expect("a refusal says when to come back");
                pause = Duration::from_secs(seconds).min(LONGEST_PAUSE);
                seen.refused.fetch_add(1, Ordering::SeqCst);
                let mut slowest = seen.slowest_refusal.lock();
                *slowest = began.elapsed().max(*slowest);
            }
            Err(_) => {
                seen.unanswered.fetch_add(1, Ordering::SeqCst);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// What players were promised.
pub(crate) struct Promised {
    pub(crate) actions: u64,
    pub(crate) refused: u64,
    pub(crate) slowest_answer: Duration,
    points: Points,
}

const LEDGER: &str =
    "SELECT user_id, sum(points)::bigint FROM actions WHERE board = 'global' AND version IS NOT NULL GROUP BY user_id";
const SCORES: &str = "SELECT user_id, score FROM scores WHERE board = 'global'";

impl Promised {
    /// No answer, with a promise or without, took longer than the contract allows.
    pub(crate) fn was_answered_in_time(&self) {
        assert!(self.slowest_answer < ANSWER_LIMIT, "an answer took {:?}", self.slowest_answer);
    }

    /// Within so long the ledger, the scores and Redis hold exactly what was promised, each action once, and `verify`
    /// says so.
    pub(crate) async fn is_in_the_truth(&self, deployment: &Deployment, within: Duration) {
        let place = deployment.place.as_ref().expect("on servers");
        let operator = place.operator().await;
        let sums = async |statement: &str| -> Points {
            let rows = operator.query(statement, &[]).await.expect("rows");
            rows.iter().map(|row| (row.get::<_, uuid::Uuid>(0).to_string(), row.get::<_, i64>(1))).collect()
        };
        let began = Instant::now();
        eventually(within, "ledger, scores and Redis to hold what was promised", async || {
            let user = |member: &str| member.split_once(':').expect("version and user").1.to_owned();
            let redis: Points =
                place.redis_ranks("global").await.iter().map(|(name, score)| (user(name), *score)).collect();
            for (name, found) in [("ledger", sums(LEDGER).await), ("scores", sums(SCORES).await), ("Redis", redis)] {
                if found != self.points {
                    let total = |points: &Points| points.values().sum::<i64>();
                    return Err(format!("{name}: {} points, promised {}", total(&found), total(&self.points)));
                }
            }
            Ok(())
        })
        .await;
        eprintln!("    all sums equal after {} ms", began.elapsed().as_millis());
        let row = operator.query_one("SELECT count(*) FROM actions WHERE version IS NOT NULL", &[]).await.unwrap();
        assert_eq!(u64::try_from(row.get::<_, i64>(0)).unwrap(), self.actions, "each promised action once");
        let (exit, told) = deployment.operate(&["verify"]);
        assert_eq!(exit, Some(0), "{told}");
    }
}
