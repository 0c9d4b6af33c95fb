//! Filling page by page: from nothing, from where the index stands, and by one at a time.

use common::ports::{FillStart, FillStep, IndexState};
use common::state::Version;
use uuid::Uuid;

use super::{Fixture, assert_shows, filled, refused};
use crate::fixtures::{board_id, epoch, row, seeded_user};
use crate::history::{CaughtUp, History};

/// Pages that leave several of them for a small board.
const PAGE: usize = 3;

/// Page by page from zero to the head.
pub async fn a_fill_from_nothing_shows_the_head(fixture: &Fixture) {
    let mut history = History::of_scores(board_id(), &[10, 20, 30, 20, 10, 5, 7]);
    history.push(seeded_user(2), Some(1));
    history.push(seeded_user(5), None);
    assert_eq!(history.catch_up(&*fixture.index, PAGE).await, CaughtUp::Done);
    assert_shows(&*fixture.index, &history, Version(9)).await;
}

/// A lagging index is asked for no more than what it misses.
pub async fn a_fill_goes_on_from_where_the_index_stands(fixture: &Fixture) {
    let mut history = History::of_scores(board_id(), &[10, 20, 30]);
    filled(fixture, &history).await;
    history.push(seeded_user(0), Some(40));
    let (filler, board) = (Uuid::new_v4(), &history.board);
    let begun = fixture.index.begin_fill(board, &history.epoch, Version(4), filler).await.unwrap();
    assert_eq!(begun, FillStart::From(Version(3)));
    let rows = history.rows_above(Version(3), 10);
    assert_eq!(fixture.index.fill(board, filler, &rows).await.unwrap(), FillStep::Done);
    assert_eq!(fixture.index.finish_fill(board, filler, &history.state()).await.unwrap(), FillStep::Done);
    assert_shows(&*fixture.index, &history, Version(4)).await;
    // Nothing missing: the fill is empty.
    assert_eq!(history.catch_up(&*fixture.index, PAGE).await, CaughtUp::Done);
    assert_shows(&*fixture.index, &history, Version(4)).await;
}

/// What the truth does not know is thrown away.
pub async fn an_index_ahead_of_the_truth_is_rebuilt(fixture: &Fixture) {
    let ahead = History::of_scores(board_id(), &[10, 20, 30, 40]);
    filled(fixture, &ahead).await;
    let truth = History::of_scores(ahead.board, &[10, 21]);
    let filler = Uuid::new_v4();
    let begun = fixture.index.begin_fill(&truth.board, &truth.epoch, Version(2), filler).await.unwrap();
    assert_eq!(begun, FillStart::From(Version::ZERO));
    let rows = truth.rows_above(Version::ZERO, 10);
    assert_eq!(fixture.index.fill(&truth.board, filler, &rows).await.unwrap(), FillStep::Done);
    assert_eq!(fixture.index.finish_fill(&truth.board, filler, &truth.state()).await.unwrap(), FillStep::Done);
    assert_shows(&*fixture.index, &truth, Version(2)).await;
}

/// Another history has nothing to do with what is held, whatever the versions are.
pub async fn an_index_of_another_epoch_is_rebuilt(fixture: &Fixture) {
    let before = History::of_scores(board_id(), &[10, 20]);
    filled(fixture, &before).await;
    let mut after = History::of_scores(board_id(), &[5, 4, 3]);
    (after.board, after.epoch) = (before.board, epoch("e2"));
    let filler = Uuid::new_v4();
    let begun = fixture.index.begin_fill(&after.board, &after.epoch, Version(3), filler).await.unwrap();
    assert_eq!(begun, FillStart::From(Version::ZERO));
    let rows = after.rows_above(Version::ZERO, 10);
    assert_eq!(fixture.index.fill(&after.board, filler, &rows).await.unwrap(), FillStep::Done);
    assert_eq!(fixture.index.finish_fill(&after.board, filler, &after.state()).await.unwrap(), FillStep::Done);
    assert_shows(&*fixture.index, &after, Version(3)).await;
}

