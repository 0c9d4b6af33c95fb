//! Updates that this gateway promised and nobody has decided yet: how old the oldest of them is.
//!
//! The broker tells how many messages wait, but neither how old they are nor what a worker holds. Whether an update was
//! decided stands in the truth; so samples of what was answered with 202 are kept, and the truth is asked about the oldest
//! of them while there is one: a stopped worker ages what it holds, an answer that was lost ages nothing, and with nothing
//! left to decide the age is zero. Updates are decided about in the order of their acceptance, so a sample that was decided
//! says that the ones before it were (but for some that wait to be tried again).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use common::clock::{Clock, Timestamp};
use common::ids::{ActionId, BoardId, UserId};
use common::ports::Truth;
use common::score_update::ScoreUpdate;
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often the truth is asked, and how long it may take.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Between two samples: how exact an age is.
const SPACING_MS: i64 = 100;

/// Ten minutes of samples, about 2 MB. With so many, the oldest is what counts.
const MAX_SAMPLES: usize = 6_000;

/// As long as a pending receipt is remembered. What has no outcome then is a dead letter that has no receipt.
const FORGOTTEN_AFTER_MS: i64 = 60 * 60 * 1_000;

struct Sample {
    accepted_at: Timestamp,
    user: UserId,
    board: BoardId,
    action: ActionId,
}

/// Samples in the order of their acceptance, oldest first.
pub(crate) struct Undecided {
    truth: Arc<dyn Truth>,
    clock: Arc<dyn Clock>,
    samples: Mutex<VecDeque<Arc<Sample>>>,
}

impl Undecided {
    pub(crate) fn new(truth: Arc<dyn Truth>, clock: Arc<dyn Clock>) -> Self {
        Self { truth, clock, samples: Mutex::default() }
    }

    /// An update was promised and is not decided.
    pub(crate) fn add(&self, update: &ScoreUpdate) {
        let mut samples = self.samples.lock();
        let too_close = |last: &Arc<Sample>| update.accepted_at.millis_since(last.accepted_at) < SPACING_MS;
        if samples.len() >= MAX_SAMPLES || samples.back().is_some_and(too_close) {
            return;
        }
        samples.push_back(Arc::new(Sample {
            accepted_at: update.accepted_at,
            user: update.user,
            board: update.board.clone(),
            action: update.action_id.clone(),
        }));
    }

    /// How long the oldest has waited.
    pub(crate) fn age(&self) -> Duration {
        let oldest = self.samples.lock().front().map(|sample| sample.accepted_at);
        let millis = oldest.map_or(0, |accepted_at| self.clock.now().millis_since(accepted_at));
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// Asks the truth what was decided, for as long as its future lives.
    pub(crate) async fn run(&self) {
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            self.look().await;
        }
    }

    async fn look(&self) {
        let waiting: Vec<Arc<Sample>> = self.samples.lock().iter().cloned().collect();
        let (mut decided, mut end) = (0, waiting.len());
        while decided < end {
            // The oldest first: while nothing is decided, that is the only question.
            let asked = if decided == 0 && end == waiting.len() { 0 } else { decided + (end - decided) / 2 };
            match self.is_decided(&waiting[asked]).await {
                Some(true) => decided = asked + 1,
                Some(false) => end = asked,
                // Nobody knows: what waits goes on ageing.
                None => break,
            }
        }
        let now = self.clock.now();
        let mut samples = self.samples.lock();
        // Only this task takes samples out, so the first ones are still those that were asked about.
        samples.drain(..decided);
        while samples.front().is_some_and(|first| now.millis_since(first.accepted_at) > FORGOTTEN_AFTER_MS) {
            samples.pop_front();
        }
    }

    /// Any row of the ledger is a decision, that of an action which is held for a review as well.
    async fn is_decided(&self, sample: &Sample) -> Option<bool> {
        let asked = self.truth.receipt(sample.user, &sample.board, &sample.action);
        match timeout(LOOK_INTERVAL, asked).await {
            Ok(Ok(receipt)) => Some(receipt.is_some()),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use common::ports::Ledger as _;
    use embedded::Embedded;
    use testkit::clock::ManualClock;
    use testkit::fixtures::{noon, players, update};

    use super::*;

    /// So many updates of a new player, accepted so many milliseconds apart from noon on.
    async fn accepted(embedded: &Embedded, count: usize, apart_ms: i64) -> Vec<ScoreUpdate> {
        let user = players(&*embedded.store, 1).await[0].user;
        let at = |n: usize| noon().plus_millis(apart_ms * i64::try_from(n).unwrap());
        let one = |n: usize| ScoreUpdate { accepted_at: at(n), ..update(user, &format!("a{n}")).build() };
        (0..count).map(one).collect()
    }

    #[tokio::test]
    async fn the_age_is_that_of_the_oldest_that_nobody_has_decided() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
        let embedded = Embedded::open(dir.path(), Arc::new(clock.clone())).unwrap();
        let undecided = Undecided::new(embedded.store.clone(), Arc::new(clock.clone()));
        assert_eq!(undecided.age(), Duration::ZERO, "nothing waits");
        let updates = accepted(&embedded, 20, 1_000).await;
        updates.iter().for_each(|update| undecided.add(update));
        clock.set(noon().plus_millis(20_000));
        undecided.look().await;
        assert_eq!(undecided.age(), Duration::from_secs(20), "nobody decides");
        for decided in 1..=20 {
            embedded.store.apply_batch(&updates[..decided], clock.now()).await.unwrap();
            undecided.look().await;
            assert_eq!(undecided.age(), Duration::from_secs(20 - decided as u64), "{decided} are decided");
        }
        // The truth is away: what waits gets older.
        undecided.add(&accepted(&embedded, 1, 0).await[0]);
        embedded.close().await;
        undecided.look().await;
        assert_eq!(undecided.age(), Duration::from_secs(20));
        clock.set(noon().plus_millis(FORGOTTEN_AFTER_MS + 1));
        undecided.look().await;
        assert_eq!(undecided.age(), Duration::ZERO, "its receipt is unknown by now, too");
    }

    #[tokio::test]
    async fn samples_are_bounded_and_the_oldest_stay() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
        let embedded = Embedded::open(dir.path(), Arc::new(clock.clone())).unwrap();
        let undecided = Undecided::new(embedded.store.clone(), Arc::new(clock.clone()));
        for update in accepted(&embedded, 1_000, 1).await {
            undecided.add(&update);
        }
        assert_eq!(undecided.samples.lock().len(), 10, "one in 100 ms");
        for update in accepted(&embedded, 2 * MAX_SAMPLES, SPACING_MS).await {
            undecided.add(&update);
        }
        assert_eq!(undecided.samples.lock().len(), MAX_SAMPLES);
        clock.set(noon().plus_millis(5_000));
        assert_eq!(undecided.age(), Duration::from_secs(5));
    }
}
