//! What a gateway does when the worker does not keep up: it waits less for decisions, and with too much in the queue it
//! takes no more, before anybody's memory grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use common::ports::Dependency;
use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::connection::RabbitConnection;
use super::error::RabbitError;
use super::metrics::Metrics;

/// How often the broker is asked how much waits.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Whoever is refused is sent away for so long at most, seconds.
const LONGEST_WAIT_S: u64 = 60;

/// Submissions in a row that heard no decision, before the next ones wait less.
const SILENT: u32 = 32;

/// What is waited then.
const SHORT_WAIT: Duration = Duration::from_millis(50);

/// Every so many submissions one waits in full all the same, to hear whether decisions come in time again.
const PROBE_EVERY: u32 = 16;

/// How long to wait for decisions, by how the last ones went.
#[derive(Default)]
pub(super) struct Pace {
    silent: AtomicU32,
}

impl Pace {
    /// What a submission that may wait for `wait` waits now.
    pub(super) fn wait(&self, wait: Duration) -> Duration {
        let silent = self.silent.load(Ordering::Relaxed);
        if silent < SILENT || silent.is_multiple_of(PROBE_EVERY) { wait } else { wait.min(SHORT_WAIT) }
    }

    /// A decision came in time, or not.
    pub(super) fn heard(&self, decided: bool) {
        if decided {
            self.silent.store(0, Ordering::Relaxed);
        } else {
            self.silent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How much waits in the queue of updates, as of a second ago.
pub(super) struct Depth {
    limit: u32,
    messages: AtomicU32,
    /// Until when it is below the limit at the rate of the last looks, seconds.
    wait_s: AtomicU64,
    full: AtomicBool,
}

impl Depth {
    pub(super) const fn new(limit: u32) -> Self {
        Self { limit, messages: AtomicU32::new(0), wait_s: AtomicU64::new(1), full: AtomicBool::new(false) }
    }

    /// # Errors
    /// [`RabbitError::Behind`] while more waits than may.
    pub(super) fn admit(&self) -> Result<(), RabbitError> {
        if !self.full.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(RabbitError::Behind(self.messages.load(Ordering::Relaxed), self.wait_s.load(Ordering::Relaxed)))
    }

    /// A new look.
    fn saw(&self, messages: u32) {
        let before = self.messages.swap(messages, Ordering::Relaxed);
        // Taken again only well below the limit, so that it does not go on and off with every message.
        let reopen = self.limit - self.limit / 10;
        let full = messages >= self.limit || (self.full.load(Ordering::Relaxed) && messages >= reopen);
        let drained = u64::from(before.saturating_sub(messages)) / LOOK_INTERVAL.as_secs();
        let excess = u64::from(messages.saturating_sub(reopen));
        // Nothing drains: nobody knows for how long.
        let wait = excess.checked_div(drained).map_or(LONGEST_WAIT_S / 6, |seconds| seconds + 1);
        self.wait_s.store(wait.min(LONGEST_WAIT_S), Ordering::Relaxed);
        if self.full.swap(full, Ordering::Relaxed) != full {
            if full {
                tracing::warn!(messages, "too much waits in the queue of updates; no more is taken");
            } else {
                tracing::info!(messages, "the queue of updates is short enough; updates are taken again");
            }
        }
    }
}

/// The check `queue_depth`: not ready while more waits than may. It is no fault of the broker's, so it has a name of its
/// own.
pub struct RabbitQueueDepth(Arc<Depth>);

impl RabbitQueueDepth {
    pub(super) const fn new(depth: Arc<Depth>) -> Self {
        Self(depth)
    }
}

#[async_trait]
impl Dependency for RabbitQueueDepth {
    fn name(&self) -> &'static str {
        "queue_depth"
    }

    fn setting(&self) -> &'static str {
        "SCOREBOARD__SUBMIT__MAX_QUEUED"
    }

    async fn check(&self) -> Result<(), String> {
        self.0.admit().map_err(|error| error.to_string())
    }
}

/// Looks at the queue once a second, for as long as its future lives.
pub(super) async fn watch(
    connection: Arc<RabbitConnection>,
    queue: ShortString,
    depth: Arc<Depth>,
    metrics: Arc<Metrics>,
) {
    let mut generation = 0;
    while let Some(session) = connection.session_after(generation).await {
        generation = session.generation();
        let Ok(channel) = session.channel().await else { continue };
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = session.ended() => break,
                _ = look.tick() => {}
            }
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let asked = channel.queue_declare(queue.clone(), passive, FieldTable::default());
            match timeout(LOOK_INTERVAL, asked).await {
                Ok(Ok(declared)) => {
                    depth.saw(declared.message_count());
                    metrics.depth(declared.message_count());
                }
                // The queue is gone: the next session declares it again, also where nobody submits anything.
                Ok(Err(error)) if error.is_amqp_soft_error() => session.fail(&RabbitError::Unroutable),
                // A connection that says nothing is its supervisor's to end.
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn whoever_hears_nothing_waits_less_until_a_decision_comes_in_time() {
        let pace = Pace::default();
        for _ in 0..SILENT {
            assert_eq!(pace.wait(SECOND), SECOND);
            pace.heard(false);
        }
        let mut waits = Vec::new();
        for _ in 0..PROBE_EVERY {
            waits.push(pace.wait(SECOND));
            pace.heard(false);
        }
        assert_eq!(waits.iter().filter(|wait| **wait == SECOND).count(), 1, "one asks whether it goes again");
        assert!(waits.iter().all(|wait| *wait == SECOND || *wait == SHORT_WAIT));
        pace.heard(true);
        assert_eq!(pace.wait(SECOND), SECOND);
    }

    #[test]
    fn a_long_queue_refuses_and_says_when_to_come_back() {
        let depth = Depth::new(1_000);
        depth.saw(999);
        assert!(depth.admit().is_ok());
        depth.saw(3_000);
        assert!(matches!(depth.admit(), Err(RabbitError::Behind(3_000, 10))), "nothing drains: {:?}", depth.admit());
        depth.saw(2_700);
        // 1,800 above the mark at 300 a second.
        assert!(matches!(depth.admit(), Err(RabbitError::Behind(2_700, 7))), "{:?}", depth.admit());
        depth.saw(950);
        assert!(depth.admit().is_err(), "not on and off with every message");
        depth.saw(899);
        assert!(depth.admit().is_ok());
    }
}
