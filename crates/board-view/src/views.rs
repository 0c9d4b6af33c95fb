//! What readers take from the task that follows every board.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use common::board::Board;
use common::clock::Clock;
use common::ids::BoardId;
use common::ports::{EventBus, Truth};
use common::state::StatePoint;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::recent::Recent;
use crate::view::{Lookup, View};

mod following;

use following::Following;

/// How views are kept.
#[derive(Clone, Debug)]
pub struct ViewSettings {
    /// How often the heads of all boards are asked for.
    pub poll: Duration,
    /// How often every view is compared with the truth.
    pub self_check: Duration,
    /// A view that was not known to be at the truth's head within this is stale.
    pub stale_after: Duration,
    /// The longest that one read of the truth may take.
    pub read_bound: Duration,
    /// States of each board that are remembered, for [`BoardViews::at`]. One takes about 2 KB.
    pub recent_states: usize,
}

impl Default for ViewSettings {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(500),
            self_check: Duration::from_secs(60),
            stale_after: Duration::from_secs(1),
            read_bound: Duration::from_secs(2),
            recent_states: 256,
        }
    }
}

/// One board's place, as readers see it.
struct Cell {
    /// Read without a lock.
    newest: ArcSwap<View>,
    /// For those who want to be told.
    told: watch::Sender<Arc<View>>,
    /// Held for moments, never across an await.
    recent: Mutex<Recent>,
    /// Reads of the board's truth that were begun, and the newest of them that was answered.
    reads_begun: AtomicU64,
    answered: watch::Sender<u64>,
}

/// The views of every board. [`Self::run`] must be running for them to move.
pub struct BoardViews {
    truth: Arc<dyn Truth>,
    bus: Arc<dyn EventBus>,
    clock: Arc<dyn Clock>,
    settings: ViewSettings,
    metrics: Metrics,
    cells: ArcSwap<HashMap<BoardId, Arc<Cell>>>,
    rules: ArcSwap<BTreeMap<BoardId, Arc<Board>>>,
    rules_read: watch::Sender<()>,
    /// The boards that the truth last named, and when it was asked.
    heads: ArcSwap<Option<Heads>>,
    /// Boards whose truth somebody wants to be read now; bounded by the boards.
    asked: Mutex<BTreeSet<BoardId>>,
    has_asked: Notify,
}

struct Heads {
    boards: Vec<BoardId>,
    asked_at: Instant,
}

impl BoardViews {
    /// Views that know nothing before [`Self::run`].
    #[must_use]
    pub fn new(truth: Arc<dyn Truth>, bus: Arc<dyn EventBus>, clock: Arc<dyn Clock>, settings: ViewSettings) -> Self {
        Self {
            truth,
            bus,
            clock,
            settings,
            metrics: Metrics::new(),
            cells: ArcSwap::default(),
            rules: ArcSwap::default(),
            rules_read: watch::Sender::new(()),
            heads: ArcSwap::default(),
            asked: Mutex::default(),
            has_asked: Notify::new(),
        }
    }

    /// A board's view, without a lock. `None` when there is none (yet): [`Self::lookup`] says which.
    #[must_use]
    pub fn view(&self, board: &BoardId) -> Option<Arc<View>> {
        self.cells.load().get(board).map(|cell| cell.newest.load_full())
    }

    /// What a board showed at exactly `state`, if that was lately. `None`: not known (any more).
    #[must_use]
    pub fn at(&self, board: &BoardId, state: &StatePoint) -> Option<Arc<View>> {
        self.cells.load().get(board)?.recent.lock().at(state)
    }

    /// What is known of a board: absent and not yet read are told apart.
    #[must_use]
    pub fn lookup(&self, board: &BoardId) -> Lookup {
        if let Some(view) = self.view(board) {
            return Lookup::Known(view);
        }
        match &**self.heads.load() {
            Some(heads) if heads.boards.binary_search(board).is_err() => Lookup::Unknown,
            Some(_) | None => Lookup::Loading,
        }
    }

