//! The views themselves: read by handlers, moved by the follower alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use common::board::Board;
use common::ids::BoardId;
use common::ports::{EventBus, Truth};
use common::standing::{BoardChange, TopList};
use common::state::StatePoint;
use common::top_window::{Advance, TopWindow};
use tokio::sync::{Notify, watch};

use crate::metrics::ViewMetrics;

/// How a node keeps its views current.
#[derive(Clone, Copy, Debug)]
pub struct ViewSettings {
    /// How often the truth's heads are compared with the views.
    pub poll: Duration,
    /// How often the rules of all boards are read again.
    pub rules: Duration,
}

impl Default for ViewSettings {
    fn default() -> Self {
        // Two polls fit into the second within which a change must be visible.
        Self { poll: Duration::from_millis(500), rules: Duration::from_secs(5) }
    }
}

/// The visible top of one board at one state. Immutable: a change makes a new one.
#[derive(Clone, Debug)]
pub struct View {
    window: TopWindow,
}

impl View {
    /// Which state it shows.
    #[must_use]
    pub const fn state(&self) -> &StatePoint {
        self.window.state()
    }

    /// The best `limit` lines, at most [`common::top_window::MAX_TOP`].
    #[must_use]
    pub fn top(&self, limit: usize) -> TopList {
        self.window.top(limit)
    }
}

pub(crate) type Slots = HashMap<BoardId, watch::Sender<Arc<View>>>;

/// The views and rules of all boards.
pub struct BoardViews {
    pub(crate) truth: Arc<dyn Truth>,
    pub(crate) bus: Arc<dyn EventBus>,
    pub(crate) settings: ViewSettings,
    pub(crate) metrics: ViewMetrics,
    pub(crate) slots: ArcSwap<Slots>,
    pub(crate) boards: ArcSwap<Vec<Arc<Board>>>,
    /// Asks the follower to compare with the truth now.
    pub(crate) repair: Notify,
    started: Instant,
    /// Milliseconds after `started` at which the views were last known to show the truth; 0 for never.
    confirmed_ms: AtomicU64,
}

impl BoardViews {
    /// Nothing is known until [`Self::run`] has read the truth.
    #[must_use]
    pub fn new(truth: Arc<dyn Truth>, bus: Arc<dyn EventBus>, settings: ViewSettings) -> Arc<Self> {
        Arc::new(Self {
            truth,
            bus,
            settings,
            metrics: ViewMetrics::new(),
            slots: ArcSwap::default(),
            boards: ArcSwap::default(),
            repair: Notify::new(),
            started: Instant::now(),
            confirmed_ms: AtomicU64::new(0),
        })
    }

    /// A board's view. `None`: no such board, or not read yet.
    #[must_use]
    pub fn view(&self, board: &BoardId) -> Option<Arc<View>> {
        self.slots.load().get(board).map(|slot| Arc::clone(&slot.borrow()))
    }

    /// A board's view as it moves; the newest only, whoever is slow skips the rest.
    #[must_use]
    pub fn subscribe(&self, board: &BoardId) -> Option<watch::Receiver<Arc<View>>> {
        self.slots.load().get(board).map(watch::Sender::subscribe)
    }

    /// Every board with its rules, by id; empty until they have been read.
    #[must_use]
    pub fn boards(&self) -> Arc<Vec<Arc<Board>>> {
        self.boards.load_full()
    }

    /// A board with its rules. `None`: no such board, or not read yet.
    #[must_use]
    pub fn board(&self, id: &BoardId) -> Option<Arc<Board>> {
        self.boards.load().iter().find(|board| board.id() == id).cloned()
    }

    /// Whether every view was known to show the truth at most `within` ago.
    #[must_use]
    pub fn is_fresh(&self, within: Duration) -> bool {
        let confirmed = self.confirmed_ms.load(Ordering::Acquire);
        confirmed > 0
            && self.elapsed_ms().saturating_sub(confirmed) <= u64::try_from(within.as_millis()).unwrap_or(u64::MAX)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Milliseconds on the clock of [`Self::confirm`].
    pub(crate) fn moment(&self) -> u64 {
        self.elapsed_ms()
    }

    /// The views showed what was the truth at `moment`.
    pub(crate) fn confirm(&self, moment: u64) {
        self.confirmed_ms.fetch_max(moment, Ordering::AcqRel);
    }

    /// Takes an event's change over, or asks for a repair.
    pub(crate) fn take(&self, change: &BoardChange) {
        let slots = self.slots.load();
        let Some(slot) = slots.get(&change.board) else {
            self.repair.notify_one();
            return;
        };
        slot.send_if_modified(|view| {
            // A copy: a change that cannot be taken over whole must not be seen in part.
            let mut window = view.window.clone();
            match window.advance(change) {
                Advance::Moved => {
                    *view = Arc::new(View { window });
                    true
                }
                Advance::Old => false,
                Advance::Behind => {
                    self.repair.notify_one();
                    false
                }
            }
        });
    }

    /// Shows what was read from the truth, unless an event was faster. Within an epoch no view goes back.
    pub(crate) fn show(&self, board: &BoardId, top: TopList) {
        let window = TopWindow::from_top(top);
        let slots = self.slots.load();
        if let Some(slot) = slots.get(board) {
            slot.send_if_modified(|view| {
                let (old, new) = (view.state(), window.state());
                let newer = old.epoch != new.epoch || new.version > old.version;
                if newer {
                    *view = Arc::new(View { window: window.clone() });
                }
                newer
            });
            return;
        }
        // Only the follower adds slots, one at a time.
        let mut slots: Slots = slots.iter().map(|(id, slot)| (id.clone(), slot.clone())).collect();
        slots.insert(board.clone(), watch::Sender::new(Arc::new(View { window })));
        self.slots.store(Arc::new(slots));
    }
}
