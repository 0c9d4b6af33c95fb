//! Rate limits by the generic cell rate algorithm (GCRA, ITU-T I.371): one number per bucket, exact to the microsecond. The
//! whole quota may come at once; after that one request passes per `period / limit`, so that a period which begins with
//! a rested bucket sees at most `2 × limit - 1`, and every later one `limit`.
//!
//! Pure: the memory limiter and the Redis script are both held to [`decide`].

use std::time::Duration;

/// So many requests per period; all of them may come at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// What is counted, as clients read it in `RateLimit` and `details.limit`.
    pub name: &'static str,
    /// Requests per period; 0 = no limit.
    pub limit: u32,
    /// The period.
    pub period: Duration,
}

impl Quota {
    /// Whether it limits anything.
    #[must_use]
    pub const fn is_limited(&self) -> bool {
        self.limit > 0
    }

    /// Microseconds that one request takes up.
    #[must_use]
    pub fn interval_us(&self) -> i64 {
        self.period_us() / i64::from(self.limit.max(1))
    }

    /// The period in microseconds.
    #[must_use]
    pub fn period_us(&self) -> i64 {
        i64::try_from(self.period.as_micros()).unwrap_or(i64::MAX / 4)
    }
}

/// Whether a request passes, and what is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowance {
    /// Which quota.
    pub quota: Quota,
    /// Whether the request passes.
    pub allowed: bool,
    /// Requests that would pass right after this one.
    pub remaining: u32,
    /// How long until one passes; zero when this one did.
    pub retry_after: Duration,
    /// How long until the whole quota is there again.
    pub reset_after: Duration,
}

impl Allowance {
    /// Whole seconds, rounded up, at least 1: the honest `Retry-After`.
    #[must_use]
    pub fn retry_after_s(&self) -> u64 {
        whole_seconds(self.retry_after).max(1)
    }

    /// Whole seconds, rounded up.
    #[must_use]
    pub fn reset_after_s(&self) -> u64 {
        whole_seconds(self.reset_after)
    }
}

fn whole_seconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// One request at `now_us` (microseconds of any clock) against a bucket whose theoretical arrival time is `arrival_us`
/// (`None`: a bucket that nobody used). Returns the allowance and, when the request passes, the new arrival time.
#[must_use]
pub fn decide(quota: Quota, arrival_us: Option<i64>, now_us: i64) -> (Allowance, Option<i64>) {
    let (interval, period) = (quota.interval_us(), quota.period_us());
    let arrival = arrival_us.map_or(now_us, |arrival| arrival.max(now_us));
    let next = arrival.saturating_add(interval);
    let ahead = next - now_us;
    let allowed = ahead <= period;
    let used = if allowed { ahead } else { arrival - now_us };
    let allowance = Allowance {
        quota,
        allowed,
        remaining: u32::try_from((period - used).max(0) / interval.max(1)).unwrap_or(u32::MAX),
        retry_after: micros(if allowed { 0 } else { ahead - period }),
        reset_after: micros(used),
    };
    (allowance, allowed.then_some(next))
}

fn micros(us: i64) -> Duration {
    Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_A_MINUTE: Quota = Quota { name: "user-updates", limit: 10, period: Duration::from_secs(60) };

    #[test]
    fn ten_at_once_then_one_every_six_seconds() {
        let mut arrival = None;
        for left in (0..10).rev() {
            let (allowance, next) = decide(TEN_A_MINUTE, arrival, 0);
            assert!(allowance.allowed);
            assert_eq!(allowance.remaining, left);
            arrival = next;
        }
        let (refused, next) = decide(TEN_A_MINUTE, arrival, 0);
        assert!(!refused.allowed && next.is_none());
        assert_eq!((refused.retry_after_s(), refused.reset_after_s(), refused.remaining), (6, 60, 0));
        // The wait is honest: one microsecond less is too early.
        assert!(!decide(TEN_A_MINUTE, arrival, 5_999_999).0.allowed);
        assert!(decide(TEN_A_MINUTE, arrival, 6_000_000).0.allowed);
    }

    #[test]
    fn a_refusal_costs_nothing() {
        let full = (0..10).fold(None, |arrival, _| decide(TEN_A_MINUTE, arrival, 0).1.or(arrival));
        let hammered = (0..1000).fold(full, |arrival, _| decide(TEN_A_MINUTE, arrival, 1).1.or(arrival));
        assert_eq!(full, hammered);
    }
}
