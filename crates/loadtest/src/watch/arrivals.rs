//! When a frame reached how many sockets, and from which version it took them. What an update waited for is worked out
//! afterwards: the answer that tells an update's version can come after the frame that shows it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Included};

use uuid::Uuid;

use crate::percentiles::Durations;

/// Arrivals are told apart to this, microseconds.
const BUCKET_US: u64 = 100;

/// How far back an equal entry is looked for; a second entry for the same is only a little memory.
const LOOK_BACK: usize = 8;

/// So many sockets went from a version to the frame's at about the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    from: Option<u64>,
    bucket: u64,
    count: u64,
}

/// The arrivals of one frame.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals {
    version: u64,
    users: Vec<Uuid>,
    groups: Vec<Group>,
    first_us: u64,
    last_us: u64,
    count: u64,
}

impl Arrivals {
    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether its first recipient had it within this time.
    pub(crate) fn began_within(&self, window_us: &std::ops::Range<u64>) -> bool {
        window_us.contains(&self.first_us)
    }

    /// A socket that stood at `from` shows `version` now; `users` gives whom it shows.
    pub(crate) fn arrive(&mut self, from: Option<u64>, version: u64, now_us: u64, users: impl FnOnce() -> Vec<Uuid>) {
        if self.is_empty() {
            (self.version, self.users, self.first_us) = (version, users(), now_us);
        }
        self.last_us = now_us;
        self.count += 1;
        let bucket = now_us / BUCKET_US;
        let known = self.groups.iter_mut().rev().take(LOOK_BACK).find(|g| g.from == from && g.bucket == bucket);
        match known {
            Some(group) => group.count += 1,
            None => self.groups.push(Group { from, bucket, count: 1 }),
        }
    }
}

/// An update that was answered with 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AppliedUpdate {
    pub(crate) user: Uuid,
    pub(crate) version: u64,
    /// When it was meant to start, microseconds.
    pub(crate) intended_us: u64,
    /// When the answer was there.
    pub(crate) answered_us: u64,
}

/// How long updates took to reach sockets.
#[derive(Debug, Default)]
pub(crate) struct UpdateToFrame {
    /// From the intended start.
    pub(crate) since_intended: Durations,
    /// From the answer; a frame that was faster than the answer counts as 0.
    pub(crate) since_answered: Durations,
}

/// One sample for each socket and each update that its frame shows: the update's user is in the list after the frame,
/// and was before it too unless this is the user's newest update in it. (Others changed nothing that is visible, so no
/// frame was due for them.) Updates with an intended start within `window_us` count.
pub(crate) fn update_to_frame(
    arrivals: &[Arrivals],
    updates: &[AppliedUpdate],
    window_us: std::ops::Range<u64>,
) -> UpdateToFrame {
    let by_version: BTreeMap<u64, &AppliedUpdate> = updates.iter().map(|update| (update.version, update)).collect();
    let lists: HashMap<u64, &[Uuid]> = arrivals.iter().map(|frame| (frame.version, frame.users.as_slice())).collect();
    let mut found = UpdateToFrame::default();
    for frame in arrivals {
        for group in &frame.groups {
            let Some(from) = group.from.filter(|from| *from < frame.version) else { continue };
            let before = lists.get(&from);
            for (version, update) in by_version.range((Excluded(from), Included(frame.version))) {
                let newest = || {
                    let later = by_version.range((Excluded(*version), Included(frame.version)));
                    !later.into_iter().any(|(_, later)| later.user == update.user)
                };
                let due = frame.users.contains(&update.user)
                    && (before.is_some_and(|users| users.contains(&update.user)) || newest());
                if !due || !window_us.contains(&update.intended_us) {
                    continue;
                }
                let at = group.bucket * BUCKET_US + BUCKET_US / 2;
                found.since_intended.record_n(at.saturating_sub(update.intended_us), group.count);
                found.since_answered.record_n(at.saturating_sub(update.answered_us), group.count);
            }
        }
    }
    found
}

