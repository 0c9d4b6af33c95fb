//! `ScoreService/Watch`: the events of the live stream for one trusted caller, from this node's view of the board.
//!
//! A stream's state is what its reader shows, and one event that waits to be read. The next one is made when that was
//! taken, from the newest view: a slow reader is conflated, never queued.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use board_view::{View, moves};
use common::error_code::{Details, ErrorCode, Refusal};
use common::ids::BoardId;
use common::standing::TopList;
use common::state::StatePoint;
use futures_util::{Stream, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use wire::status_from_refusal;
use wire::v1::WatchEvent;
use wire::v1::watch_event::{self as events, Event};

use super::callers::Caller;
use crate::app::Gateway;

/// The most streams of one caller on this node.
const MAX_PER_CALLER: usize = 100;

/// A reader that takes nothing for so long is dropped.
const STALL_LIMIT: Duration = Duration::from_secs(10);

/// After so long without other traffic a heartbeat is sent.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// How long a caller's claim to show a newer state than this node may hold the stream up.
const RESUME_WAIT: Duration = Duration::from_secs(1);

/// The longest that a reader has at the stop for the event before the goodbye.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);

/// The window from which the wait before connecting again is drawn, milliseconds.
const RECONNECT_WINDOW_MS: u64 = 1_000;

/// What a caller reads.
pub(crate) type EventStream = Pin<Box<dyn Stream<Item = Result<WatchEvent, Status>> + Send>>;

/// The open streams of this node.
pub(crate) struct Watches {
    stop: CancellationToken,
    /// By caller; bounded by the callers.
    open: Arc<Mutex<HashMap<Arc<str>, usize>>>,
}

/// One of a caller's streams; dropping it gives its place back.
struct Seat {
    open: Arc<Mutex<HashMap<Arc<str>, usize>>>,
    caller: Arc<str>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(count) = open.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.caller);
            }
        }
    }
}

impl Watches {
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { stop, open: Arc::default() }
    }

    fn seat(&self, caller: &Caller) -> Result<Seat, Refusal> {
        let mut open = self.open.lock();
        let count = open.entry(Arc::clone(&caller.name)).or_default();
        if *count >= MAX_PER_CALLER {
            let message = format!("at most {MAX_PER_CALLER} open streams per caller on each node");
            let mut refusal = Refusal::new(ErrorCode::RateLimited, message).retry_after(1);
            refusal.details = Details::Limit("caller-streams");
            return Err(refusal);
        }
        *count += 1;
        Ok(Seat { open: Arc::clone(&self.open), caller: Arc::clone(&caller.name) })
    }

    /// Opens a stream. It ends with its reader, with the board, and at the stop.
    pub(crate) async fn open(
        &self,
        gateway: &Gateway,
        caller: &Caller,
        board: BoardId,
        limit: usize,
        since: &str,
    ) -> Result<EventStream, Refusal> {
        let views = &gateway.ports.views;
        let view = views.subscribe(&board).ok_or_else(|| gateway.unknown_board(&board))?;
        let seat = self.seat(caller)?;
        let since = StatePoint::parse(since);
        let now = view.borrow().state().clone();
        if let Some(since) = since.as_ref().filter(|since| since.epoch == now.epoch && since.version > now.version) {
            views.reach(&board, since, RESUME_WAIT).await;
        }
        let newest = view.borrow().top(limit);
        // Whoever stands at the head is told nothing old.
        let shown = since.filter(|since| *since == newest.state).map(|_| newest);
        // One event at a time: the next is made when this one was taken.
        let (sender, mut receiver) = mpsc::channel(1);
        let stalled = CancellationToken::new();
        let watcher = Watcher {
            board,
            limit,
            shown,
            stale: false,
            view,
            sender,
            stop: self.stop.clone(),
            stalled: stalled.clone(),
            seat,
        };
        tokio::spawn(watcher.run(gateway.settings.tick));
        let events = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context)).map(Ok);
        let end = futures_util::stream::once(async move { stalled.is_cancelled().then(|| Err(too_slow())) });
        Ok(Box::pin(events.chain(end.filter_map(std::future::ready))))
    }
}

/// The task of one stream: owned by its reader (it ends when the receiver is dropped) and by the node's stop.
struct Watcher {
    board: BoardId,
    limit: usize,
    /// What the reader shows.
    shown: Option<TopList>,
    /// The reader was told that what it shows may be old.
    stale: bool,
    view: watch::Receiver<Arc<View>>,
    sender: mpsc::Sender<WatchEvent>,
    stop: CancellationToken,
    /// Cancelled when the reader took nothing for too long: the stream does not end as if all were well.
    stalled: CancellationToken,
    seat: Seat,
}

