//! The sockets of one worker thread. Everything in here stays on that thread: no locks, and a tick is one wake across
//! threads for all sockets of a group.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::encoding::Format;
use crate::frames::FrameSet;
use crate::group::{Group, GroupKey, Groups};
use crate::metrics::{Metrics, Sent};
use crate::stream_body::Socket;

/// How many sockets of a thread are told to go at a time, and for how long the others wait: 25,000 a second.
const GOODBYES_AT_ONCE: usize = 500;
const BETWEEN_GOODBYES: Duration = Duration::from_millis(20);

/// How many sockets are written to before others on the thread have their turn: about a millisecond.
const WRITES_AT_ONCE: usize = 128;

/// The groups that somebody on this thread watches.
#[derive(Default)]
pub(crate) struct Hub {
    groups: RefCell<HashMap<GroupKey, Weak<LocalGroup>>>,
}

impl Hub {
    /// The thread's part of a group. `None` when there is no view of the board.
    pub(crate) fn join(&self, groups: &Arc<Groups>, key: &GroupKey) -> Option<Rc<LocalGroup>> {
        let mut local = self.groups.borrow_mut();
        // A group that said goodbye takes no newcomers.
        if let Some(group) = local.get(key).and_then(Weak::upgrade).filter(|group| group.shown().set.bye.is_none()) {
            return Some(group);
        }
        local.retain(|_, group| group.strong_count() > 0);
        let group = LocalGroup::start(groups.join(key)?, Arc::clone(&groups.metrics));
        local.insert(key.clone(), Rc::downgrade(&group));
        Some(group)
    }
}

/// What sockets of a group on one thread may be given now.
pub(crate) struct Shown {
    pub(crate) set: Arc<FrameSet>,
    /// The thread's own copies of what most sockets are given: counting references to one that all threads share costs
    /// more than the copy.
    steps: [OnceCell<(Sent, Bytes)>; Format::COUNT],
}

impl Shown {
    fn new(set: Arc<FrameSet>) -> Rc<Self> {
        Rc::new(Self { set, steps: Default::default() })
    }

    /// [`FrameSet::step`].
    pub(crate) fn step(&self, format: Format) -> (Sent, Bytes) {
        let copied = || {
            let (sent, bytes) = self.set.step(format);
            (sent, Bytes::copy_from_slice(&bytes))
        };
        self.steps[format as usize].get_or_init(copied).clone()
    }
}

/// One group's sockets on one thread.
pub(crate) struct LocalGroup {
    /// Keeps the group's task running.
    group: Arc<Group>,
    shown: RefCell<Rc<Shown>>,
    sockets: RefCell<Slab<Place>>,
    /// Sockets that have everything.
    caught_up: Cell<usize>,
    /// Sockets that were said to be behind.
    behind: Cell<i64>,
    /// Sockets that were told of a newer state than this thread shows.
    held: RefCell<HashSet<usize>>,
    sent: RefCell<SentCounts>,
    metrics: Arc<Metrics>,
    task: RefCell<Option<JoinHandle<()>>>,
}

/// A socket's place.
#[derive(Default)]
struct Place {
    /// Where it waits for news.
    waker: Option<Waker>,
    /// Whether, and where, news may be written without waking anybody. Taken out with the place, so not a circle.
    direct: Option<Rc<Socket>>,
}

/// Counted here and handed on once per tick: a shared counter per frame would cost more than the frame.
#[derive(Default)]
struct SentCounts {
    frames: [u64; Sent::ALL.len()],
    bytes: u64,
    conflated: u64,
}

impl LocalGroup {
    fn start(group: Arc<Group>, metrics: Arc<Metrics>) -> Rc<Self> {
        let mut newest = group.subscribe();
        let local = Rc::new(Self {
            shown: RefCell::new(Shown::new(Arc::clone(&newest.borrow_and_update()))),
            group,
            sockets: RefCell::default(),
            caught_up: Cell::new(0),
            behind: Cell::new(0),
            held: RefCell::default(),
            sent: RefCell::default(),
            metrics,
            task: RefCell::default(),
        });
        let task = actix_web::rt::spawn(follow(Rc::downgrade(&local), newest));
        local.task.replace(Some(task));
        local
    }

