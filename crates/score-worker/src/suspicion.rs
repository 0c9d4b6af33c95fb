//! Who gains points far faster than the others: the bound above which an action is held for a review.
//!
//! For each board a sliding window holds what every player gained in it. Gains differ by factors (one plays twice as
//! often, another scores three times as much), so they are compared by their logarithms: the bound is where the robust
//! z-score `(ln gain - median) / spread` reaches the threshold, with the median and the spread (1.4826 times the
//! median absolute deviation) of all players who gained anything in the window. The score rises with the gain, so the
//! bound is one number of points for each board, worked out once a second, and the transaction only compares.
//!
//! Fed by what this worker commits and, every quarter of a window and at the start, by what the ledger tells of all
//! workers. A bound needs no more precision than that: what is late is late for everybody. The decision itself is made
//! in the ledger's transaction, where redelivered work finds its row before it is judged again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use common::clock::{Clock, Timestamp};
use common::decision::{BoardWatch, Watch};
use common::ids::{BoardId, UserId};
use common::ports::{AppliedBatch, Gain, Ledger};
use common::receipt::Outcome;
use common::score_update::ScoreUpdate;
use parking_lot::Mutex;
use runtime::backoff::Backoff;
use runtime::exit::causes;
use tokio_util::sync::CancellationToken;

use crate::announcer::holds;
use crate::settings::SuspicionSettings;

/// The steps in which a window slides.
const SLOTS_PER_WINDOW: i64 = 12;

/// The smallest spread that is believed in: where everybody gains the same, a little more is no suspicion. By it no
/// bound is less than `exp(0.6 * threshold)` times the median: 15 times at the default.
const MIN_SPREAD: f64 = 0.6;

/// Makes the median absolute deviation comparable to a standard deviation.
const MAD_TO_SIGMA: f64 = 1.4826;

/// How long a bound is used.
const BOUND_LIFE_MS: i64 = 1_000;

/// Transactions of other workers that were decided so long ago are committed.
const COMMIT_LAG_MS: i64 = 2_000;

/// How often the ledger is read, so that every worker knows of every gain.
const READS_PER_WINDOW: u32 = 4;

/// How long reading the ledger may take.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// What players gained on a board lately.
#[derive(Default)]
struct Window {
    /// By the start of the slot, milliseconds since the Unix epoch.
    slots: BTreeMap<i64, HashMap<UserId, i64>>,
    /// The sums over the slots; more than zero.
    totals: HashMap<UserId, i64>,
    /// When the bound was worked out, and the bound; none for too few players.
    bound: Option<(Timestamp, Option<i64>)>,
}

impl Window {
    fn add(&mut self, slot: i64, user: UserId, points: i64) {
        for sum in [self.slots.entry(slot).or_default().entry(user), self.totals.entry(user)] {
            let sum = sum.or_default();
            *sum = sum.saturating_add(points);
        }
    }

    /// Forgets the slots that ended at `end` or before.
    fn forget(&mut self, end: i64, slot_ms: i64) {
        while let Some(oldest) = self.slots.first_entry().filter(|slot| slot.key() + slot_ms <= end) {
            for (user, points) in oldest.remove() {
                if let Some(total) = self.totals.get_mut(&user) {
                    *total -= points;
                    if *total <= 0 {
                        self.totals.remove(&user);
                    }
                }
            }
        }
    }
}

/// An own commit that the ledger may not have told yet.
struct Own {
    at: Timestamp,
    board: BoardId,
    user: UserId,
    points: i64,
}

#[derive(Default)]
struct Windows {
    boards: HashMap<BoardId, Window>,
    /// What this worker committed since the ledger was last read, oldest first.
    own: VecDeque<Own>,
}

/// The windows of all boards. Bounded by what is applied in a window.
pub(crate) struct Suspicion {
    settings: SuspicionSettings,
    windows: Mutex<Windows>,
}

impl Suspicion {
    pub(crate) fn new(settings: SuspicionSettings) -> Self {
        Self { settings, windows: Mutex::default() }
    }

    fn is_off(&self) -> bool {
        self.settings.threshold <= 0.0
    }

    fn window_ms(&self) -> i64 {
        i64::try_from(self.settings.window.as_millis()).unwrap_or(i64::MAX).max(SLOTS_PER_WINDOW)
    }

    fn slot_ms(&self) -> i64 {
        self.window_ms() / SLOTS_PER_WINDOW
    }

    fn slot_of(&self, at: Timestamp) -> i64 {
        at.as_millis().div_euclid(self.slot_ms()) * self.slot_ms()
    }

