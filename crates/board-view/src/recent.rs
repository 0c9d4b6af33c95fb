//! The states that a board showed lately, so that somebody who saw one of them can be led from it to the newest.

use std::collections::VecDeque;
use std::sync::Arc;

use common::state::{StatePoint, Version};

use crate::view::View;

/// Bounded, and every state in it is one of the board's whole states: of one history, in order of their versions.
#[derive(Debug)]
pub(crate) struct Recent {
    capacity: usize,
    states: VecDeque<Past>,
}

/// A state, and the last version at which the board was seen to look like it.
#[derive(Debug)]
struct Past {
    view: Arc<View>,
    until: Version,
}

impl Recent {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { capacity, states: VecDeque::new() }
    }

    /// The board shows `view` now.
    pub(crate) fn push(&mut self, view: &Arc<View>) {
        if self.capacity == 0 {
            return;
        }
        let state = view.state();
        if let Some(last) = self.states.back_mut() {
            let same = last.view.window.holds_what(&view.window);
            // What was said of a version that looks different now may not be built upon.
            let rewritten = state.version < last.until || (state.version == last.until && !same);
            if last.view.state().epoch != state.epoch || rewritten {
                self.states.clear();
            } else if same {
                last.until = state.version;
                return;
            }
        }
        if self.states.len() == self.capacity {
            self.states.pop_front();
        }
        self.states.push_back(Past { view: Arc::clone(view), until: state.version });
    }

    /// What the board showed at exactly `state`. `None`: not known (any more).
    pub(crate) fn at(&self, state: &StatePoint) -> Option<Arc<View>> {
        let after = self.states.partition_point(|past| past.view.state().version <= state.version);
        let past = self.states.get(after.checked_sub(1)?)?;
        let known = past.view.state().epoch == state.epoch && state.version <= past.until;
        known.then(|| Arc::clone(&past.view))
    }
}

#[cfg(test)]
mod tests {
    use common::clock::Timestamp;
    use common::ids::{BoardId, UserId};
    use common::standing::{Entry, TopList};
    use common::state::Epoch;
    use common::top_window::TopWindow;
    use uuid::Uuid;

    use super::*;

    fn point(epoch: &str, version: u64) -> StatePoint {
        StatePoint { epoch: Epoch::parse(epoch).unwrap(), version: Version(version) }
    }

    /// A board with one player.
    fn view(epoch: &str, version: u64, score: i64) -> Arc<View> {
        let entry = Entry {
            user: UserId(Uuid::from_u128(1)),
            username: "p".into(),
            score,
            rank: 1,
            updated_at: Timestamp::from_millis(0),
            version: Version(1),
        };
        let window = TopWindow::from_top(TopList { state: point(epoch, version), entries: vec![entry] });
        Arc::new(View { board: BoardId::global(), window, stale: false, traces: Vec::new() })
    }

    fn score_at(recent: &Recent, epoch: &str, version: u64) -> Option<i64> {
        recent.at(&point(epoch, version)).map(|view| view.top(1).entries[0].score)
    }

    #[test]
    fn states_are_known_between_the_versions_at_which_they_were_seen() {
        let mut recent = Recent::new(2);
        for (version, score) in [(3, 10), (5, 10), (8, 20)] {
            recent.push(&view("e", version, score));
        }
        let scores: Vec<_> = (2..=9).map(|version| score_at(&recent, "e", version)).collect();
        assert_eq!(scores, [None, Some(10), Some(10), Some(10), None, None, Some(20), None]);
        assert_eq!(score_at(&recent, "other", 3), None);
        recent.push(&view("e", 9, 30));
        assert_eq!(score_at(&recent, "e", 5), None, "the oldest goes");
        assert_eq!((score_at(&recent, "e", 8), score_at(&recent, "e", 9)), (Some(20), Some(30)));
    }

    #[test]
    fn another_history_and_a_rewritten_one_start_anew() {
        for rewritten in [view("e2", 9, 1), view("e", 4, 1), view("e", 5, 1)] {
            let mut recent = Recent::new(9);
            recent.push(&view("e", 2, 5));
            recent.push(&view("e", 5, 6));
            recent.push(&rewritten);
            assert_eq!(score_at(&recent, "e", 2), None);
            assert_eq!(recent.states.len(), 1);
        }
    }
}