    /// What a socket may be given now.
    pub(crate) fn shown(&self) -> Rc<Shown> {
        Rc::clone(&self.shown.borrow())
    }

    /// A place for a new socket.
    pub(crate) fn enter(&self) -> usize {
        self.sockets.borrow_mut().insert(Place::default())
    }

    /// News for this socket may be written directly.
    pub(crate) fn offer_to(&self, socket: Rc<Socket>) {
        if let Some(place) = self.sockets.borrow_mut().get_mut(socket.id) {
            place.direct = Some(socket);
        }
    }

    /// A socket has everything up to now. `told`: up to where it had everything before. Returns what that is now.
    pub(crate) fn has_everything(&self, told: Option<u64>) -> Option<u64> {
        let newest = Some(self.shown.borrow().set.told);
        if told != newest {
            self.caught_up.set(self.caught_up.get() + 1);
        }
        newest
    }

    /// Wakes a socket at the next news.
    pub(crate) fn wait(&self, id: usize, waker: &Waker) {
        if let Some(place) = self.sockets.borrow_mut().get_mut(id) {
            match &mut place.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
    }

    /// Wakes one socket now.
    pub(crate) fn wake(&self, id: usize) {
        if let Some(waker) = self.sockets.borrow().get(id).and_then(|place| place.waker.as_ref()) {
            waker.wake_by_ref();
        }
    }

    /// Wakes a socket at the next state, also at one that others need not hear of.
    pub(crate) fn hold(&self, id: usize) {
        self.held.borrow_mut().insert(id);
    }

    pub(crate) fn leave(&self, id: usize, told: Option<u64>) {
        if told == Some(self.shown.borrow().set.told) {
            self.caught_up.set(self.caught_up.get() - 1);
        }
        self.sockets.borrow_mut().try_remove(id);
        self.held.borrow_mut().remove(&id);
    }

    pub(crate) fn count(&self, event: Sent, bytes: usize) {
        let mut sent = self.sent.borrow_mut();
        sent.frames[event as usize] += 1;
        sent.bytes += bytes as u64;
    }

    pub(crate) fn count_conflated(&self) {
        self.sent.borrow_mut().conflated += 1;
    }

    /// Shows a set; whether sockets have to hear of it.
    fn show(&self, set: Arc<FrameSet>) -> bool {
        let before = self.shown.replace(Shown::new(set));
        for id in self.held.take() {
            self.wake(id);
        }
        if self.shown.borrow().set.told == before.set.told {
            return false;
        }
        self.caught_up.set(0);
        self.hand_counts_on();
        true
    }

    /// Gives all sockets the news, and waits until each that could not take them at once was asked once.
    async fn sweep(&self) {
        let started = Instant::now();
        let shown = self.shown();
        let ids = self.ids();
        for batch in ids.chunks(WRITES_AT_ONCE) {
            batch.iter().for_each(|id| self.give(*id, &shown, started));
            to_the_back_of_the_queue().await;
        }
        let took = started.elapsed();
        self.group.swept(took);
        self.metrics.tick_seconds.record(took.as_secs_f64(), &[]);
        let behind = self.sockets.borrow().len().saturating_sub(self.caught_up.get());
        self.note_behind(i64::try_from(behind).unwrap_or(i64::MAX));
    }

    fn ids(&self) -> Vec<usize> {
        self.sockets.borrow().iter().map(|(id, _)| id).collect()
    }

    /// Nothing that is called in here takes a place or gives one back.
    fn give(&self, id: usize, shown: &Shown, now: Instant) {
        let sockets = self.sockets.borrow();
        let Some(place) = sockets.get(id) else { return };
        let has_it = place.direct.as_ref().is_some_and(|socket| socket.write_directly(shown, now));
        if let Some(waker) = place.waker.as_ref().filter(|_| !has_it) {
            waker.wake_by_ref();
        }
    }

    /// Wakes the sockets in batches: their clients need not all see the end in the same moment.
    async fn say_goodbye(&self) {
        let ids = self.ids();
        for batch in ids.chunks(GOODBYES_AT_ONCE) {
            batch.iter().for_each(|id| self.wake(*id));
            tokio::time::sleep(BETWEEN_GOODBYES).await;
        }
    }

    fn note_behind(&self, behind: i64) {
        let change = behind - self.behind.replace(behind);
        if change != 0 {
            self.metrics.behind.add(change, &[]);
        }
    }

    fn hand_counts_on(&self) {
        let sent = self.sent.take();
        for event in Sent::ALL {
            let count = sent.frames[event as usize];
            if count > 0 {
                self.metrics.frames_sent(event, count);
            }
        }
        if sent.bytes > 0 {
            self.metrics.bytes.add(sent.bytes, &[]);
        }
        if sent.conflated > 0 {
            self.metrics.conflated.add(sent.conflated, &[]);
        }
    }
}

impl Drop for LocalGroup {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.hand_counts_on();
        self.note_behind(0);
    }
}

