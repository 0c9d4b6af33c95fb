//! One task for every (board, limit) that somebody watches: makes the frames when the view moves.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use board_view::{BoardViews, View};
use common::clock::{Clock, Timestamp};
use common::ids::BoardId;
use common::ports::RankIndex;
use opentelemetry::KeyValue;
use parking_lot::Mutex;
use runtime::telemetry::{link_to, set_parent};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::curve::{Curve, CurveFeed, Curves};
use crate::frames::{FrameSet, Goodbye, Moved};
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::settings::FanoutSettings;
use crate::sockets::Sockets;

/// What a group shows.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct GroupKey {
    pub(crate) board: BoardId,
    /// Lines.
    pub(crate) limit: usize,
    /// With the board's curve.
    pub(crate) curve: bool,
}

/// A group that somebody watches; its task ends when the last handle is dropped.
pub(crate) struct Group {
    frames: Arc<watch::Sender<Arc<FrameSet>>>,
    pace: Arc<Pace>,
    _stop: DropGuard,
}

impl Group {
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<FrameSet>> {
        self.frames.subscribe()
    }
}

impl Group {
    /// A thread has asked all of its sockets, which took so long.
    pub(crate) fn swept(&self, took: Duration) {
        self.pace.swept(took);
    }
}

/// What every group's task needs.
pub(crate) struct Groups {
    pub(crate) views: Arc<BoardViews>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: FanoutSettings,
    pub(crate) metrics: Arc<Metrics>,
    sockets: Arc<Sockets>,
    curves: Arc<Curves>,
    /// Set once, when the node drains.
    pub(crate) goodbye: watch::Sender<Option<Goodbye>>,
    running: Mutex<HashMap<GroupKey, Weak<Group>>>,
}

impl Groups {
    pub(crate) fn new(
        views: Arc<BoardViews>,
        clock: Arc<dyn Clock>,
        settings: FanoutSettings,
        sockets: Arc<Sockets>,
        metrics: Arc<Metrics>,
        ranks: Arc<dyn RankIndex>,
    ) -> Self {
        let goodbye = watch::Sender::new(None);
        let curves = Arc::new(Curves::new(Arc::clone(&views), ranks, settings.curve));
        Self { views, clock, settings, metrics, sockets, curves, goodbye, running: Mutex::default() }
    }

    /// The group, started on the calling runtime when nobody watches it yet. `None` when there is no view of the board.
    pub(crate) fn join(self: &Arc<Self>, key: &GroupKey) -> Option<Arc<Group>> {
        let mut running = self.running.lock();
        if let Some(group) = running.get(key).and_then(Weak::upgrade) {
            return Some(group);
        }
        running.retain(|_, group| group.strong_count() > 0);
        let view = self.views.subscribe(&key.board)?;
        let first = FrameSet::first(key, Arc::clone(&self.views), Arc::clone(&view.borrow()));
        let frames = Arc::new(watch::Sender::new(Arc::new(first)));
        let stop = CancellationToken::new();
        let pace = Arc::new(Pace::new(self.settings.tick));
        let task = GroupTask::new(Arc::clone(self), Arc::clone(&frames), Arc::clone(&pace));
        let curve = key.curve.then(|| self.curves.join(&key.board));
        tokio::spawn(stop.clone().run_until_cancelled_owned(task.run(view, curve)));
        let group = Arc::new(Group { frames, pace, _stop: stop.drop_guard() });
        running.insert(key.clone(), Arc::downgrade(&group));
        Some(group)
    }
}

struct GroupTask {
    groups: Arc<Groups>,
    frames: Arc<watch::Sender<Arc<FrameSet>>>,
    tick_at: Instant,
    beat_at: Instant,
    pace: Arc<Pace>,
    /// Of a later state than the frames show.
    early_curve: Option<Arc<Curve>>,
}

impl GroupTask {
    fn new(groups: Arc<Groups>, frames: Arc<watch::Sender<Arc<FrameSet>>>, pace: Arc<Pace>) -> Self {
        let now = Instant::now();
        let beat_at = now + groups.settings.heartbeat;
        Self { groups, frames, tick_at: now, beat_at, pace, early_curve: None }
    }

