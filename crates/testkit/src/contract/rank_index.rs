//! What every [`RankIndex`] must do. Each case works on a board of its own, so an index may be shared.

mod filling;

pub use filling::*;

use std::any::Any;
use std::sync::Arc;

use common::ports::{FillStep, IndexState, Projected, RankIndex, ScoresAt};
use common::standing::{BoardChange, Placement};
use common::state::{StatePoint, Version};
use uuid::Uuid;

use crate::fixtures::{board_id, change, epoch, row, seeded_user, user_id};
use crate::history::{CaughtUp, History};
use crate::model::BoardModel;
use crate::sequences::{ProjectionStep, for_any, projection_steps};

/// The index under test.
pub struct Fixture {
    /// It.
    pub index: Arc<dyn RankIndex>,
    /// What it stands on, dropped with it.
    pub guard: Box<dyn Any + Send + Sync>,
}

impl Fixture {
    /// An index that stands on nothing that must be kept.
    #[must_use]
    pub fn new(index: Arc<dyn RankIndex>) -> Self {
        Self { index, guard: Box::new(()) }
    }
}

/// A test of each case of the suite.
#[macro_export]
macro_rules! rank_index_contract {
    ($fixture:path) => {
        $crate::contract_tests!(
            rank_index as rank_index_contract,
            $fixture,
            [
                an_index_that_holds_nothing_says_so,
                a_board_without_players_can_be_shown,
                changes_in_order_move_the_index,
                ties_go_to_who_reached_the_score_first,
                scores_at_the_limits_are_exact,
                a_repeated_change_does_no_harm,
                a_change_that_starts_later_is_refused,
                a_change_of_another_epoch_is_refused,
                overlapping_changes_take_over_only_what_is_new,
                a_late_row_never_replaces_a_newer_one,
                a_tombstone_removes_and_is_remembered,
                ranks_are_told_in_the_order_of_the_rows,
                a_large_change_is_taken_whole,
                a_fill_from_nothing_shows_the_head,
                a_fill_goes_on_from_where_the_index_stands,
                an_index_ahead_of_the_truth_is_rebuilt,
                an_index_of_another_epoch_is_rebuilt,
                nothing_is_answered_while_filling,
                only_one_fills_at_a_time,
                the_same_filler_may_begin_again,
                a_step_of_a_stranger_is_lost,
                neighborhoods_end_at_the_edges,
                a_user_without_a_score_has_no_neighborhood,
                top_is_cut_at_the_limit,
                scores_are_told_by_position,
                boards_do_not_mix,
                concurrent_projectors_end_at_the_newest_state,
                any_sequence_equals_the_model,
            ]
        );
    };
}

async fn filled(fixture: &Fixture, history: &History) {
    assert_eq!(history.catch_up(&*fixture.index, 500).await, CaughtUp::Done);
}

async fn applied(index: &dyn RankIndex, change: &BoardChange) -> Vec<Option<u64>> {
    match index.apply(change).await.expect("apply") {
        Projected::Standing(ranks) => ranks,
        Projected::Behind(state) => {
            panic!("{:?}..{:?} was refused by an index that stands at {state:?}", change.from, change.to)
        }
    }
}

async fn refused(index: &dyn RankIndex, change: &BoardChange) -> IndexState {
    match index.apply(change).await.expect("apply") {
        Projected::Standing(ranks) => panic!("{:?}..{:?} was taken over: {ranks:?}", change.from, change.to),
        Projected::Behind(state) => state,
    }
}

fn lines(placements: &[Placement]) -> Vec<crate::model::ModelLine> {
    placements.iter().map(|p| (p.user, p.score, p.version)).collect()
}

