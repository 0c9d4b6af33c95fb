//! Which actions were accepted and are not decided yet, remembered in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use common::clock::{Clock, Timestamp};
use common::ids::{ActionId, BoardId, UserId};
use common::ports::PendingMarks;
use common::score_update::ScoreUpdate;
use parking_lot::Mutex;

/// How many marks are held; the oldest make room.
const MARKS_HELD: usize = 10_000;

/// How long a mark is remembered.
const MARK_LIFE_MS: i64 = 60 * 60 * 1000;

type Key = (UserId, BoardId, ActionId);

/// A bounded memory of accepted actions.
pub struct MemoryPendingMarks {
    clock: Arc<dyn Clock>,
    marks: Mutex<Marks>,
}

#[derive(Default)]
struct Marks {
    by_action: HashMap<Key, Mark>,
    /// Every mark ever set that may still be held, oldest first; a mark that was set again has two places.
    by_age: VecDeque<(Key, u64)>,
    next: u64,
}

struct Mark {
    number: u64,
    set_at: Timestamp,
    update: ScoreUpdate,
}

impl MemoryPendingMarks {
    /// An empty memory; `clock` tells when a mark's hour is over.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, marks: Mutex::default() }
    }
}

impl Marks {
    fn set(&mut self, key: Key, update: ScoreUpdate, set_at: Timestamp) {
        let number = self.next;
        self.next += 1;
        self.by_action.insert(key.clone(), Mark { number, set_at, update });
        self.by_age.push_back((key, number));
        while self.by_age.len() > MARKS_HELD {
            let Some((key, number)) = self.by_age.pop_front() else { return };
            if self.by_action.get(&key).is_some_and(|mark| mark.number == number) {
                self.by_action.remove(&key);
            }
        }
    }
}

#[async_trait]
impl PendingMarks for MemoryPendingMarks {
    async fn mark(&self, update: &ScoreUpdate) {
        let key = (update.user, update.board.clone(), update.action_id.clone());
        let now = self.clock.now();
        self.marks.lock().set(key, update.clone(), now);
    }

    async fn find(&self, user: UserId, board: &BoardId, action: &ActionId) -> Option<ScoreUpdate> {
        let now = self.clock.now();
        let marks = self.marks.lock();
        let mark = marks.by_action.get(&(user, board.clone(), action.clone()))?;
        (now.millis_since(mark.set_at) <= MARK_LIFE_MS).then(|| mark.update.clone())
    }
}
