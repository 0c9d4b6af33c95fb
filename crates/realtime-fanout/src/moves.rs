//! Who moved between two visible states.

use std::collections::{HashMap, HashSet};

use board_view::View;
use common::ids::UserId;
use common::standing::{Entry, TopList};
use common::state::Version;
use wire::frames::MoveJson;

/// One player's change.
pub(crate) struct Move {
    pub(crate) version: Version,
    pub(crate) json: MoveJson,
}

/// The players that changed after `before` and are visible before or after, in the order of their changes. A player
/// that only moved because of others, or left without a score to show, is not among them: the list itself shows that.
pub(crate) fn moves(before: &TopList, after: &TopList, view: &View) -> Vec<Move> {
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
        json: MoveJson {
            user_id: entry.user.to_string(),
            username: entry.username.to_string(),
            new_score: entry.score,
            rank,
            previous_rank,
        },
    }
}
