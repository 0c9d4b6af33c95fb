//! When requests start.

use std::time::Duration;

/// Starts at a fixed rate, or as soon as a connection is free.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Schedule {
    /// Open loop: so many per second, whatever the server does. A request that starts late because all connections are
    /// busy has waited since its intended start, and its latency says so.
    PerSecond(f64),
    /// Closed loop: each connection sends its next request when it has its answer.
    AsFastAsPossible,
}

impl Schedule {
    /// When the n-th request (from 0) is meant to start, after the begin. `None`: when a connection is free.
    pub(crate) fn start(self, n: u64) -> Option<Duration> {
        match self {
            Self::PerSecond(rate) => Some(Duration::from_secs_f64(n as f64 / rate)),
            Self::AsFastAsPossible => None,
        }
    }
}

/// Who sends the n-th update, and to which board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    /// Everybody in turn, boards too.
    Even,
    /// Nine of ten are the first player's.
    Hot,
    /// One of five is the first player's, with so many points that it stays at rank 1.
    Celebrity,
}

/// One update of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) player: usize,
    pub(crate) board: usize,
    pub(crate) points: i64,
}

impl Mix {
    /// The n-th update among `players` and `boards` (neither is 0).
    pub(crate) fn turn(self, n: u64, players: usize, boards: usize) -> Turn {
        let others = |n: u64| if players == 1 { 0 } else { 1 + index(n, players - 1) };
        let points = 1 + (n.wrapping_mul(7) % 9).cast_signed();
        let board = index(n / players as u64 + n, boards);
        match self {
            Self::Even => Turn { player: index(n, players), board, points },
            Self::Hot if n.is_multiple_of(10) => Turn { player: others(n / 10), board, points },
            Self::Hot => Turn { player: 0, board, points },
            Self::Celebrity if n.is_multiple_of(5) => Turn { player: 0, board, points: 900 },
            Self::Celebrity => Turn { player: others(n), board, points },
        }
    }
}

fn index(n: u64, length: usize) -> usize {
    usize::try_from(n % length as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn starts_are_spread_evenly_and_do_not_drift() {
        let schedule = Schedule::PerSecond(3.0);
        assert_eq!(schedule.start(0), Some(Duration::ZERO));
        assert_eq!(schedule.start(3_000_000), Some(Duration::from_secs(1_000_000)));
        assert_eq!(Schedule::AsFastAsPossible.start(9), None);
    }

    fn shares(mix: Mix) -> BTreeMap<usize, usize> {
        let mut shares = BTreeMap::new();
        (0..1_000).for_each(|n| *shares.entry(mix.turn(n, 4, 3).player).or_default() += 1);
        shares
    }

    #[test]
    fn mixes_give_the_first_player_its_share() {
        assert_eq!(shares(Mix::Even), BTreeMap::from([(0, 250), (1, 250), (2, 250), (3, 250)]));
        assert_eq!(shares(Mix::Hot)[&0], 900);
        assert_eq!(shares(Mix::Celebrity)[&0], 200);
        assert_eq!(shares(Mix::Hot).len(), 4, "everybody has a turn");
    }

    #[test]
    fn a_player_meets_every_board() {
        let boards: std::collections::BTreeSet<_> =
            (0..100).map(|n| Mix::Even.turn(n, 2, 2)).filter(|turn| turn.player == 0).map(|turn| turn.board).collect();
        assert_eq!(boards.len(), 2);
        assert!((0..100).all(|n| (1..=9).contains(&Mix::Even.turn(n, 1, 1).points)));
    }
}
