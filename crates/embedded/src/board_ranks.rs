//! The ranks of one board in memory: who is there, and in which order.

use std::collections::HashMap;

use common::clock::Timestamp;
use common::ids::UserId;
use common::standing::{Neighborhood, Placement, RankKey, ScoreRow};
use common::state::{StatePoint, Version};

use crate::sorted_blocks::{Slot, SortedBlocks};

/// Players by user and by position. 70 to 90 bytes a player: 40 in the table, 24 to 42 in the map (as full as it happens to
/// be), 5 to 8 in the order.
#[derive(Debug, Default)]
pub(crate) struct BoardRanks {
    /// Slots of removed players stay in place until they are used again.
    players: Vec<Player>,
    free: Vec<Slot>,
    slots: HashMap<UserId, Slot>,
    order: SortedBlocks<RankKey>,
}

#[derive(Clone, Copy, Debug)]
struct Player {
    user: UserId,
    key: RankKey,
    updated_at: Timestamp,
}

/// Whether a change of players moves the order with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ordering {
    /// At once.
    Kept,
    /// Not until [`BoardRanks::sort`]: a million rows are sorted much faster than they are inserted.
    Later,
}

impl BoardRanks {
    /// How many players have a score.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The version of a user's row; `None` without a score.
    pub(crate) fn version_of(&self, user: UserId) -> Option<Version> {
        self.slots.get(&user).map(|slot| self.players[*slot as usize].key.version)
    }

    /// Takes a row over, unless the one that is held is as new.
    pub(crate) fn place(&mut self, row: &ScoreRow, ordering: Ordering) {
        match (self.slots.get(&row.user).copied(), row.key()) {
            (Some(slot), _) if self.key_of(slot).version >= row.version => {}
            (Some(slot), Some(key)) => {
                self.unlink(slot, ordering);
                self.players[slot as usize] = Player { user: row.user, key, updated_at: row.updated_at };
                self.link(slot, ordering);
            }
            (Some(slot), None) => {
                self.unlink(slot, ordering);
                self.slots.remove(&row.user);
                self.free.push(slot);
            }
            (None, Some(key)) => {
                let slot = self.take_slot(Player { user: row.user, key, updated_at: row.updated_at });
                self.slots.insert(row.user, slot);
                self.link(slot, ordering);
            }
            (None, None) => {}
        }
    }

    /// Makes the order from the players.
    pub(crate) fn sort(&mut self) {
        let mut entries: Vec<_> = self.slots.values().map(|slot| (self.key_of(*slot), *slot)).collect();
        entries.sort_unstable();
        self.order = SortedBlocks::from_sorted(&entries);
    }

    /// A user's position, 1 for the best; `None` without a score.
    pub(crate) fn rank(&self, user: UserId) -> Option<u64> {
        let slot = *self.slots.get(&user)?;
        let position = self.order.position(self.key_of(slot), |s| self.key_of(s))?;
        Some(position as u64 + 1)
    }

    /// The best `limit` players.
    pub(crate) fn top(&self, limit: usize) -> Vec<Placement> {
        self.placements(0, limit)
    }

    /// The score at a position, 1 for the best; `None` beyond the last player.
    pub(crate) fn score_at(&self, rank: u64) -> Option<i64> {
        let position = usize::try_from(rank.checked_sub(1)?).ok().filter(|position| *position < self.len())?;
        self.placements(position, 1).first().map(|placement| placement.score)
    }

    /// A user and up to `around` players on each side; `None` without a score.
    pub(crate) fn neighborhood(
        &self,
        state: StatePoint,
        user: UserId,
        around: usize,
    ) -> Option<Neighborhood<Placement>> {
        let position = usize::try_from(self.rank(user)? - 1).ok()?;
        let first = position.saturating_sub(around);
        let own = position - first;
        let lines = self.placements(first, own.saturating_add(1).saturating_add(around));
        Some(Neighborhood { state, lines, own })
    }

    fn placements(&self, first: usize, limit: usize) -> Vec<Placement> {
        let slots = self.order.iter_from(first).take(limit);
        slots.zip(first as u64 + 1..).map(|(slot, rank)| self.players[slot as usize].placement(rank)).collect()
    }

    fn key_of(&self, slot: Slot) -> RankKey {
        self.players[slot as usize].key
    }

    fn link(&mut self, slot: Slot, ordering: Ordering) {
        if ordering == Ordering::Kept {
            let players = &self.players;
            self.order.insert(players[slot as usize].key, slot, |s| players[s as usize].key);
        }
    }

    /// Must come before the player's key changes: the order finds it by its key.
    fn unlink(&mut self, slot: Slot, ordering: Ordering) {
        if ordering == Ordering::Kept {
            let players = &self.players;
            self.order.remove(players[slot as usize].key, |s| players[s as usize].key);
        }
    }

    fn take_slot(&mut self, player: Player) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.players[slot as usize] = player;
            return slot;
        }
        // 2^32 players are 340 GB: memory ends first.
        let Ok(slot) = Slot::try_from(self.players.len()) else { unreachable!("more players than slots") };
        self.players.push(player);
        slot
    }
}

impl Player {
    const fn placement(&self, rank: u64) -> Placement {
        Placement {
            user: self.user,
            score: self.key.score,
            version: self.key.version,
            updated_at: self.updated_at,
            rank,
        }
    }
}
