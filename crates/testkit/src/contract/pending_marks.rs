//! What every [`PendingMarks`] must do.

use std::any::Any;
use std::sync::Arc;

use common::ports::PendingMarks;

use crate::fixtures::{action_id, board_id, update, user_id};

/// The marks under test.
pub struct Fixture {
    /// They.
    pub marks: Arc<dyn PendingMarks>,
    /// What they stand on, dropped with them.
    pub guard: Box<dyn Any + Send + Sync>,
}

/// A test of each case of the suite.
#[macro_export]
macro_rules! pending_marks_contract {
    ($fixture:path) => {
        $crate::contract_tests!(
            pending_marks as pending_marks_contract,
            $fixture,
            [a_marked_action_is_found, what_was_not_marked_is_not_found, marking_again_does_no_harm]
        );
    };
}

/// With its type and points.
pub async fn a_marked_action_is_found(fixture: &Fixture) {
    let (user, board) = (user_id(), board_id());
    for (n, points) in [(0, 5), (1, -7), (2, common::board::SCORE_LIMIT)] {
        let action = format!("a:{n}");
        let update = update(user, &action).board(&board).points(points).action_type("some:type").key("k").build();
        fixture.marks.mark(&update).await;
        let found = fixture.marks.find(user, &board, &action_id(&action)).await.expect("it was marked");
        assert_eq!((found.user, &found.board, &found.action_id), (user, &update.board, &update.action_id));
        assert_eq!((&found.action_type, found.points), (&update.action_type, points));
    }
}

/// Another user's, another board's, another action: nothing.
pub async fn what_was_not_marked_is_not_found(fixture: &Fixture) {
    let (user, board) = (user_id(), board_id());
    assert_eq!(fixture.marks.find(user, &board, &action_id("a")).await, None);
    // Names that a careless join of user, board and action would mix up.
    fixture.marks.mark(&update(user, "a:b").board(&board).build()).await;
    assert_eq!(fixture.marks.find(user_id(), &board, &action_id("a:b")).await, None);
    assert_eq!(fixture.marks.find(user, &board_id(), &action_id("a:b")).await, None);
    for other in ["a", "b", "A:b", "a:b:"] {
        assert_eq!(fixture.marks.find(user, &board, &action_id(other)).await, None);
    }
}

/// The action stays pending.
pub async fn marking_again_does_no_harm(fixture: &Fixture) {
    let (user, board) = (user_id(), board_id());
    let update = update(user, "a").board(&board).points(5).build();
    fixture.marks.mark(&update).await;
    fixture.marks.mark(&update).await;
    let found = fixture.marks.find(user, &board, &update.action_id).await.expect("it was marked");
    assert_eq!(found.points, 5);
}
