//! The task that follows every board, and what readers take from it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use common::board::Board;
use common::clock::Clock;
use common::ids::BoardId;
use common::ports::{Event, EventBus, Signal, StoreError, Truth};
use common::score_update::TraceContext;
use common::standing::{BoardChange, TopList};
use common::state::{BoardHead, StatePoint};
use common::top_window::WINDOW_ROWS;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::follower::{Checked, Follower, Reason};
use crate::metrics::Metrics;
use crate::recent::Recent;
use crate::view::{Lookup, View};

/// How often it is looked at what is due: reads, polls, staleness.
const BEAT: Duration = Duration::from_millis(50);

/// The oldest that the rules of a board may get in memory.
const RULES_AGE: Duration = Duration::from_secs(5);

/// Reads of the truth that are under way at the same time.
const READS_AT_ONCE: usize = 8;

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

type Heard<T> = Result<T, ReadError>;

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no answer in time")]
    TimedOut,
}

/// What a read of the truth brought.
enum Brought {
    Heads {
        asked_at: Instant,
        heads: Heard<Vec<BoardHead>>,
    },
    Rules(Heard<Vec<Board>>),
    /// `read`: which of the board's reads it was.
    Top {
        board: BoardId,
        read: u64,
        top: Heard<Option<TopList>>,
    },
}

struct Following<'a> {
    views: &'a BoardViews,
    followers: HashMap<BoardId, Follower>,
    reads: FuturesUnordered<BoxFuture<'a, Brought>>,
    tops_in_flight: usize,
    heads_in_flight: bool,
    rules_in_flight: bool,
    poll_at: Instant,
    rules_at: Instant,
    check_at: Instant,
    /// The last poll failed: said once, not twice a second.
    failing: bool,
}

impl<'a> Following<'a> {
    fn new(views: &'a BoardViews) -> Self {
        let now = Instant::now();
        Self {
            views,
            followers: HashMap::new(),
            reads: FuturesUnordered::new(),
            tops_in_flight: 0,
            heads_in_flight: false,
            rules_in_flight: false,
            poll_at: now,
            rules_at: now,
            check_at: now + views.settings.self_check,
            failing: false,
        }
    }

    async fn run(mut self) {
        let mut signals = Some(self.views.bus.subscribe());
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let signal = async {
                match &mut signals {
                    Some(stream) => stream.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                signal = signal => match signal {
                    Some(Signal::Event(Event::BoardChanged { change, traces, .. })) => self.changed(change, traces),
                    Some(Signal::Event(Event::SessionRevoked(_))) => {}
                    Some(Signal::Gap) => self.poll_at = Instant::now(),
                    // A closed bus is the end of the process; until then the polls carry on alone.
                    None => signals = None,
                },
                Some(brought) = self.reads.next() => self.brought(brought),
                () = self.views.has_asked.notified() => self.read_asked(),
                _ = beat.tick() => self.beat(),
            }
            self.start_due();
        }
    }

    fn read_asked(&mut self) {
        let now = Instant::now();
        for board in std::mem::take(&mut *self.views.asked.lock()) {
            if let Some(follower) = self.followers.get_mut(&board) {
                follower.check_due(now, Reason::Asked);
            }
        }
    }

    fn changed(&mut self, change: Arc<BoardChange>, traces: Vec<TraceContext>) {
        let Some(follower) = self.followers.get_mut(&change.board) else {
            // A board that was made after the last poll.
            self.poll_at = Instant::now();
            return;
        };
        if follower.changed(Arc::clone(&change), Instant::now()) {
            if let Some(last) = change.rows.last() {
                let lag_ms = self.views.clock.now().millis_since(last.updated_at);
                self.views.metrics.lag_seconds.record(seconds(lag_ms), &[]);
            }
            self.show(&change.board, traces);
        }
    }

    fn brought(&mut self, brought: Brought) {
        match brought {
            Brought::Heads { asked_at, heads } => {
                self.heads_in_flight = false;
                match heads {
                    Ok(heads) => self.heads(heads, asked_at),
                    Err(error) => self.failed(&error),
                }
            }
            Brought::Rules(rules) => {
                self.rules_in_flight = false;
                match rules {
                    Ok(rules) => {
                        let rules = rules.into_iter().map(|board| (board.id().clone(), Arc::new(board))).collect();
                        self.views.rules.store(Arc::new(rules));
                        self.views.rules_read.send_replace(());
                    }
                    Err(error) => {
                        self.rules_at = Instant::now() + self.views.settings.poll;
                        self.failed(&error);
                    }
                }
            }
            Brought::Top { board, read, top } => {
                self.tops_in_flight -= 1;
                let answered = top.is_ok();
                self.top(&board, top);
                if answered {
                    self.views.answered(&board, read);
                }
            }
        }
    }

    fn failed(&mut self, error: &ReadError) {
        if !self.failing {
            self.failing = true;
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(%error, cause, "boards cannot be compared with the truth; views stay as they are");
        }
    }

