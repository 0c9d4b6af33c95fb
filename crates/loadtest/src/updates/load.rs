//! The load itself: connections that take turns at a common schedule.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::task::LocalSet;

use super::players::Player;
use super::promises::{Promise, Promises};
use super::schedule::{Mix, Schedule};
use crate::failure::Failure;
use crate::http::{Connection, HttpError};
use crate::percentiles::Durations;
use crate::target::Target;
use crate::wall_clock;
use crate::watch::arrivals::AppliedUpdate;
use crate::watch::plan::us;

/// How often an update with a key is repeated before it counts as uncertain.
const MAX_REPEATS: u32 = 60;

/// Between two repeats.
const REPEAT_PAUSE: Duration = Duration::from_millis(250);

const PATH: &str = "/api/v1/score/update";

/// What to send.
#[derive(Clone, Debug)]
pub(crate) struct LoadPlan {
    pub(crate) target: Target,
    pub(crate) players: Arc<[Player]>,
    pub(crate) boards: Vec<String>,
    pub(crate) schedule: Schedule,
    pub(crate) mix: Mix,
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
    /// The longest wait for an answer.
    pub(crate) timeout: Duration,
    /// With an `Idempotency-Key`, and repeated after every failure until an answer tells.
    pub(crate) keys: bool,
    /// Whether each applied update is remembered, to compare with frames.
    pub(crate) remember: bool,
}

/// What everybody sees while it runs.
#[derive(Debug, Default)]
pub(crate) struct LoadState {
    pub(crate) stop: AtomicBool,
    pub(crate) sent: AtomicU64,
    pub(crate) applied: AtomicU64,
    pub(crate) failed: AtomicU64,
    next: AtomicU64,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct LoadResult {
    /// From the intended start to the answer, 200 and 202.
    pub(crate) answered: Durations,
    /// The same, 200 only: the commit comes before the answer.
    pub(crate) committed: Durations,
    /// Answers by status and code; failures by what failed.
    pub(crate) outcomes: BTreeMap<String, u64>,
    pub(crate) promises: Promises,
    pub(crate) updates: Vec<AppliedUpdate>,
    pub(crate) repeats: u64,
    pub(crate) elapsed: Duration,
}

impl LoadResult {
    fn add(&mut self, other: Self) {
        self.answered.add(&other.answered);
        self.committed.add(&other.committed);
        other.outcomes.into_iter().for_each(|(code, count)| *self.outcomes.entry(code).or_default() += count);
        self.promises.add(other.promises);
        self.updates.extend(other.updates);
        self.repeats += other.repeats;
    }
}

#[derive(Deserialize)]
struct Applied {
    version: Option<u64>,
}

#[derive(Deserialize)]
struct Refused {
    error: RefusedError,
}

#[derive(Deserialize)]
struct RefusedError {
    code: String,
}

/// Sends until the plan's duration is over or [`LoadState::stop`] is set. `began` is the zero of remembered times.
pub(crate) async fn run(plan: LoadPlan, state: Arc<LoadState>, began: Instant) -> LoadResult {
    let (plan, started) = (Arc::new(plan), Instant::now());
    let prefix = hex::encode(rand::random::<[u8; 4]>());
    let local = LocalSet::new();
    let workers: Vec<_> = (0..plan.connections)
        .map(|_| {
            let worker = Worker {
                plan: Arc::clone(&plan),
                state: Arc::clone(&state),
                connection: Connection::new(plan.target.clone(), plan.timeout),
                prefix: prefix.clone(),
                began,
                started,
                result: LoadResult::default(),
            };
            local.spawn_local(worker.run())
        })
        .collect();
    let mut all = LoadResult::default();
    local
        .run_until(async {
            for worker in workers {
                // A worker never panics on what a server answers; were it to, its results are missing in the sums.
                if let Ok(result) = worker.await {
                    all.add(result);
                }
            }
        })
        .await;
    all.elapsed = started.elapsed();
    all
}

/// [`run`] on a thread of its own, so that what watches beside it does not delay it.
///
/// # Errors
/// [`Failure::System`] when the machine gives no thread.
pub(crate) fn spawn(plan: LoadPlan, state: Arc<LoadState>, began: Instant) -> Result<JoinHandle<LoadResult>, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::system("no runtime"))?;
    let load = move || runtime.block_on(run(plan, state, began));
    std::thread::Builder::new().name("load".to_owned()).spawn(load).map_err(Failure::system("no thread"))
}

