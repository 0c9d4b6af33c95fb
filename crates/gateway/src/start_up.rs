//! What an operator is told at the start.

use std::time::Duration;

use board_view::BoardViews;
use common::board::{Board, Proof};

/// How often the rules are looked for until they have been read.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until the rules of the boards are known, then names in the log those that players can move without a game
/// server: their updates show who sent what, and not that it was earned.
pub async fn name_movable_boards(views: &BoardViews) {
    while !views.are_rules_known() {
        tokio::time::sleep(LOOK).await;
    }
    for board in views.boards().iter().filter(|board| board.movable_without_issuer()) {
        tracing::info!(
            board = %board.id(),
            action_types = open_types(board),
            "players can move this board without a game server's proof that points were earned; bounds and daily caps \
             are all that limits them"
        );
    }
}

fn open_types(board: &Board) -> String {
    let open = board.rules.iter().filter(|rule| rule.proof != Proof::Issuer);
    let words =
        open.map(|rule| format!("{} ({} proof, {} a day)", rule.action_type, rule.proof.as_str(), rule.daily_cap));
    words.collect::<Vec<_>>().join(", ")
}