    fn heads(&mut self, heads: Vec<BoardHead>, asked_at: Instant) {
        if std::mem::take(&mut self.failing) {
            tracing::info!("the truth answers again");
        }
        let now = Instant::now();
        let gone: Vec<_> =
            self.followers.keys().filter(|board| heads.iter().all(|head| head.board != **board)).cloned().collect();
        for board in gone {
            self.followers.remove(&board);
            self.views.forget(&board);
            self.rules_at = now;
        }
        let mut boards = Vec::with_capacity(heads.len());
        for BoardHead { board, state } in heads {
            let follower = self.followers.entry(board.clone()).or_insert_with(|| {
                self.rules_at = now;
                Follower::new(now)
            });
            if follower.window().is_some_and(|window| window.state().epoch != state.epoch) {
                self.rules_at = now;
            }
            let lag = follower.head_seen(state, asked_at, now);
            self.views.metrics.lag_observed(&board, lag);
            boards.push(board);
        }
        boards.sort();
        self.views.heads.store(Arc::new(Some(Heads { boards, asked_at })));
    }

    fn top(&mut self, board: &BoardId, top: Heard<Option<TopList>>) {
        let Some(follower) = self.followers.get_mut(board) else { return };
        match top {
            Ok(Some(top)) => match follower.read(top, Instant::now()) {
                Some(Checked::Sound) => self.show(board, Vec::new()),
                Some(Checked::Mismatch) => {
                    self.views.metrics.mismatched(board);
                    tracing::error!(%board, "a view differed from the truth at the same version and was replaced");
                    self.show(board, Vec::new());
                }
                None => {}
            },
            // The next poll does not name the board any more.
            Ok(None) => follower.read_failed(Instant::now()),
            Err(error) => {
                follower.read_failed(Instant::now());
                self.failed(&error);
            }
        }
    }

    fn beat(&mut self) {
        let (now, stale_after) = (Instant::now(), self.views.settings.stale_after);
        if self.check_at <= now {
            self.check_at = now + self.views.settings.self_check;
            self.followers.values_mut().for_each(|follower| follower.check_due(now, Reason::SelfCheck));
        }
        let turned = |(board, follower): (&BoardId, &Follower)| {
            let view = self.views.view(board)?;
            (view.stale == follower.is_fresh(stale_after, now)).then(|| board.clone())
        };
        let turned: Vec<_> = self.followers.iter().filter_map(turned).collect();
        for board in turned {
            self.show(&board, Vec::new());
        }
    }

    /// Shows a board's window as it is now to all readers.
    fn show(&self, board: &BoardId, traces: Vec<TraceContext>) {
        let Some(follower) = self.followers.get(board) else { return };
        let Some(window) = follower.window() else { return };
        let stale = !follower.is_fresh(self.views.settings.stale_after, Instant::now());
        self.views.publish(board, View { board: board.clone(), window: window.clone(), stale, traces });
    }

    fn start_due(&mut self) {
        let (now, views) = (Instant::now(), self.views);
        if self.poll_at <= now && !self.heads_in_flight {
            self.poll_at = now + views.settings.poll;
            self.heads_in_flight = true;
            self.reads.push(Box::pin(async move {
                Brought::Heads { asked_at: now, heads: views.bounded(views.truth.heads()).await }
            }));
        }
        if self.rules_at <= now && !self.rules_in_flight {
            self.rules_at = now + RULES_AGE;
            self.rules_in_flight = true;
            self.reads.push(Box::pin(async move { Brought::Rules(views.bounded(views.truth.boards()).await) }));
        }
        for (board, follower) in &mut self.followers {
            if self.tops_in_flight >= READS_AT_ONCE {
                break;
            }
            if let Some(reason) = follower.start_read(now) {
                views.metrics.refilled(reason);
                self.tops_in_flight += 1;
                let (board, read) = (board.clone(), views.begun(board));
                self.reads.push(Box::pin(async move {
                    let top = views.bounded(views.truth.top(&board, WINDOW_ROWS)).await;
                    Brought::Top { board, read, top }
                }));
            }
        }
    }
}

impl BoardViews {
    /// A read of a board's truth begins; its number, which is 0 before there is anything to show of the board.
    fn begun(&self, board: &BoardId) -> u64 {
        self.cells.load().get(board).map_or(0, |cell| cell.reads_begun.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn answered(&self, board: &BoardId, read: u64) {
        if let Some(cell) = self.cells.load().get(board) {
            cell.answered.send_replace(read);
        }
    }

    async fn bounded<T>(&self, read: impl Future<Output = Result<T, StoreError>>) -> Heard<T> {
        match tokio::time::timeout(self.settings.read_bound, read).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ReadError::TimedOut),
        }
    }
}

/// Milliseconds as a metric takes them; a clock that was set back counts as no time.
#[allow(clippy::cast_precision_loss)] // a lag that long is not measured to the millisecond
fn seconds(millis: i64) -> f64 {
    millis.max(0) as f64 / 1000.0
}