struct Worker {
    plan: Arc<LoadPlan>,
    state: Arc<LoadState>,
    connection: Connection,
    prefix: String,
    began: Instant,
    started: Instant,
    result: LoadResult,
}

impl Worker {
    async fn run(mut self) -> LoadResult {
        while !self.state.stop.load(Relaxed) {
            let n = self.state.next.fetch_add(1, Relaxed);
            let intended = self.plan.schedule.start(n).unwrap_or_else(|| self.started.elapsed());
            if intended >= self.plan.duration {
                break;
            }
            tokio::time::sleep_until((self.started + intended).into()).await;
            if self.state.stop.load(Relaxed) {
                break;
            }
            self.send(n, self.started + intended).await;
        }
        self.result
    }

    async fn send(&mut self, n: u64, intended: Instant) {
        let plan = Arc::clone(&self.plan);
        let turn = plan.mix.turn(n, plan.players.len(), plan.boards.len());
        let action = format!("{}-{n}", self.prefix);
        let promise = Promise { board: turn.board, player: turn.player, action, points: turn.points };
        let request = self.request(&promise);
        self.state.sent.fetch_add(1, Relaxed);
        let mut tries = 0;
        loop {
            let told = match self.connection.exchange(request.as_bytes()).await {
                Ok(answer) => judge(answer.status, answer.body),
                Err(error) => Told::from(error),
            };
            *self.result.outcomes.entry(told.words()).or_default() += 1;
            let again = match told {
                Told::Applied(version) => return self.applied(&promise, version, intended),
                Told::Pending => {
                    self.result.answered.record(us(intended.elapsed()));
                    self.result.promises.pending.push(promise);
                    return;
                }
                Told::AppliedBefore if tries > 0 => return self.applied(&promise, None, intended),
                Told::AppliedBefore | Told::Refused(_) => false,
                Told::NotNow(_) | Told::Lost(_) => true,
            };
            if !again || !plan.keys || tries == MAX_REPEATS || self.state.stop.load(Relaxed) {
                self.state.failed.fetch_add(1, Relaxed);
                if again {
                    self.result.promises.uncertain(&promise);
                }
                return;
            }
            tries += 1;
            self.result.repeats += 1;
            tokio::time::sleep(REPEAT_PAUSE).await;
        }
    }

    fn request(&self, promise: &Promise) -> String {
        let player = &self.plan.players[promise.player];
        let (board, action, points) = (&self.plan.boards[promise.board], &promise.action, promise.points);
        let timestamp = wall_clock::timestamp();
        let signature = player.signer.sign(board, player.user, action, points, &timestamp);
        let body = format!(
            r#"{{"actionId":"{action}","points":{points},"timestamp":"{timestamp}","signature":"{signature}","board":"{board}"}}"#
        );
        let key = if self.plan.keys { format!("Idempotency-Key: {action}\r\n") } else { String::new() };
        let headers = format!("Authorization: Bearer {}\r\n{key}", player.token);
        crate::http::post(&self.plan.target.host, PATH, &headers, &body)
    }

    fn applied(&mut self, promise: &Promise, version: Option<u64>, intended: Instant) {
        let took = us(intended.elapsed());
        self.result.answered.record(took);
        self.result.committed.record(took);
        self.result.promises.applied(promise);
        self.state.applied.fetch_add(1, Relaxed);
        if let Some(version) = version.filter(|_| self.plan.remember) {
            self.result.updates.push(AppliedUpdate {
                user: self.plan.players[promise.player].user,
                version,
                intended_us: us(intended.saturating_duration_since(self.began)),
                answered_us: us(self.began.elapsed()),
            });
        }
    }
}

/// What an answer says about an update.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Applied(Option<u64>),
    Pending,
    /// Applied by an earlier try of the same action.
    AppliedBefore,
    /// Nothing happened, and repeating it changes nothing.
    Refused(String),
    /// Not decided: the same request may be sent again.
    NotNow(String),
    /// No answer.
    Lost(HttpError),
}

impl From<HttpError> for Told {
    fn from(error: HttpError) -> Self {
        Self::Lost(error)
    }
}