/// Asserts that an index shows exactly one state of a history: order, ranks, times, count and every neighborhood.
///
/// # Panics
/// When it does not, or when the index fails.
pub async fn assert_shows(index: &dyn RankIndex, history: &History, version: Version) {
    let (board, state) = (&history.board, history.state_at(version));
    assert_eq!(index.state(board).await.expect("state"), IndexState::At(state.clone()));
    let ranked = history.model_at(version).ranked();
    let (at, top) = index.top(board, 1000).await.expect("top").expect("the index can say");
    assert_eq!(at, state);
    assert_eq!(lines(&top), ranked);
    assert!(top.iter().map(|p| p.rank).eq(1..=top.len() as u64), "ranks are positions: {top:?}");
    for placement in &top {
        let written = row(placement.user, placement.score, placement.version.0);
        assert_eq!(placement.updated_at, written.updated_at);
    }
    assert_eq!(index.count(board).await.expect("count"), Some((state.clone(), ranked.len() as u64)));
    for own in &top {
        let around = index.neighborhood(board, own.user, 2).await.expect("neighborhood").expect("the index can say");
        let neighborhood = around.1.expect("the user has a score");
        let from = (own.rank as usize - 1).saturating_sub(2);
        assert_eq!((&around.0, &neighborhood.state), (&state, &state));
        assert_eq!(neighborhood.lines, top[from..(own.rank as usize + 2).min(top.len())]);
        assert_eq!(neighborhood.lines[neighborhood.own], *own);
    }
}

/// Nothing held: `Empty`, `None`, and every change is refused.
pub async fn an_index_that_holds_nothing_says_so(fixture: &Fixture) {
    let (index, board) = (&*fixture.index, board_id());
    assert_eq!(index.state(&board).await.unwrap(), IndexState::Empty);
    assert_eq!(index.top(&board, 10).await.unwrap(), None);
    assert_eq!(index.count(&board).await.unwrap(), None);
    assert_eq!(index.neighborhood(&board, user_id(), 3).await.unwrap(), None);
    let first = change(&board, 0, 1, vec![row(seeded_user(0), 5, 1)]);
    assert_eq!(refused(index, &first).await, IndexState::Empty);
    assert_eq!(index.top(&board, 10).await.unwrap(), None, "a refused change leaves nothing");
}

/// A fill up to version 0 shows an empty board, which the first change then moves.
pub async fn a_board_without_players_can_be_shown(fixture: &Fixture) {
    let mut history = History::new(board_id());
    filled(fixture, &history).await;
    assert_shows(&*fixture.index, &history, Version::ZERO).await;
    history.push(seeded_user(0), Some(5));
    assert_eq!(applied(&*fixture.index, &history.change(0, 1)).await, [Some(1)]);
    assert_shows(&*fixture.index, &history, Version(1)).await;
}

/// Every change leads to exactly its state.
pub async fn changes_in_order_move_the_index(fixture: &Fixture) {
    let mut history = History::new(board_id());
    filled(fixture, &history).await;
    for (user, score) in [(0, 10), (1, 20), (2, 15), (0, 30), (1, 5), (3, 15), (2, 31)] {
        let version = history.push(seeded_user(user), Some(score));
        applied(&*fixture.index, &history.change(version.0 - 1, version.0)).await;
        assert_shows(&*fixture.index, &history, version).await;
    }
}

/// Of two equal scores the one of the lower version ranks better, also when it was equalled from above or left and reached again.
pub async fn ties_go_to_who_reached_the_score_first(fixture: &Fixture) {
    let mut history = History::of_scores(board_id(), &[7, 9, 7, 9]);
    filled(fixture, &history).await;
    history.push(seeded_user(0), Some(9));
    history.push(seeded_user(1), Some(7));
    applied(&*fixture.index, &history.change(4, 6)).await;
    let (_, top) = fixture.index.top(&history.board, 10).await.unwrap().unwrap();
    assert_eq!(top.iter().map(|p| p.user).collect::<Vec<_>>(), [3, 0, 2, 1].map(seeded_user));
    assert_shows(&*fixture.index, &history, Version(6)).await;
}

