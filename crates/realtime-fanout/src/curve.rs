//! The curve of a board: scores at some ranks, so that any viewer can tell "about 14,200th" without a query. Read where
//! somebody watches it, and told when it changed.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use board_view::BoardViews;
use common::ids::BoardId;
use common::ports::{RankIndex, ScoresAt};
use common::state::StatePoint;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::{CancellationToken, DropGuard};

/// 1, 2, 5, 10, … up to 20,000,000,000: more players than there are.
const POINTS: u32 = 32;

/// How long the index may take to answer.
const ANSWER_BOUND: Duration = Duration::from_secs(1);

/// The ranks of the curve.
fn ranks() -> Vec<u64> {
    (0..POINTS).map(|n| [1, 2, 5][n as usize % 3] * 10_u64.pow(n / 3)).collect()
}

/// A curve, `[rank, score]` the best first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Curve {
    pub(crate) state: StatePoint,
    pub(crate) players: u64,
    pub(crate) points: Vec<(u64, i64)>,
}

impl Curve {
    fn of(told: ScoresAt) -> Self {
        let points = ranks().into_iter().zip(told.scores).filter_map(|(rank, score)| Some((rank, score?)));
        Self { state: told.state, players: told.players, points: points.collect() }
    }

    fn looks_like(&self, other: &Self) -> bool {
        self.state.epoch == other.state.epoch && self.players == other.players && self.points == other.points
    }
}

/// A board's newest curve; its task ends when the last handle is dropped.
pub(crate) struct CurveFeed {
    newest: watch::Receiver<Option<Arc<Curve>>>,
    _stop: DropGuard,
}

impl CurveFeed {
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<Curve>>> {
        let mut newest = self.newest.clone();
        newest.mark_changed();
        newest
    }
}

/// The curves that somebody watches.
pub(crate) struct Curves {
    views: Arc<BoardViews>,
    ranks: Arc<dyn RankIndex>,
    interval: Duration,
    running: Mutex<HashMap<BoardId, Weak<CurveFeed>>>,
}

impl Curves {
    pub(crate) fn new(views: Arc<BoardViews>, ranks: Arc<dyn RankIndex>, interval: Duration) -> Self {
        Self { views, ranks, interval: interval.max(Duration::from_millis(10)), running: Mutex::default() }
    }

    /// A board's curve, read on the calling runtime when nobody watches it yet.
    pub(crate) fn join(self: &Arc<Self>, board: &BoardId) -> Arc<CurveFeed> {
        let mut running = self.running.lock();
        if let Some(feed) = running.get(board).and_then(Weak::upgrade) {
            return feed;
        }
        running.retain(|_, feed| feed.strong_count() > 0);
        let (told, newest) = watch::channel(None);
        let stop = CancellationToken::new();
        let task = Arc::clone(self).follow(board.clone(), told);
        tokio::spawn(stop.clone().run_until_cancelled_owned(task));
        let feed = Arc::new(CurveFeed { newest, _stop: stop.drop_guard() });
        running.insert(board.clone(), Arc::downgrade(&feed));
        feed
    }

    async fn follow(self: Arc<Self>, board: BoardId, told: watch::Sender<Option<Arc<Curve>>>) {
        let mut beat = tokio::time::interval(self.interval);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut read_at = None;
        loop {
            beat.tick().await;
            let shown = self.views.view(&board).map(|view| view.state().clone());
            if shown.is_none() || shown == read_at {
                continue;
            }
            match tokio::time::timeout(ANSWER_BOUND, self.ranks.scores_at(&board, &ranks())).await {
                Ok(Ok(Some(scores))) => {
                    read_at = shown;
                    let curve = Curve::of(scores);
                    told.send_if_modified(|newest| {
                        let changed = newest.as_ref().is_none_or(|newest| !newest.looks_like(&curve));
                        if changed {
                            *newest = Some(Arc::new(curve));
                        }
                        changed
                    });
                }
                Ok(Err(error)) => tracing::debug!(%error, %board, "the curve cannot be read now"),
                Ok(Ok(None)) | Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranks_go_up_by_two_or_two_and_a_half() {
        assert_eq!(ranks()[..7], [1, 2, 5, 10, 20, 50, 100]);
        assert_eq!((ranks().len(), ranks().last()), (32, Some(&20_000_000_000)));
    }
}