impl Told {
    fn words(&self) -> String {
        match self {
            Self::Applied(_) => "200".to_owned(),
            Self::Pending => "202".to_owned(),
            Self::AppliedBefore => "409 duplicate_action".to_owned(),
            Self::Refused(words) | Self::NotNow(words) => words.clone(),
            Self::Lost(error) => error.to_string(),
        }
    }
}

fn judge(status: u16, body: &[u8]) -> Told {
    match status {
        200 => Told::Applied(serde_json::from_slice::<Applied>(body).ok().and_then(|applied| applied.version)),
        202 => Told::Pending,
        _ => {
            let code = serde_json::from_slice::<Refused>(body).map(|refused| refused.error.code).unwrap_or_default();
            let words = format!("{status} {code}");
            match (status, code.as_str()) {
                (409, "duplicate_action") => Told::AppliedBefore,
                (409, "request_in_progress") | (500.., _) => Told::NotNow(words),
                _ => Told::Refused(words),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use uuid::Uuid;

    use super::*;
    use crate::updates::signing::Signer;

    #[test]
    fn answers_are_judged_by_what_they_promise() {
        let refused = |code: &str| format!(r#"{{"error":{{"code":"{code}"}}}}"#).into_bytes();
        assert_eq!(judge(200, br#"{"version":7,"newScore":1}"#), Told::Applied(Some(7)));
        assert_eq!(judge(202, b"{}"), Told::Pending);
        assert_eq!(judge(409, &refused("duplicate_action")), Told::AppliedBefore);
        assert_eq!(judge(409, &refused("request_in_progress")).words(), "409 request_in_progress");
        assert!(matches!(judge(409, &refused("request_in_progress")), Told::NotNow(_)));
        assert!(matches!(judge(503, &refused("unavailable")), Told::NotNow(_)));
        assert_eq!(judge(429, &refused("rate_limited")), Told::Refused("429 rate_limited".to_owned()));
    }

    const APPLIED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"version\":1}";

    /// Answers each request with 200; what `first` does with the very first one comes before.
    async fn server<F: Future<Output = Option<TcpStream>> + Send>(
        first: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move {
            let (mut first, mut request) = (Some(first), [0; 4_096]);
            while let Ok((mut stream, _)) = listener.accept().await {
                while stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                    if let Some(first) = first.take() {
                        match first(stream).await {
                            Some(kept) => stream = kept,
                            None => break,
                        }
                    }
                    stream.write_all(APPLIED).await.unwrap();
                }
            }
        });
        target
    }

    async fn load(target: Target, schedule: Schedule, keys: bool) -> LoadResult {
        let player = Player { user: Uuid::from_u128(1), token: "t".to_owned(), signer: Signer::new(b"k").unwrap() };
        let plan = LoadPlan {
            target,
            players: vec![player].into(),
            boards: vec!["global".to_owned()],
            schedule,
            mix: Mix::Even,
            connections: 1,
            duration: Duration::from_millis(500),
            timeout: Duration::from_secs(5),
            keys,
            remember: true,
        };
        run(plan, Arc::default(), Instant::now()).await
    }

    #[tokio::test]
    async fn a_stall_counts_for_everything_that_was_due_meanwhile() {
        let target = server(|stream| async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            Some(stream)
        })
        .await;
        let result = load(target, Schedule::PerSecond(100.0), false).await;
        let told = result.answered.summary();
        assert_eq!((told.count, result.updates.len()), (50, 50), "every update that was due is sent");
        // Forty were due while the first was not answered: they waited 200 ms in the middle, though each was answered
        // at once when it was sent.
        assert!(told.p50_ms > 100.0, "{told:?}");
    }

    #[tokio::test]
    async fn a_lost_answer_is_asked_for_again_with_the_same_key_and_counts_once() {
        let result = load(server(|_| async { None }).await, Schedule::PerSecond(10.0), true).await;
        assert_eq!((result.repeats, result.outcomes["the connection ended"], result.outcomes["200"]), (1, 1, 5));
        assert_eq!(result.promises.committed, 5);
        assert!(result.promises.uncertain.is_empty());
    }

    #[tokio::test]
    async fn without_a_key_a_lost_answer_stays_uncertain() {
        let result = load(server(|_| async { None }).await, Schedule::PerSecond(10.0), false).await;
        assert_eq!((result.promises.committed, result.promises.uncertain.len(), result.repeats), (4, 1, 0));
    }
}
