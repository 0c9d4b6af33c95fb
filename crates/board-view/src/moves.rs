//! Who moved between two visible states.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use common::clock::Timestamp;
use common::ids::UserId;
use common::standing::{Entry, TopList};
use common::state::Version;

use crate::view::View;

/// One player's change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    /// The version that made it.
    pub version: Version,
    /// When that was.
    pub updated_at: Timestamp,
    /// Who.
    pub user: UserId,
    /// The name to show.
    pub username: Arc<str>,
    /// The score after it.
    pub new_score: i64,
    /// The position now; `None`: not visible any more.
    pub rank: Option<u64>,
    /// The position before; `None`: was not visible.
    pub previous_rank: Option<u64>,
}

/// The players that changed after `before` and are visible before or after, in the order of their changes. A player
/// that only moved because of others, or left without a score to show, is not among them: the list itself shows that.
#[must_use]
pub fn moves(before: &TopList, after: &TopList, view: &View) -> Vec<Move> {
    let changed = |entry: &&Entry| entry.version > before.state.version;
    let earlier: HashMap<UserId, u64> = before.entries.iter().map(|entry| (entry.user, entry.rank)).collect();
    let visible = after.entries.iter().filter(changed).map(|entry| {
        let previous_rank = earlier.get(&entry.user).copied();
        move_of(entry, Some(entry.rank), previous_rank)
    });
    let mut moves: Vec<Move> = visible.collect();
    let still: HashSet<UserId> = after.entries.iter().map(|entry| entry.user).collect();
    for entry in before.entries.iter().filter(|entry| !still.contains(&entry.user)) {
        if let Some(now) = view.window.entry_of(entry.user).filter(|now| changed(&now)) {
            moves.push(move_of(&now, None, Some(entry.rank)));
        }
    }
    moves.sort_by_key(|one| one.version);
    moves
}

fn move_of(entry: &Entry, rank: Option<u64>, previous_rank: Option<u64>) -> Move {
    Move {
        version: entry.version,
        updated_at: entry.updated_at,
        user: entry.user,
        username: Arc::clone(&entry.username),
        new_score: entry.score,
        rank,
        previous_rank,
    }
}
