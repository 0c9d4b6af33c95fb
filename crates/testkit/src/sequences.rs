//! Random sequences of work, repeated and reordered, and the way to run them against asynchronous code.

use std::fmt::Debug;
use std::future::Future;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Runs `test` on `cases` random values, and shrinks what fails. For `#[tokio::test(flavor = "multi_thread")]`.
///
/// # Panics
/// When `test` panics for a value; the message shows the smallest one that was found.
pub fn for_any<S, F, Fut>(cases: u32, strategy: S, test: F)
where
    S: Strategy,
    S::Value: Debug,
    F: Fn(S::Value) -> Fut,
    Fut: Future<Output = ()>,
{
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let runtime = tokio::runtime::Handle::current();
    let run = || {
        TestRunner::new(config).run(&strategy, |value| {
            runtime.block_on(test(value));
            Ok(())
        })
    };
    if let Err(failure) = tokio::task::block_in_place(run) {
        panic!("{failure}");
    }
}

/// A request in a random sequence. Numbers are places in lists that the test holds, taken modulo their lengths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A new submission, perhaps of an action or under a key that was used before.
    New {
        /// Which user.
        user: usize,
        /// Which board.
        board: usize,
        /// Which action.
        action: usize,
        /// Which idempotency key.
        key: Option<usize>,
        /// What it brings.
        points: i64,
    },
    /// The submission so many requests ago is delivered once more.
    Redelivered {
        /// 0: the last one.
        back: usize,
    },
}

/// Batches of requests in which actions, keys and submissions repeat.
pub fn batches(max_batches: usize, max_batch: usize) -> impl Strategy<Value = Vec<Vec<Request>>> {
    let new = (0..4_usize, 0..2_usize, 0..12_usize, prop::option::weighted(0.5, 0..6_usize), 1..6_i64)
        .prop_map(|(user, board, action, key, points)| Request::New { user, board, action, key, points });
    let redelivered = (0..20_usize).prop_map(|back| Request::Redelivered { back });
    let request = prop_oneof![4 => new, 1 => redelivered];
    prop::collection::vec(prop::collection::vec(request, 1..=max_batch), 1..=max_batches)
}

/// What happens around a projection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectionStep {
    /// The truth commits these: user and score, `None` for a removal. At least one.
    Commit(Vec<(usize, Option<i64>)>),
    /// A range of commits arrives as one change: late, repeated, reordered or overlapping.
    Deliver {
        /// The newest commit of the range, counted back from the last one.
        back: usize,
        /// How many commits more.
        more: usize,
    },
    /// Somebody brings the projection to the head, in pages of so many rows.
    CatchUp {
        /// Rows of a page.
        page: usize,
    },
    /// The projection loses all that it holds, if the test can make it.
    Wipe,
}

/// Steps around a projection of a board with few users and few scores, so that ties are frequent.
pub fn projection_steps(max_steps: usize) -> impl Strategy<Value = Vec<ProjectionStep>> {
    let score = prop_oneof![8 => (-3..6_i64).prop_map(Some), 1 => Just(None)];
    let commit = prop::collection::vec((0..8_usize, score), 1..5).prop_map(ProjectionStep::Commit);
    let deliver = (0..5_usize, 0..3_usize).prop_map(|(back, more)| ProjectionStep::Deliver { back, more });
    let last = Just(ProjectionStep::Deliver { back: 0, more: 0 });
    let catch_up = (1..6_usize).prop_map(|page| ProjectionStep::CatchUp { page });
    let step = prop_oneof![
        8 => commit,
        6 => last,
        6 => deliver,
        4 => catch_up,
        1 => Just(ProjectionStep::Wipe),
    ];
    prop::collection::vec(step, 1..=max_steps)
}