impl Watcher {
    async fn run(mut self, tick: Duration) {
        let mut tick_at = Instant::now();
        while self.has_room().await {
            let beat_at = Instant::now() + HEARTBEAT;
            let Some(event) = self.next(tick_at, beat_at).await else { return };
            let last = matches!(event, Event::Bye(_));
            let event = self.message(event);
            if self.sender.try_send(event).is_err() || last {
                return;
            }
            tick_at = Instant::now() + tick;
        }
    }

    /// Waits until the event before was taken. `false`: there is nobody to tell any more.
    async fn has_room(&self) -> bool {
        let room = async { self.sender.reserve().await.is_ok() };
        tokio::pin!(room);
        tokio::select! {
            room = timeout(STALL_LIMIT, &mut room) => {
                if room.is_err() {
                    self.stalled.cancel();
                    tracing::info!(caller = &*self.seat.caller, board = %self.board, "a stream's reader took nothing for too long");
                }
                room.unwrap_or(false)
            }
            () = self.stop.cancelled() => timeout(GOODBYE_WAIT, room).await.unwrap_or(false),
        }
    }

    /// The next event, when there is one: the newest state at that time. `None`: the reader has gone.
    async fn next(&mut self, tick_at: Instant, beat_at: Instant) -> Option<Event> {
        let mut ticked = tick_at <= Instant::now();
        loop {
            if ticked {
                let view = Arc::clone(&self.view.borrow_and_update());
                if let Some(event) = self.event(&view) {
                    return Some(event);
                }
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Some(bye("draining")),
                () = self.sender.closed() => return None,
                () = sleep_until(tick_at), if !ticked => ticked = true,
                changed = self.view.changed(), if ticked => if changed.is_err() {
                    return Some(bye("the board is gone"));
                },
                () = sleep_until(beat_at) => return Some(Event::Heartbeat(events::Heartbeat {})),
            }
        }
    }

    /// What leads from what the reader shows to the view, if anything does.
    fn event(&mut self, view: &View) -> Option<Event> {
        let top = view.top(self.limit);
        let Some(before) = self.shown.take() else { return Some(self.snapshot(top)) };
        if before.state.epoch == top.state.epoch && top.state.version < before.state.version {
            self.shown = Some(before);
            // Its version may not go back; on a new stream it may start anywhere.
            return Some(bye("the board's history was replaced"));
        }
        if view.stale {
            self.shown = Some(before);
            let reason = "this node cannot be sure to show what was committed a second ago".to_owned();
            return (!std::mem::replace(&mut self.stale, true)).then_some(Event::Stale(events::Stale { reason }));
        }
        if self.stale || before.state.epoch != top.state.epoch {
            return Some(self.snapshot(top));
        }
        let same = before.entries == top.entries;
        let moved = if same { Vec::new() } else { moves(&before, &top, view) };
        match moved.last() {
            _ if same => {
                self.shown = Some(top);
                None
            }
            // Lines that left without a score to show.
            None => Some(self.snapshot(top)),
            Some(newest) => {
                let update = events::Update {
                    user_id: newest.user.to_string(),
                    new_score: newest.new_score,
                    leaderboard: wire::score::entries(&top.entries),
                    updates: moved.iter().map(move_message).collect(),
                };
                self.shown = Some(top);
                Some(Event::Update(update))
            }
        }
    }

    fn snapshot(&mut self, top: TopList) -> Event {
        self.stale = false;
        let leaderboard = wire::score::entries(&top.entries);
        self.shown = Some(top);
        Event::Snapshot(events::Snapshot { leaderboard })
    }

    fn message(&self, event: Event) -> WatchEvent {
        let state = self.shown.as_ref().map(|shown| &shown.state);
        WatchEvent {
            board: self.board.to_string(),
            epoch: state.map(|state| state.epoch.to_string()).unwrap_or_default(),
            version: state.map_or(0, |state| state.version.0),
            event: Some(event),
        }
    }
}

fn move_message(one: &board_view::Move) -> events::Move {
    events::Move {
        user_id: one.user.to_string(),
        username: one.username.to_string(),
        new_score: one.new_score,
        rank: one.rank,
        previous_rank: one.previous_rank,
    }
}

fn too_slow() -> Status {
    let seconds = STALL_LIMIT.as_secs();
    let message = format!("nothing was read for {seconds} s; open another stream from what you show");
    status_from_refusal(&Refusal::new(ErrorCode::Unavailable, message).retry_after(1))
}

fn bye(reason: &str) -> Event {
    let reconnect_in_ms = rand::random_range(0..RECONNECT_WINDOW_MS);
    Event::Bye(events::Bye { reason: reason.to_owned(), reconnect_in_ms })
}

#[cfg(test)]
mod tests;
