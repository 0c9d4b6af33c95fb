//! What answers promised, by board and player.

use std::collections::BTreeMap;

/// Points of one update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) board: usize,
    pub(crate) player: usize,
    pub(crate) action: String,
    pub(crate) points: i64,
}

/// By board and player (both as positions in their lists).
pub(crate) type Points = BTreeMap<(usize, usize), i64>;

/// What a load was promised.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    /// Answered with 200.
    pub(crate) applied: Points,
    /// Answered with 202, decided later.
    pub(crate) pending: Vec<Promise>,
    /// Neither promised nor refused: the answer was lost, or said that the server does not know. They may count.
    pub(crate) uncertain: Points,
    /// How many were applied.
    pub(crate) committed: u64,
}

impl Promises {
    pub(crate) fn applied(&mut self, promise: &Promise) {
        *self.applied.entry((promise.board, promise.player)).or_default() += promise.points;
        self.committed += 1;
    }

    pub(crate) fn uncertain(&mut self, promise: &Promise) {
        *self.uncertain.entry((promise.board, promise.player)).or_default() += promise.points;
    }

    pub(crate) fn add(&mut self, other: Self) {
        other.applied.into_iter().for_each(|(key, points)| *self.applied.entry(key).or_default() += points);
        other.uncertain.into_iter().for_each(|(key, points)| *self.uncertain.entry(key).or_default() += points);
        self.pending.extend(other.pending);
        self.committed += other.committed;
    }

    pub(crate) fn total(&self) -> i64 {
        self.applied.values().sum()
    }
}

/// Every player whose score did not grow by what was promised, in words. `grown` gives the growth.
pub(crate) fn broken(promises: &Promises, grown: &BTreeMap<(usize, usize), i64>) -> Vec<String> {
    let mut broken = Vec::new();
    for (key, grown) in grown {
        let promised = promises.applied.get(key).copied().unwrap_or(0);
        let most = promised + promises.uncertain.get(key).copied().unwrap_or(0);
        if !(promised..=most).contains(grown) {
            let (board, player) = key;
            broken.push(format!("player {player} on board {board} was promised {promised} to {most}, got {grown}"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise(player: usize, points: i64) -> Promise {
        Promise { board: 0, player, action: "a".to_owned(), points }
    }

    #[test]
    fn growth_must_be_what_was_promised() {
        let mut promises = Promises::default();
        promises.applied(&promise(1, 5));
        promises.applied(&promise(1, 6));
        promises.uncertain(&promise(2, 3));
        let grown = |one, two| BTreeMap::from([((0, 1), one), ((0, 2), two), ((0, 3), 0)]);
        for fine in [grown(11, 0), grown(11, 3)] {
            assert_eq!(broken(&promises, &fine), Vec::<String>::new());
        }
        for wrong in [grown(10, 0), grown(12, 0), grown(11, 4), grown(11, -1)] {
            assert_eq!(broken(&promises, &wrong).len(), 1);
        }
        assert_eq!((promises.total(), promises.committed), (11, 2));
    }
}