/// From the first socket that a version reached to the last, for versions that reached at least `sockets`.
pub(crate) fn first_to_last(arrivals: &[Arrivals], sockets: u64) -> Durations {
    let mut ticks: BTreeMap<u64, (u64, u64, u64)> = BTreeMap::new();
    for frame in arrivals {
        let tick = ticks.entry(frame.version).or_insert((u64::MAX, 0, 0));
        *tick = (tick.0.min(frame.first_us), tick.1.max(frame.last_us), tick.2 + frame.count);
    }
    let mut found = Durations::default();
    for (first, last, _) in ticks.values().filter(|(_, _, count)| *count >= sockets) {
        found.record(last - first);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: Uuid = Uuid::from_u128(1);
    const BOB: Uuid = Uuid::from_u128(2);

    fn frame(from: u64, version: u64, users: &[Uuid], at_ms: &[u64]) -> Arrivals {
        let mut arrivals = Arrivals::default();
        for at_ms in at_ms {
            arrivals.arrive(Some(from), version, at_ms * 1_000, || users.to_vec());
        }
        arrivals
    }

    const fn update(user: Uuid, version: u64, intended_ms: u64, answered_ms: u64) -> AppliedUpdate {
        AppliedUpdate { user, version, intended_us: intended_ms * 1_000, answered_us: answered_ms * 1_000 }
    }

    const ALWAYS: std::ops::Range<u64> = 0..u64::MAX;

    #[test]
    fn every_socket_counts_for_every_update_of_its_frame() {
        let frames = [frame(1, 1, &[ADA, BOB], &[1]), frame(1, 3, &[ADA, BOB], &[60, 70])];
        let updates = [update(ADA, 2, 10, 20), update(BOB, 3, 30, 65)];
        let found = update_to_frame(&frames, &updates, ALWAYS);
        let (intended, answered) = (found.since_intended.summary(), found.since_answered.summary());
        assert_eq!((intended.count, answered.count), (4, 4));
        assert!((intended.max_ms - 60.0).abs() < 0.2, "70 - 10, not {}", intended.max_ms);
        assert!((answered.max_ms - 50.0).abs() < 0.2, "70 - 20, not {}", answered.max_ms);
    }

    #[test]
    fn an_update_that_changed_nothing_visible_waits_for_no_frame() {
        // Ada was not in the list at 1; her update 2 did not bring her there, 3 did.
        let frames = [frame(0, 1, &[BOB], &[1]), frame(1, 3, &[ADA], &[9_000])];
        let updates = [update(ADA, 2, 10, 10), update(ADA, 3, 8_990, 8_990)];
        let found = update_to_frame(&frames, &updates, ALWAYS).since_intended.summary();
        assert_eq!(found.count, 1);
        assert!(found.max_ms < 11.0, "{}", found.max_ms);
        let gone = [frame(1, 3, &[BOB], &[9_000])];
        assert_eq!(update_to_frame(&gone, &updates, ALWAYS).since_intended.summary().count, 0);
    }

    #[test]
    fn updates_outside_of_the_window_do_not_count() {
        let frames = [frame(1, 2, &[ADA], &[60])];
        let found = update_to_frame(&frames, &[update(ADA, 2, 10, 20)], 20_000..90_000);
        assert_eq!(found.since_intended.summary().count, 0);
    }

    #[test]
    fn a_tick_ends_with_its_last_recipient_whatever_frame_it_got() {
        let frames = [frame(1, 2, &[ADA], &[10, 12]), frame(0, 2, &[ADA], &[40]), frame(2, 3, &[ADA], &[99])];
        let found = first_to_last(&frames, 2).summary();
        assert_eq!(found.count, 1, "version 3 reached only one socket");
        assert!((found.max_ms - 30.0).abs() < 0.1, "{}", found.max_ms);
    }
}