    async fn run(mut self, mut view: watch::Receiver<Arc<View>>, curve: Option<Arc<CurveFeed>>) {
        let mut curves = curve.as_ref().map(|feed| feed.subscribe());
        let mut goodbye = self.groups.goodbye.subscribe();
        let mut rules = self.groups.views.rules_read();
        rules.mark_changed();
        // The first set was made from a view that may have moved since.
        view.mark_changed();
        let mut moved = false;
        loop {
            tokio::select! {
                biased;
                bye = goodbye.wait_for(Option::is_some) => {
                    let bye = bye.ok().and_then(|bye| *bye);
                    self.close(bye.unwrap_or_else(|| self.goodbye("draining")));
                    return;
                }
                changed = view.changed(), if !moved => {
                    if changed.is_err() {
                        self.close(self.goodbye("the board is gone"));
                        return;
                    }
                    moved = true;
                }
                () = sleep_until(self.tick_at), if moved => {
                    moved = false;
                    let view = Arc::clone(&view.borrow_and_update());
                    self.advance(view);
                    self.tell_curve();
                }
                curve = newest_curve(&mut curves) => {
                    self.early_curve = curve;
                    self.tell_curve();
                }
                Ok(()) = rules.changed() => self.follow_rules(),
                () = sleep_until(self.beat_at) => {
                    let next = self.frames.borrow().beaten();
                    self.publish(next);
                }
            }
        }
    }

    fn advance(&mut self, view: Arc<View>) {
        let Moved { frames: mut next, told, changed_at } = self.frames.borrow().moved(Arc::clone(&view));
        if next.history != self.frames.borrow().history {
            next.return_window_ms = self.groups.sockets.return_window_ms();
        }
        if !told {
            // Every thread knows the newest version; no socket is woken for it.
            self.frames.send_replace(Arc::new(next));
            return;
        }
        let span = tracing::info_span!("frame", board = %view.board, version = %next.state().version);
        if let Some((first, others)) = view.traces.split_first() {
            set_parent(&span, first);
            others.iter().for_each(|trace| link_to(&span, trace));
        }
        span.in_scope(|| self.publish(next));
        let interval = self.pace.next();
        self.tick_at = Instant::now() + interval;
        let board = KeyValue::new("board", view.board.to_string());
        self.groups.metrics.tick_interval_seconds.record(interval.as_secs_f64(), &[board]);
        self.record(changed_at);
    }

    /// A board may demand a token from now on, of those too who are there already.
    fn follow_rules(&mut self) {
        let frames = Arc::clone(&self.frames.borrow());
        let demands_token = self.groups.views.board(frames.board()).is_some_and(|board| board.stream_token);
        if demands_token != frames.demands_token {
            self.publish(frames.demanding_token(demands_token));
        }
    }

    fn tell_curve(&mut self) {
        let shows = |curve: &Arc<Curve>| {
            let frames = self.frames.borrow();
            curve.state.epoch != frames.state().epoch || curve.state.version <= frames.state().version
        };
        if let Some(curve) = self.early_curve.take_if(|curve| shows(curve)) {
            let next = self.frames.borrow().with_curve(curve);
            self.publish(next);
        }
    }

    #[allow(clippy::cast_precision_loss)] // a wait that long is not measured to the millisecond
    fn record(&self, changed_at: Option<Timestamp>) {
        if let Some(changed_at) = changed_at {
            let waited_ms = self.groups.clock.now().millis_since(changed_at).max(0);
            self.groups.metrics.submit_to_frame_seconds.record(waited_ms as f64 / 1000.0, &[]);
        }
    }

    fn goodbye(&self, reason: &'static str) -> Goodbye {
        Goodbye { reason, window_ms: self.groups.sockets.return_window_ms() }
    }

    fn close(&mut self, bye: Goodbye) {
        let last = self.frames.borrow().closing(bye);
        self.publish(last);
    }

    fn publish(&mut self, frames: FrameSet) {
        self.frames.send_replace(Arc::new(frames));
        self.beat_at = Instant::now() + self.groups.settings.heartbeat;
    }
}

/// The next curve; never where none is watched.
async fn newest_curve(curves: &mut Option<watch::Receiver<Option<Arc<Curve>>>>) -> Option<Arc<Curve>> {
    if let Some(curves) = curves
        && curves.changed().await.is_ok()
    {
        return curves.borrow_and_update().clone();
    }
    std::future::pending().await
}
