//! Forgets what nobody needs any more, now and then and a little at a time: a store that only grows is full one day.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use common::clock::{Clock, UtcDay};
use common::ports::{Housekeeping, StoreError};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::exit::causes;

/// For so long an expired session is kept, milliseconds: longer than any token of it could live, and for whoever looks into
/// what happened yesterday.
const SESSIONS_KEPT_MS: i64 = 24 * 3_600_000;

/// Today's sums are what caps are about; yesterday's are for workers whose clocks differ at midnight.
const DAYS_KEPT: i32 = 1;

/// How much is done when.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the start to the first round, and between two rounds.
    pub every: Duration,
    /// Rows of one batch.
    pub batch: usize,
    /// Batches of one round; what is left then waits for the next.
    pub batches: usize,
    /// Between two batches.
    pub pause: Duration,
}

impl Default for Pace {
    /// At most 100,000 rows every ten minutes.
    fn default() -> Self {
        Self { every: Duration::from_secs(600), batch: 1_000, batches: 100, pause: Duration::from_millis(50) }
    }
}

/// Forgets expired sessions until `stop`; auth's to run.
///
/// # Errors
/// None: what fails is logged and tried again in the next round.
pub async fn forget_sessions(
    store: Arc<dyn Housekeeping>,
    clock: Arc<dyn Clock>,
    pace: Pace,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let store = &store;
    rounds("sessions", pace, stop, || {
        let before = clock.now().plus_millis(-SESSIONS_KEPT_MS);
        async move { store.forget_sessions(before, pace.batch).await }
    })
    .await;
    Ok(())
}

/// Forgets the daily sums of past days until `stop`; the score-worker's to run.
///
/// # Errors
/// None: what fails is logged and tried again in the next round.
pub async fn forget_daily_sums(
    store: Arc<dyn Housekeeping>,
    clock: Arc<dyn Clock>,
    pace: Pace,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let store = &store;
    rounds("daily_sums", pace, stop, || {
        let before = UtcDay(clock.now().utc_day().0.saturating_sub(DAYS_KEPT));
        async move { store.forget_daily_sums(before, pace.batch).await }
    })
    .await;
    Ok(())
}

async fn rounds<F, Fut>(what: &'static str, pace: Pace, stop: CancellationToken, mut forget: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<usize, StoreError>>,
{
    let forgotten = opentelemetry::global::meter("scoreboard")
        .u64_counter("scoreboard_forgotten_rows")
        .with_description("Rows that nobody needed any more and that were taken away, by what they were")
        .build();
    let work = async {
        loop {
            sleep(pace.every).await;
            round(what, pace, &mut forget, &forgotten).await;
        }
    };
    // Between two batches or within one: a batch is one transaction.
    stop.run_until_cancelled(work).await;
}

async fn round<F, Fut>(what: &'static str, pace: Pace, forget: &mut F, forgotten: &Counter<u64>)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<usize, StoreError>>,
{
    let mut rows = 0;
    for _ in 0..pace.batches {
        match forget().await {
            Ok(batch) => {
                rows += batch;
                forgotten.add(batch as u64, &[KeyValue::new("what", what)]);
                if batch < pace.batch {
                    break;
                }
            }
            Err(error) => {
                tracing::warn!(what, error = %causes(&error), "what nobody needs was not taken away; the next round tries again");
                break;
            }
        }
        sleep(pace.pause).await;
    }
    if rows > 0 {
        tracing::info!(what, rows, "rows that nobody needs any more were taken away");
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use common::clock::Timestamp;
    use parking_lot::Mutex;

    use super::*;

    /// Rows that are left, and what was asked for.
    struct Rows {
        left: Mutex<usize>,
        asked: Mutex<Vec<(i64, usize)>>,
        failures: Mutex<usize>,
    }

    impl Rows {
        fn take(&self, bound: i64, limit: usize) -> Result<usize, StoreError> {
            self.asked.lock().push((bound, limit));
            let mut failures = self.failures.lock();
            if *failures > 0 {
                *failures -= 1;
                return Err(StoreError::Unavailable { store: "test", source: "switched off".into() });
            }
            let mut left = self.left.lock();
            let taken = limit.min(*left);
            *left -= taken;
            Ok(taken)
        }
    }

    #[async_trait]
    impl Housekeeping for Rows {
        async fn forget_sessions(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
            self.take(before.as_millis(), limit)
        }

        async fn forget_daily_sums(&self, before: UtcDay, limit: usize) -> Result<usize, StoreError> {
            self.take(before.0.into(), limit)
        }
    }

    struct Still(Timestamp);

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            self.0
        }
    }

    const QUICK: Pace =
        Pace { every: Duration::from_millis(5), batch: 10, batches: 3, pause: Duration::from_millis(1) };

    async fn until(reached: impl Fn() -> bool) {
        let looking = async {
            while !reached() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), looking).await.expect("it goes on");
    }

    #[tokio::test]
    async fn rows_go_in_batches_round_after_round_whatever_fails_and_it_stops() {
        let store = Arc::new(Rows { left: Mutex::new(75), asked: Mutex::default(), failures: Mutex::new(2) });
        let now = Timestamp::parse_rfc3339("2026-11-20T12:00:00.000Z").unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(forget_sessions(Arc::clone(&store) as _, Arc::new(Still(now)), QUICK, stop.clone()));
        until(|| *store.left.lock() == 0).await;
        stop.cancel();
        assert!(running.await.unwrap().is_ok());
        let asked = store.asked.lock().clone();
        assert!(asked.iter().all(|asked| *asked == (now.as_millis() - SESSIONS_KEPT_MS, 10)), "{asked:?}");
    }

    #[tokio::test]
    async fn todays_sums_and_yesterdays_are_kept() {
        let store = Arc::new(Rows { left: Mutex::new(1), asked: Mutex::default(), failures: Mutex::new(0) });
        let now = Timestamp::parse_rfc3339("2026-11-20T12:00:00.000Z").unwrap();
        let stop = CancellationToken::new();
        let running =
            tokio::spawn(forget_daily_sums(Arc::clone(&store) as _, Arc::new(Still(now)), QUICK, stop.clone()));
        until(|| *store.left.lock() == 0).await;
        stop.cancel();
        assert!(running.await.unwrap().is_ok());
        assert_eq!(store.asked.lock()[0], (i64::from(now.utc_day().0 - 1), 10), "days before yesterday go");
    }
}
