//! How old what a worker works on is: the head of the queue, as far as it can be seen from here.

use std::time::Duration;

use common::clock::{Clock, Timestamp};
use common::score_update::ScoreUpdate;
use parking_lot::Mutex;

/// After so long without a batch, there is nothing to work on, milliseconds.
const IDLE_AFTER_MS: i64 = 1_000;

/// The newest batch.
#[derive(Clone, Copy)]
struct Newest {
    oldest_accepted_at: Timestamp,
    /// `None` while it is being decided: it ages.
    decided_at: Option<Timestamp>,
}

/// What a worker has in hand, or had just now.
#[derive(Default)]
pub(crate) struct InHand(Mutex<Option<Newest>>);

impl InHand {
    /// A batch was received.
    pub(crate) fn received(&self, updates: &[ScoreUpdate]) {
        let oldest = updates.iter().map(|update| update.accepted_at).min();
        *self.0.lock() = oldest.map(|oldest_accepted_at| Newest { oldest_accepted_at, decided_at: None });
    }

    /// It was decided.
    pub(crate) fn decided(&self, now: Timestamp) {
        if let Some(newest) = &mut *self.0.lock() {
            newest.decided_at = Some(now);
        }
    }

    /// From the acceptance of the oldest update of the batch to now, or to its decision; zero when there is no work.
    pub(crate) fn age(&self, clock: &dyn Clock) -> Duration {
        let Some(newest) = *self.0.lock() else { return Duration::ZERO };
        let now = clock.now();
        let until = match newest.decided_at {
            Some(decided_at) if now.millis_since(decided_at) > IDLE_AFTER_MS => return Duration::ZERO,
            Some(decided_at) => decided_at,
            None => now,
        };
        Duration::from_millis(u64::try_from(until.millis_since(newest.oldest_accepted_at)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use common::ids::UserId;
    use testkit::clock::ManualClock;
    use testkit::fixtures::update;

    use super::*;

    #[test]
    fn what_is_in_hand_ages_and_what_was_decided_is_forgotten() {
        let (clock, in_hand) = (ManualClock::default(), InHand::default());
        let user = UserId(uuid::Uuid::from_u128(1));
        let accepted = |ms: i64| {
            let update = update(user, "a").build();
            ScoreUpdate { accepted_at: clock.now().plus_millis(-ms), ..update }
        };
        let age_ms = || in_hand.age(&clock).as_millis();
        assert_eq!(age_ms(), 0);
        in_hand.received(&[accepted(100), accepted(700), accepted(300)]);
        assert_eq!(age_ms(), 700);
        clock.advance_millis(2_000);
        assert_eq!(age_ms(), 2_700, "a batch that is held ages");
        in_hand.decided(clock.now());
        clock.advance_millis(900);
        assert_eq!(age_ms(), 2_700, "what comes next is about as old");
        clock.advance_millis(200);
        assert_eq!(age_ms(), 0, "nothing came");
    }
}