/// ±(2^53 - 1), zero and their neighbours keep their order to the unit.
pub async fn scores_at_the_limits_are_exact(fixture: &Fixture) {
    let limit = common::board::SCORE_LIMIT;
    let scores = [0, limit, -limit, limit - 1, 1 - limit, -1, 1, limit, -limit];
    let history = History::of_scores(board_id(), &scores);
    filled(fixture, &history).await;
    assert_shows(&*fixture.index, &history, history.head()).await;
    let other = History::of_scores(board_id(), &[]);
    filled(fixture, &other).await;
    let live = History::of_scores(other.board, &scores);
    applied(&*fixture.index, &live.change(0, 9)).await;
    assert_shows(&*fixture.index, &live, Version(9)).await;
}

/// The same change twice, and again after later ones: the state stays, and the ranks are told as of now.
pub async fn a_repeated_change_does_no_harm(fixture: &Fixture) {
    let mut history = History::of_scores(board_id(), &[10, 20]);
    filled(fixture, &history).await;
    history.push(seeded_user(0), Some(30));
    assert_eq!(applied(&*fixture.index, &history.change(2, 3)).await, [Some(1)]);
    assert_eq!(applied(&*fixture.index, &history.change(2, 3)).await, [Some(1)]);
    history.push(seeded_user(1), Some(40));
    applied(&*fixture.index, &history.change(3, 4)).await;
    assert_eq!(applied(&*fixture.index, &history.change(2, 3)).await, [Some(2)], "as of now");
    assert_shows(&*fixture.index, &history, Version(4)).await;
}

/// A gap is never jumped: the index says where it stands, and stays there.
pub async fn a_change_that_starts_later_is_refused(fixture: &Fixture) {
    let mut history = History::of_scores(board_id(), &[10, 20]);
    filled(fixture, &history).await;
    history.push(seeded_user(0), Some(30));
    history.push(seeded_user(1), Some(40));
    let stands = refused(&*fixture.index, &history.change(3, 4)).await;
    assert_eq!(stands, IndexState::At(history.state_at(Version(2))));
    assert_shows(&*fixture.index, &history, Version(2)).await;
    applied(&*fixture.index, &history.change(2, 3)).await;
    applied(&*fixture.index, &history.change(3, 4)).await;
    assert_shows(&*fixture.index, &history, Version(4)).await;
}

/// Versions of another epoch name other states.
pub async fn a_change_of_another_epoch_is_refused(fixture: &Fixture) {
    let history = History::of_scores(board_id(), &[10, 20]);
    filled(fixture, &history).await;
    let mut foreign = change(&history.board, 2, 3, vec![row(seeded_user(0), 99, 3)]);
    foreign.epoch = epoch("e2");
    let stands = refused(&*fixture.index, &foreign).await;
    assert_eq!(stands, IndexState::At(history.state()));
    assert_shows(&*fixture.index, &history, Version(2)).await;
}

/// A range that starts below where the index stands and ends above moves it to its end.
pub async fn overlapping_changes_take_over_only_what_is_new(fixture: &Fixture) {
    let mut history = History::of_scores(board_id(), &[10, 20, 30]);
    filled(fixture, &history).await;
    for (user, score) in [(0, 50), (1, 5), (0, 25), (2, 26), (3, 25)] {
        history.push(seeded_user(user), Some(score));
    }
    applied(&*fixture.index, &history.change(3, 5)).await;
    applied(&*fixture.index, &history.change(2, 7)).await;
    assert_shows(&*fixture.index, &history, Version(7)).await;
    applied(&*fixture.index, &history.change(0, 8)).await;
    assert_shows(&*fixture.index, &history, Version(8)).await;
    applied(&*fixture.index, &history.change(0, 4)).await;
    assert_shows(&*fixture.index, &history, Version(8)).await;
}