/// Resolves when everything that is to run on this thread now has run: the thread's tasks take turns in the order in which
/// they were woken.
async fn to_the_back_of_the_queue() {
    let mut waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn follow(local: Weak<LocalGroup>, mut newest: watch::Receiver<Arc<FrameSet>>) {
    while newest.changed().await.is_ok() {
        let Some(local) = local.upgrade() else { return };
        let set = Arc::clone(&newest.borrow_and_update());
        let bye = set.bye.is_some();
        if local.show(set) {
            if bye {
                local.say_goodbye().await;
            } else {
                local.sweep().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use board_view::{BoardViews, ViewSettings};
    use common::clock::Clock;
    use common::ids::BoardId;
    use embedded::Embedded;
    use testkit::clock::ManualClock;
    use testkit::waiting::{SOON, eventually};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::settings::FanoutSettings;
    use crate::sockets::Sockets;

    /// A thread's part of the group of the built-in board.
    async fn local_group(embedded: &Embedded, clock: Arc<dyn Clock>) -> Rc<LocalGroup> {
        let (truth, bus) = (Arc::clone(&embedded.store) as _, Arc::clone(&embedded.bus) as _);
        let views = Arc::new(BoardViews::new(truth, bus, Arc::clone(&clock), ViewSettings::default()));
        let following = Arc::clone(&views);
        tokio::spawn(async move { following.run(CancellationToken::new()).await });
        let board = BoardId::global();
        eventually(SOON, "the view of the board", || async { views.view(&board).is_some() }).await;
        let (settings, metrics) = (FanoutSettings::default(), Arc::new(Metrics::new()));
        let sockets = Sockets::new(&settings, Arc::clone(&metrics));
        let groups = Groups::new(views, clock, settings, sockets, metrics, Arc::clone(&embedded.ranks) as _);
        Hub::default().join(&Arc::new(groups), &GroupKey { board, limit: 10, curve: false }).unwrap()
    }

    #[test]
    fn a_socket_is_held_once_however_often_it_asks_and_no_more_when_it_has_left() {
        actix_web::rt::System::new().block_on(async {
            let (data, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
            let embedded = Embedded::open(data.path(), Arc::clone(&clock) as _).unwrap();
            let group = local_group(&embedded, clock).await;
            let (first, second) = (group.enter(), group.enter());
            for _ in 0..1_000 {
                group.hold(first);
                group.hold(second);
            }
            assert_eq!(group.held.borrow().len(), 2);
            group.leave(first, None);
            assert_eq!(group.held.borrow().len(), 1);
        });
    }
}