    /// Follows one board's view. The receiver ends when the board does. `None` as for [`Self::view`].
    #[must_use]
    pub fn subscribe(&self, board: &BoardId) -> Option<watch::Receiver<Arc<View>>> {
        self.cells.load().get(board).map(|cell| cell.told.subscribe())
    }

    /// A board's view once it shows `state` or a later one: reads the truth for it and waits until it does or a read that
    /// began after the question has been answered, at most `within`. The view as it is then, whatever it shows; `None` as
    /// for [`Self::view`].
    pub async fn reach(&self, board: &BoardId, state: &StatePoint, within: Duration) -> Option<Arc<View>> {
        let (mut told, mut answered, begun) = {
            let cells = self.cells.load();
            let cell = cells.get(board)?;
            (cell.told.subscribe(), cell.answered.subscribe(), cell.reads_begun.load(Ordering::SeqCst))
        };
        self.asked.lock().insert(board.clone());
        self.has_asked.notify_one();
        let reached = |view: &Arc<View>| {
            let shown = view.state();
            shown.epoch == state.epoch && shown.version >= state.version
        };
        // Too late or not at all: the newest view is the answer all the same.
        let _ = tokio::time::timeout(within, async {
            tokio::select! {
                _ = told.wait_for(reached) => {}
                _ = answered.wait_for(|read| *read > begun) => {}
            }
        })
        .await;
        self.view(board)
    }

    /// A board with its rules, which are at most about 5 s old. Its head is that of the same reading:
    /// [`Self::view`] is newer.
    #[must_use]
    pub fn board(&self, board: &BoardId) -> Option<Arc<Board>> {
        self.rules.load().get(board).cloned()
    }

    /// Told whenever the rules of the boards have been read, which is about every 5 s.
    #[must_use]
    pub fn rules_read(&self) -> watch::Receiver<()> {
        self.rules_read.subscribe()
    }

    /// Every board by id, with its rules, and the state of its view as its head.
    #[must_use]
    pub fn boards(&self) -> Vec<Board> {
        let with_view = |board: &Arc<Board>| {
            let mut board = Board::clone(board);
            if let Some(view) = self.view(board.id()) {
                board.head.state = view.state().clone();
            }
            board
        };
        self.rules.load().values().map(with_view).collect()
    }

    /// Whether the rules of the boards were ever read: before that, a board that is not here may still exist.
    #[must_use]
    pub fn are_rules_known(&self) -> bool {
        !self.rules.load().is_empty()
    }

    /// Whether every board can be shown: from then on, nobody is told that it is loading.
    #[must_use]
    pub fn are_all_read(&self) -> bool {
        let heads = self.heads.load();
        let cells = self.cells.load();
        self.are_rules_known()
            && heads.as_ref().as_ref().is_some_and(|heads| heads.boards.iter().all(|board| cells.contains_key(board)))
    }

    /// Whether the truth said within `within` where its boards stand.
    #[must_use]
    pub fn is_fresh(&self, within: Duration) -> bool {
        self.heads.load().as_ref().as_ref().is_some_and(|heads| heads.asked_at.elapsed() <= within)
    }

    /// Follows the boards until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = Following::new(self).run() => {}
        }
    }

    fn publish(&self, board: &BoardId, view: View) {
        let view = Arc::new(view);
        if let Some(cell) = self.cells.load().get(board) {
            cell.recent.lock().push(&view);
            cell.newest.store(Arc::clone(&view));
            cell.told.send_replace(view);
            return;
        }
        let mut recent = Recent::new(self.settings.recent_states);
        recent.push(&view);
        let cell = Cell {
            newest: ArcSwap::new(Arc::clone(&view)),
            told: watch::Sender::new(view),
            recent: Mutex::new(recent),
            reads_begun: AtomicU64::new(0),
            answered: watch::Sender::new(0),
        };
        let mut cells = HashMap::clone(&self.cells.load());
        cells.insert(board.clone(), Arc::new(cell));
        self.cells.store(Arc::new(cells));
    }

    fn forget(&self, board: &BoardId) {
        let mut cells = HashMap::clone(&self.cells.load());
        cells.remove(board);
        self.cells.store(Arc::new(cells));
    }
}