/// An overlapping range made before a user moved again holds an older row of that user: it is skipped.
pub async fn a_late_row_never_replaces_a_newer_one(fixture: &Fixture) {
    let mut history = History::of_scores(board_id(), &[10, 20]);
    filled(fixture, &history).await;
    history.push(seeded_user(0), Some(30));
    let early = history.change(2, 3);
    history.push(seeded_user(0), Some(15));
    applied(&*fixture.index, &history.change(2, 4)).await;
    assert_eq!(applied(&*fixture.index, &early).await, [Some(2)]);
    assert_shows(&*fixture.index, &history, Version(4)).await;
    // Also inside a fill, whose pages may come from different moments.
    let (filler, board) = (Uuid::new_v4(), &history.board);
    fixture.index.begin_fill(board, &history.epoch, Version(4), filler).await.unwrap();
    let (newer, older) = (row(seeded_user(1), 99, 6), row(seeded_user(1), 1, 5));
    assert_eq!(fixture.index.fill(board, filler, &[newer]).await.unwrap(), FillStep::Done);
    assert_eq!(fixture.index.fill(board, filler, &[older]).await.unwrap(), FillStep::Done);
    let state = history.state_at(Version(6));
    assert_eq!(fixture.index.finish_fill(board, filler, &state).await.unwrap(), FillStep::Done);
    let (_, top) = fixture.index.top(board, 10).await.unwrap().unwrap();
    assert_eq!(lines(&top), [(seeded_user(1), 99, Version(6)), (seeded_user(0), 15, Version(4))]);
}

/// A removed user is gone, an older row does not bring the user back, a newer one does.
pub async fn a_tombstone_removes_and_is_remembered(fixture: &Fixture) {
    let mut history = History::of_scores(board_id(), &[10, 20]);
    filled(fixture, &history).await;
    history.push(seeded_user(0), Some(30));
    let early = history.change(2, 3);
    history.push(seeded_user(0), None);
    assert_eq!(applied(&*fixture.index, &history.change(2, 4)).await, [None]);
    assert_shows(&*fixture.index, &history, Version(4)).await;
    assert_eq!(applied(&*fixture.index, &early).await, [None]);
    assert_shows(&*fixture.index, &history, Version(4)).await;
    let around = fixture.index.neighborhood(&history.board, seeded_user(0), 1).await.unwrap().unwrap();
    assert_eq!(around, (history.state(), None));
    history.push(seeded_user(0), Some(3));
    applied(&*fixture.index, &history.change(4, 5)).await;
    assert_shows(&*fixture.index, &history, Version(5)).await;
    history.push(seeded_user(7), None);
    assert_eq!(applied(&*fixture.index, &history.change(5, 6)).await, [None], "of a user that was never there");
    assert_shows(&*fixture.index, &history, Version(6)).await;
    // A tombstone that comes in a fill.
    let refill = history.clone().on(board_id());
    filled(fixture, &refill).await;
    assert_shows(&*fixture.index, &refill, Version(6)).await;
}

/// One rank for each row, in version order, all of the state after the change.
pub async fn ranks_are_told_in_the_order_of_the_rows(fixture: &Fixture) {
    let mut history = History::of_scores(board_id(), &[10, 20, 30]);
    filled(fixture, &history).await;
    for (user, score) in [(3, Some(25)), (0, Some(40)), (1, None), (4, Some(1))] {
        history.push(seeded_user(user), score);
    }
    assert_eq!(applied(&*fixture.index, &history.change(3, 7)).await, [Some(3), Some(1), None, Some(4)]);
}

/// A change of thousands of rows is no different.
pub async fn a_large_change_is_taken_whole(fixture: &Fixture) {
    let mut history = History::new(board_id());
    filled(fixture, &history).await;
    for n in 0..4_500 {
        history.push(seeded_user(n), Some((n as i64 * 7_919) % 1_000));
    }
    let ranks = applied(&*fixture.index, &history.change(0, 4_500)).await;
    let ranked = history.model().ranked();
    assert_eq!(ranks.len(), 4_500);
    for (rank, line) in (1..).zip(&ranked) {
        assert_eq!(ranks[line.2.0 as usize - 1], Some(rank));
    }
    let (_, top) = fixture.index.top(&history.board, 5_000).await.unwrap().unwrap();
    assert_eq!(lines(&top), ranked);
}