    /// The bounds for a batch, with what its users gained so far.
    pub(crate) fn watch(&self, updates: &[ScoreUpdate], now: Timestamp) -> Watch {
        let mut watch = Watch::default();
        if self.is_off() {
            return watch;
        }
        let (end, slot_ms) = (now.as_millis().saturating_sub(self.window_ms()), self.slot_ms());
        let mut windows = self.windows.lock();
        for update in updates.iter().filter(|update| update.points > 0) {
            let Some(window) = windows.boards.get_mut(&update.board) else { continue };
            if !watch.boards.contains_key(&update.board) {
                window.forget(end, slot_ms);
                let Some(limit) = self.bound(window, now) else { continue };
                watch.boards.insert(update.board.clone(), BoardWatch { limit, gained: HashMap::new() });
            }
            if let (Some(board), Some(total)) = (watch.boards.get_mut(&update.board), window.totals.get(&update.user)) {
                board.gained.insert(update.user, *total);
            }
        }
        watch
    }

    fn bound(&self, window: &mut Window, now: Timestamp) -> Option<i64> {
        let fresh = |at: Timestamp| (0..BOUND_LIFE_MS).contains(&now.millis_since(at));
        if let Some((_, bound)) = window.bound.filter(|(at, _)| fresh(*at)) {
            return bound;
        }
        let bound = bound_of(window.totals.values().copied(), &self.settings);
        window.bound = Some((now, bound));
        bound
    }

    /// Takes a committed batch into account: what it moved, not what it found moved already.
    pub(crate) fn committed(&self, updates: &[ScoreUpdate], applied: &AppliedBatch) {
        if self.is_off() {
            return;
        }
        let mut windows = self.windows.lock();
        for (update, outcome) in updates.iter().zip(&applied.outcomes) {
            let Outcome::Applied { receipt, replayed: false } = outcome else { continue };
            let (Some(version), Some(at)) = (receipt.version, receipt.decided_at) else { continue };
            let moved = applied.changes.iter().any(|change| holds(change, &receipt.board, version));
            if moved && receipt.points > 0 {
                let own = Own { at, board: receipt.board.clone(), user: update.user, points: receipt.points };
                windows.add(&own, self.slot_of(at));
                windows.own.push_back(own);
            }
        }
    }

    /// Takes over what the ledger tells of the window up to `until`; of what came after it, what this worker did.
    fn read(&self, gains: Vec<Gain>, until: Timestamp) {
        let mut read = Windows::default();
        for Gain { board, user, slot, points } in gains {
            read.boards.entry(board).or_default().add(slot.as_millis(), user, points);
        }
        let mut windows = self.windows.lock();
        read.own = std::mem::take(&mut windows.own).into_iter().filter(|own| own.at > until).collect();
        for own in std::mem::take(&mut read.own) {
            read.add(&own, self.slot_of(own.at));
            read.own.push_back(own);
        }
        *windows = read;
    }

    /// Follows the ledger until `stop`.
    pub(crate) async fn run(&self, ledger: &dyn Ledger, clock: &dyn Clock, stop: &CancellationToken) {
        if self.is_off() {
            return;
        }
        let mut backoff = Backoff::reconnect();
        loop {
            let until = clock.now().plus_millis(-COMMIT_LAG_MS);
            let after = until.plus_millis(-self.window_ms());
            let reading = tokio::time::timeout(READ_LIMIT, ledger.gains(after, until, self.slot_ms()));
            let wait = match reading.await {
                Ok(Ok(gains)) => {
                    self.read(gains, until);
                    backoff.reset();
                    self.settings.window / READS_PER_WINDOW
                }
                failed => {
                    let error = failed.map_or_else(
                        |_| "no answer in time".to_owned(),
                        |read| read.err().map_or_else(String::new, |error| causes(&error)),
                    );
                    tracing::warn!(error, "gains cannot be read; only this worker's own count until they can");
                    backoff.next_wait()
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

impl Windows {
    fn add(&mut self, own: &Own, slot: i64) {
        self.boards.entry(own.board.clone()).or_default().add(slot, own.user, own.points);
    }
}

/// The most points that a player may gain in a window. `None`: too few players to compare with.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // a bound needs no more than 53 bits
fn bound_of(gains: impl Iterator<Item = i64>, settings: &SuspicionSettings) -> Option<i64> {
    let mut logs: Vec<f64> = gains.filter(|gain| *gain > 0).map(|gain| (gain as f64).ln()).collect();
    if logs.is_empty() || logs.len() < settings.min_players {
        return None;
    }
    let median = median_of(&mut logs);
    let mut deviations: Vec<f64> = logs.iter().map(|log| (log - median).abs()).collect();
    let spread = (MAD_TO_SIGMA * median_of(&mut deviations)).max(MIN_SPREAD);
    Some((median + settings.threshold * spread).exp().floor() as i64)
}

/// The upper median; reorders.
fn median_of(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
mod tests;
