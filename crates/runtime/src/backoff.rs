//! Waits between repeats: growing, capped, jittered.

use std::time::Duration;

/// Doubles from `first` to `cap`; each wait is drawn from the upper half of its step, so that clients of one
/// server that fell over do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `first`, never waits longer than `cap`.
    #[must_use]
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, next: first }
    }

    /// For connections: 50 ms to 1 s.
    #[must_use]
    pub const fn reconnect() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(1))
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.cap);
        step.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Something worked: start small again.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_cap_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(80));
        let waits: Vec<_> = (0..8).map(|_| backoff.next_wait()).collect();
        assert!(waits.iter().all(|w| *w <= Duration::from_millis(80)));
        assert!(waits[7] >= Duration::from_millis(40));
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(10));
    }

    #[test]
    fn a_connection_is_tried_again_within_a_second_however_often_it_failed() {
        let mut backoff = Backoff::reconnect();
        assert!((0..100).all(|_| backoff.next_wait() <= Duration::from_secs(1)));
    }
}
