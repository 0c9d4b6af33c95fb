//! What the steps after a commit could not do, by board: the projector's list of work.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::ids::BoardId;
use common::state::Version;
use parking_lot::Mutex;
use runtime::backoff::Backoff;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a board needs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Need {
    /// Its index may be behind.
    pub(crate) project: bool,
    /// What happened above this version may not have been announced.
    pub(crate) announce_above: Option<Version>,
}

impl Need {
    fn add(&mut self, other: &Self) {
        self.project |= other.project;
        self.announce_above = match (self.announce_above, other.announce_above) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

struct Entry {
    need: Need,
    ready_at: Instant,
    backoff: Backoff,
}

#[derive(Default)]
struct Boards {
    waiting: HashMap<BoardId, Entry>,
    /// Being repaired, with the waits so far. What is marked meanwhile waits for the end of it.
    in_hand: HashMap<BoardId, Backoff>,
}

/// Bounded by the number of boards: marks of one board become one.
#[derive(Default)]
pub(crate) struct Repairs {
    boards: Mutex<Boards>,
    changed: Notify,
    index_sick: AtomicBool,
    bus_sick: AtomicBool,
}

impl Repairs {
    /// A board's index may be behind.
    pub(crate) fn projection(&self, board: &BoardId) {
        self.mark(board, &Need { project: true, announce_above: None });
    }

    /// What happened on a board above a version may not have been announced.
    pub(crate) fn announcement(&self, board: &BoardId, above: Version) {
        self.mark(board, &Need { project: false, announce_above: Some(above) });
    }

    fn mark(&self, board: &BoardId, need: &Need) {
        let mut boards = self.boards.lock();
        let entry = boards.waiting.entry(board.clone()).or_insert_with(|| Entry {
            need: Need::default(),
            ready_at: Instant::now(),
            backoff: fresh_backoff(),
        });
        entry.need.add(need);
        drop(boards);
        self.changed.notify_one();
    }

    /// Up to `limit` boards whose time has come; they are in hand until [`Self::finished`].
    pub(crate) fn take_ready(&self, limit: usize) -> Vec<(BoardId, Need)> {
        let now = Instant::now();
        let mut boards = self.boards.lock();
        let Boards { waiting, in_hand } = &mut *boards;
        let ready: HashSet<BoardId> = waiting
            .iter()
            .filter(|(board, entry)| entry.ready_at <= now && !in_hand.contains_key(*board))
            .map(|(board, _)| board.clone())
            .take(limit)
            .collect();
        ready
            .into_iter()
            .filter_map(|board| {
                let entry = waiting.remove(&board)?;
                in_hand.insert(board.clone(), entry.backoff);
                Some((board, entry.need))
            })
            .collect()
    }

    /// When the next board's time comes; `None` when all that wait are in hand, or none do.
    pub(crate) fn next_ready_at(&self) -> Option<Instant> {
        let boards = self.boards.lock();
        let waiting = boards.waiting.iter().filter(|(board, _)| !boards.in_hand.contains_key(*board));
        waiting.map(|(_, entry)| entry.ready_at).min()
    }

    /// A repair ended; `left` is what it could not do, to be tried again after a wait that grows.
    pub(crate) fn finished(&self, board: &BoardId, left: Option<&Need>) {
        let mut boards = self.boards.lock();
        let mut backoff = boards.in_hand.remove(board).unwrap_or_else(fresh_backoff);
        let Some(left) = left else { return };
        let ready_at = Instant::now() + backoff.next_wait();
        let entry = boards.waiting.entry(board.clone()).or_insert_with(|| Entry {
            need: Need::default(),
            ready_at,
            backoff: backoff.clone(),
        });
        entry.need.add(left);
        entry.ready_at = ready_at;
        entry.backoff = backoff;
    }

    /// Resolves when something was marked since the last call. Cancel-safe.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// While the index fails, live changes go by the projector only: each would cost its whole bound.
    pub(crate) fn index_is_sick(&self) -> bool {
        self.index_sick.load(Ordering::Relaxed)
    }

    pub(crate) fn index_seen(&self, sick: bool) {
        if self.index_sick.swap(sick, Ordering::Relaxed) != sick {
            if sick {
                tracing::warn!("the rank index fails; updates go on, boards are marked for repair");
            } else {
                tracing::info!("the rank index works again");
            }
        }
    }

    /// While the bus fails, changes are announced by the projector only.
    pub(crate) fn bus_is_sick(&self) -> bool {
        self.bus_sick.load(Ordering::Relaxed)
    }

    pub(crate) fn bus_seen(&self, sick: bool) {
        if self.bus_sick.swap(sick, Ordering::Relaxed) != sick {
            if sick {
                tracing::warn!("events are not taken; updates go on, boards are marked to be announced again");
            } else {
                tracing::info!("events are taken again");
            }
        }
    }
}

const fn fresh_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(20), Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_in_hand_waits_for_its_end_and_keeps_what_was_marked_meanwhile() {
        let (repairs, board) = (Repairs::default(), BoardId::global());
        repairs.announcement(&board, Version(7));
        repairs.announcement(&board, Version(4));
        let taken = repairs.take_ready(10);
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].1.announce_above, Some(Version(4)));
        assert!(!taken[0].1.project);
        repairs.projection(&board);
        assert!(repairs.take_ready(10).is_empty());
        assert_eq!(repairs.next_ready_at(), None);
        repairs.finished(&board, None);
        let again = repairs.take_ready(10);
        assert!(again[0].1.project);
        assert_eq!(again[0].1.announce_above, None);
    }

    #[test]
    fn what_a_repair_could_not_do_comes_back_after_a_wait() {
        let (repairs, board) = (Repairs::default(), BoardId::global());
        repairs.projection(&board);
        let (_, need) = repairs.take_ready(1).remove(0);
        repairs.finished(&board, Some(&need));
        assert!(repairs.next_ready_at().unwrap() > Instant::now());
        assert!(repairs.take_ready(1).is_empty());
    }
}