/// From `begin_fill` to `finish_fill` the index cannot say, and live changes are refused.
pub async fn nothing_is_answered_while_filling(fixture: &Fixture) {
    let mut history = History::of_scores(board_id(), &[10, 20]);
    filled(fixture, &history).await;
    history.push(seeded_user(0), Some(30));
    let (index, board, filler) = (&*fixture.index, &history.board, Uuid::new_v4());
    index.begin_fill(board, &history.epoch, Version(3), filler).await.unwrap();
    for page in [vec![], history.rows_above(Version(2), 10)] {
        assert_eq!(index.fill(board, filler, &page).await.unwrap(), FillStep::Done);
        assert_eq!(index.state(board).await.unwrap(), IndexState::Filling);
        assert_eq!(index.top(board, 10).await.unwrap(), None);
        assert_eq!(index.count(board).await.unwrap(), None);
        assert_eq!(index.neighborhood(board, seeded_user(0), 1).await.unwrap(), None);
        assert_eq!(refused(index, &history.change(2, 3)).await, IndexState::Filling);
    }
    assert_eq!(index.finish_fill(board, filler, &history.state()).await.unwrap(), FillStep::Done);
    assert_shows(index, &history, Version(3)).await;
}

/// The second one waits; the first is not disturbed.
pub async fn only_one_fills_at_a_time(fixture: &Fixture) {
    let history = History::of_scores(board_id(), &[10, 20]);
    let (index, board, filler) = (&*fixture.index, &history.board, Uuid::new_v4());
    let begun = index.begin_fill(board, &history.epoch, Version(2), filler).await.unwrap();
    assert_eq!(begun, FillStart::From(Version::ZERO));
    let second = index.begin_fill(board, &history.epoch, Version(2), Uuid::new_v4()).await.unwrap();
    assert_eq!(second, FillStart::Busy);
    let rows = history.rows_above(Version::ZERO, 10);
    assert_eq!(index.fill(board, filler, &rows).await.unwrap(), FillStep::Done);
    assert_eq!(index.finish_fill(board, filler, &history.state()).await.unwrap(), FillStep::Done);
    assert_shows(index, &history, Version(2)).await;
    assert_eq!(history.catch_up(index, PAGE).await, CaughtUp::Done, "after the end another one may fill");
}

/// Who does not know whether its `begin_fill` arrived asks again with the same name and is not kept out by itself.
pub async fn the_same_filler_may_begin_again(fixture: &Fixture) {
    let history = History::of_scores(board_id(), &[10, 20]);
    let (index, board, filler) = (&*fixture.index, &history.board, Uuid::new_v4());
    index.begin_fill(board, &history.epoch, Version(2), filler).await.unwrap();
    index.fill(board, filler, &history.rows_above(Version::ZERO, 1)).await.unwrap();
    let again = index.begin_fill(board, &history.epoch, Version(2), filler).await.unwrap();
    let FillStart::From(after) = again else { panic!("kept out by itself") };
    let rows = history.rows_above(after, 10);
    assert_eq!(index.fill(board, filler, &rows).await.unwrap(), FillStep::Done);
    assert_eq!(index.finish_fill(board, filler, &history.state()).await.unwrap(), FillStep::Done);
    assert_shows(index, &history, Version(2)).await;
}

/// Pages and ends of a fill that is not under way, or is somebody else's, change nothing.
pub async fn a_step_of_a_stranger_is_lost(fixture: &Fixture) {
    let history = History::of_scores(board_id(), &[10, 20]);
    let (index, board, stranger) = (&*fixture.index, &history.board, Uuid::new_v4());
    let foreign = [row(seeded_user(9), 99, 1)];
    assert_eq!(index.fill(board, stranger, &foreign).await.unwrap(), FillStep::Lost);
    assert_eq!(index.finish_fill(board, stranger, &history.state()).await.unwrap(), FillStep::Lost);
    assert_eq!(index.state(board).await.unwrap(), IndexState::Empty);
    let filler = Uuid::new_v4();
    index.begin_fill(board, &history.epoch, Version(2), filler).await.unwrap();
    assert_eq!(index.fill(board, stranger, &foreign).await.unwrap(), FillStep::Lost);
    assert_eq!(index.finish_fill(board, stranger, &history.state()).await.unwrap(), FillStep::Lost);
    assert_eq!(index.state(board).await.unwrap(), IndexState::Filling);
    index.fill(board, filler, &history.rows_above(Version::ZERO, 10)).await.unwrap();
    assert_eq!(index.finish_fill(board, filler, &history.state()).await.unwrap(), FillStep::Done);
    assert_eq!(index.fill(board, filler, &foreign).await.unwrap(), FillStep::Lost, "the fill is over");
    assert_shows(index, &history, Version(2)).await;
}