/// At the best, at the last and with more asked for than there are.
pub async fn neighborhoods_end_at_the_edges(fixture: &Fixture) {
    let history = History::of_scores(board_id(), &[50, 40, 30, 20, 10]);
    filled(fixture, &history).await;
    for (user, around, ranks, own) in [
        (0, 0, 1..=1, 0),
        (0, 2, 1..=3, 0),
        (1, 2, 1..=4, 1),
        (2, 1, 2..=4, 1),
        (4, 2, 3..=5, 2),
        (4, 50, 1..=5, 4),
        (2, 0, 3..=3, 0),
    ] {
        let found = fixture.index.neighborhood(&history.board, seeded_user(user), around).await.unwrap();
        let (state, Some(neighborhood)) = found.expect("the index can say") else { panic!("user {user} has a score") };
        assert_eq!((&state, &neighborhood.state), (&history.state(), &history.state()));
        assert!(neighborhood.lines.iter().map(|p| p.rank).eq(ranks), "{user} ±{around}: {neighborhood:?}");
        assert_eq!(neighborhood.own, own);
        assert_eq!(neighborhood.lines[own].user, seeded_user(user));
    }
}

/// Known to say, and none there.
pub async fn a_user_without_a_score_has_no_neighborhood(fixture: &Fixture) {
    let history = History::of_scores(board_id(), &[50]);
    filled(fixture, &history).await;
    let found = fixture.index.neighborhood(&history.board, user_id(), 3).await.unwrap();
    assert_eq!(found, Some((history.state(), None)));
}

/// No more lines than asked for, none for zero.
pub async fn top_is_cut_at_the_limit(fixture: &Fixture) {
    let history = History::of_scores(board_id(), &[50, 40, 60]);
    filled(fixture, &history).await;
    let ranked = history.model().ranked();
    for limit in [0, 1, 2, 3, 4] {
        let (state, top) = fixture.index.top(&history.board, limit).await.unwrap().unwrap();
        assert_eq!(state, history.state());
        assert_eq!(lines(&top), ranked[..limit.min(3)]);
    }
}

/// Positions with and without a player, in any order, on a board with ties; and on one that cannot say.
pub async fn scores_are_told_by_position(fixture: &Fixture) {
    let history = History::of_scores(board_id(), &[50, 40, 60, 40, -7]);
    filled(fixture, &history).await;
    let told = fixture.index.scores_at(&history.board, &[1, 2, 4, 5, 6, 1_000_000, 3, 0]).await.unwrap().unwrap();
    let scores = vec![Some(60), Some(50), Some(40), Some(-7), None, None, Some(40), None];
    assert_eq!(told, ScoresAt { state: history.state(), players: 5, scores });
    let told = fixture.index.scores_at(&history.board, &[]).await.unwrap().unwrap();
    assert_eq!((told.players, told.scores.len()), (5, 0));
    assert_eq!(fixture.index.scores_at(&board_id(), &[1]).await.unwrap(), None);
}

/// One user on two boards, one board filling.
pub async fn boards_do_not_mix(fixture: &Fixture) {
    let (one, two) = (History::of_scores(board_id(), &[1, 2, 3]), History::of_scores(board_id(), &[30, 20, 10]));
    filled(fixture, &one).await;
    filled(fixture, &two).await;
    let filler = Uuid::new_v4();
    fixture.index.begin_fill(&one.board, &one.epoch, Version(3), filler).await.unwrap();
    assert_shows(&*fixture.index, &two, Version(3)).await;
    fixture.index.finish_fill(&one.board, filler, &one.state()).await.unwrap();
    assert_shows(&*fixture.index, &one, Version(3)).await;
}

