//! How often a group's sockets are given something.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The widest interval: a change must be visible within a second.
const WIDEST: Duration = Duration::from_millis(500);

/// Widens the interval by itself, so that giving everybody a frame never takes more than half of it.
pub(crate) struct Pace {
    tick: Duration,
    /// The longest that a thread took since the last frame, microseconds.
    newest_us: AtomicU64,
    /// The longest that a thread took lately, microseconds.
    lately_us: AtomicU64,
}

impl Pace {
    /// Never quicker than one frame per `tick`.
    pub(crate) const fn new(tick: Duration) -> Self {
        Self { tick, newest_us: AtomicU64::new(0), lately_us: AtomicU64::new(0) }
    }

    /// A thread has asked all of its sockets, which took so long.
    pub(crate) fn swept(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.newest_us.fetch_max(us, Ordering::Relaxed);
    }

    /// How long to wait after the frame that is given now: wider at once, narrower bit by bit.
    pub(crate) fn next(&self) -> Duration {
        let newest = self.newest_us.swap(0, Ordering::Relaxed);
        let lately = self.lately_us.load(Ordering::Relaxed);
        let took = newest.max(lately - lately / 8);
        self.lately_us.store(took, Ordering::Relaxed);
        Duration::from_micros(took.saturating_mul(2)).min(WIDEST).max(self.tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_tick_never_takes_more_than_half_of_its_interval() {
        let pace = Pace::new(MS(50));
        assert_eq!(pace.next(), MS(50));
        for took in [10, 80, 30] {
            pace.swept(MS(took));
        }
        assert_eq!(pace.next(), MS(160), "as the slowest thread needs");
        pace.swept(MS(10_000));
        assert_eq!(pace.next(), MS(500), "a change must be visible within a second");
    }

    #[test]
    fn the_interval_narrows_again_bit_by_bit() {
        let pace = Pace::new(MS(50));
        pace.swept(MS(100));
        let mut last = pace.next();
        for _ in 0..20 {
            pace.swept(MS(1));
            let next = pace.next();
            assert!(next <= last);
            last = next;
        }
        assert_eq!(last, MS(50));
    }
}
