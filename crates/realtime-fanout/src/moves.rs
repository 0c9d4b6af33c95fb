//! Who moved between two visible states, as JSON.

use board_view::View;
use common::clock::Timestamp;
use common::standing::TopList;
use wire::json::MoveJson;

/// One player's change, and when it was made.
pub(crate) struct Move {
    pub(crate) updated_at: Timestamp,
    pub(crate) json: MoveJson,
}

/// As [`board_view::moves`].
pub(crate) fn moves(before: &TopList, after: &TopList, view: &View) -> Vec<Move> {
    let moves = board_view::moves(before, after, view).into_iter();
    let written = moves.map(|one| Move {
        updated_at: one.updated_at,
        json: MoveJson {
            user_id: one.user.to_string(),
            username: one.username.to_string(),
            new_score: one.new_score,
            rank: one.rank,
            previous_rank: one.previous_rank,
        },
    });
    written.collect()
}