/// Several projectors with all changes in different orders, each catching up where it is refused.
pub async fn concurrent_projectors_end_at_the_newest_state(fixture: &Fixture) {
    let mut history = History::new(board_id());
    for n in 0..400_usize {
        history.push(seeded_user(n * n % 37), (n % 11 != 5).then_some((n * 31 % 50) as i64));
    }
    let history = Arc::new(history);
    let projectors = (0..4_u64).map(|projector| {
        let (index, history) = (Arc::clone(&fixture.index), Arc::clone(&history));
        tokio::spawn(async move {
            for step in 0..40_u64 {
                // Neighbouring ranges swap their places, differently for every projector.
                let from = (step ^ projector) % 40 * 10;
                if matches!(index.apply(&history.change(from, from + 10)).await.unwrap(), Projected::Behind(_)) {
                    history.catch_up(&*index, 50).await;
                }
            }
        })
    });
    for projector in projectors.collect::<Vec<_>>() {
        projector.await.expect("a projector");
    }
    assert_eq!(history.catch_up(&*fixture.index, 50).await, CaughtUp::Done);
    assert_shows(&*fixture.index, &history, Version(400)).await;
}

/// Whatever is committed, delivered late, twice or in another order: what is shown equals the model at its state.
pub async fn any_sequence_equals_the_model(fixture: &Fixture) {
    for_any(64, projection_steps(30), |steps| async move {
        follow_the_model(&*fixture.index, &steps, async || {}).await;
    });
}

/// Goes through the steps on a board of its own and compares with the model after each one and at the end.
/// `wipe` makes the index lose everything, or does nothing.
///
/// # Panics
/// When the index shows anything else than the model at the state that it names.
pub async fn follow_the_model(index: &dyn RankIndex, steps: &[ProjectionStep], wipe: impl AsyncFn()) {
    let mut history = History::new(board_id());
    let mut commits: Vec<(u64, u64)> = Vec::new();
    for step in steps {
        match step {
            ProjectionStep::Commit(rows) => {
                let from = history.head().0;
                rows.iter().for_each(|(user, score)| _ = history.push(seeded_user(*user), *score));
                commits.push((from, history.head().0));
            }
            ProjectionStep::Deliver { back, more } => {
                let Some(last) = commits.len().checked_sub(back + 1) else { continue };
                let (from, to) = (commits[last.saturating_sub(*more)].0, commits[last].1);
                check_delivery(index, &history, &history.change(from, to)).await;
            }
            ProjectionStep::CatchUp { page } => {
                assert_eq!(history.catch_up(index, *page).await, CaughtUp::Done);
            }
            ProjectionStep::Wipe => wipe().await,
        }
        match index.state(&history.board).await.expect("state") {
            IndexState::At(StatePoint { version, .. }) => assert_shows(index, &history, version).await,
            IndexState::Empty => assert_eq!(index.top(&history.board, 10).await.expect("top"), None),
            IndexState::Filling => panic!("nobody is filling"),
        }
    }
    assert_eq!(history.catch_up(index, 4).await, CaughtUp::Done);
    assert_shows(index, &history, history.head()).await;
}

async fn check_delivery(index: &dyn RankIndex, history: &History, change: &BoardChange) {
    let before = index.state(&change.board).await.expect("state");
    match (index.apply(change).await.expect("apply"), before) {
        (Projected::Standing(ranks), IndexState::At(StatePoint { version, .. })) => {
            assert!(change.from <= version, "a gap was jumped");
            let model: BoardModel = history.model_at(version.max(change.to));
            let expected: Vec<_> = change.rows.iter().map(|row| model.rank(row.user)).collect();
            assert_eq!(ranks, expected);
        }
        (Projected::Behind(state), IndexState::At(StatePoint { version, .. })) => {
            assert!(change.from > version, "a change that fits was refused: {change:?} at {state:?}");
        }
        (Projected::Behind(state), before) => assert_eq!(state, before),
        (Projected::Standing(_), before) => panic!("{change:?} was taken over by an index that was {before:?}"),
    }
}
