//! Ranks as projections told them, by user.

use std::collections::HashMap;

use common::ids::{BoardId, UserId};
use common::standing::BoardChange;
use common::state::Version;

#[derive(Clone, Copy)]
struct Position {
    /// The index stood at this version or further.
    as_of: Version,
    rank: Option<u64>,
}

/// What a batch's projections said. A position counts for an outcome only if it is of its version or a later one.
#[derive(Default)]
pub(crate) struct Positions {
    by_user: HashMap<BoardId, HashMap<UserId, Position>>,
}

impl Positions {
    /// Takes over what a projection said of a change's users, in the order of its rows.
    pub(crate) fn learn(&mut self, change: &BoardChange, ranks: &[Option<u64>]) {
        for (row, rank) in change.rows.iter().zip(ranks) {
            self.learn_one(&change.board, row.user, change.to, *rank);
        }
    }

    pub(crate) fn learn_one(&mut self, board: &BoardId, user: UserId, as_of: Version, rank: Option<u64>) {
        let users = match self.by_user.get_mut(board) {
            Some(users) => users,
            None => self.by_user.entry(board.clone()).or_default(),
        };
        let position = users.entry(user).or_insert(Position { as_of, rank });
        if as_of >= position.as_of {
            *position = Position { as_of, rank };
        }
    }

    /// A user's rank at `version` or later. Outer `None`: no projection said.
    pub(crate) fn rank_at(&self, board: &BoardId, user: UserId, version: Version) -> Option<Option<u64>> {
        let position = self.by_user.get(board)?.get(&user)?;
        (position.as_of >= version).then_some(position.rank)
    }
}
