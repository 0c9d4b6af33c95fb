//! The task that follows every board: events, polls, and the reads of the truth that they ask for.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::board::Board;
use common::ids::BoardId;
use common::ports::{Event, Signal, StoreError};
use common::score_update::TraceContext;
use common::standing::{BoardChange, TopList};
use common::state::BoardHead;
use common::top_window::WINDOW_ROWS;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, MissedTickBehavior};

use super::{BoardViews, Heads};
use crate::follower::{Checked, Follower, Reason};
use crate::view::View;

/// How often it is looked at what is due: reads, polls, staleness.
const BEAT: Duration = Duration::from_millis(50);

/// The oldest that the rules of a board may get in memory.
const RULES_AGE: Duration = Duration::from_secs(5);

/// Reads of the truth that are under way at the same time.
const READS_AT_ONCE: usize = 8;

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

pub(super) struct Following<'a> {
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
    pub(super) fn new(views: &'a BoardViews) -> Self {
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

    pub(super) async fn run(mut self) {
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
