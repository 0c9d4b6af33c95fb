//! The sockets of one worker thread. Everything in here stays on that thread: no locks, and a tick is one wake across
//! threads for all sockets of a group.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Waker;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::frames::FrameSet;
use crate::group::{Group, GroupKey, Groups};
use crate::metrics::{Metrics, Sent};

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
        if let Some(group) = local.get(key).and_then(Weak::upgrade).filter(|group| group.frames().bye.is_none()) {
            // Versions that changed nothing visible woke nobody; a newcomer is to see the newest.
            group.frames.replace(group.group.newest());
            return Some(group);
        }
        local.retain(|_, group| group.strong_count() > 0);
        let group = LocalGroup::start(groups.join(key)?, Arc::clone(&groups.metrics));
        local.insert(key.clone(), Rc::downgrade(&group));
        Some(group)
    }
}

/// One group's sockets on one thread.
pub(crate) struct LocalGroup {
    group: Arc<Group>,
    frames: RefCell<Arc<FrameSet>>,
    /// Those who have everything and wait for more.
    waiting: RefCell<HashMap<u64, Waker>>,
    next_id: Cell<u64>,
    sent: RefCell<SentCounts>,
    metrics: Arc<Metrics>,
    task: RefCell<Option<JoinHandle<()>>>,
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
            frames: RefCell::new(Arc::clone(&newest.borrow_and_update())),
            group,
            waiting: RefCell::default(),
            next_id: Cell::new(0),
            sent: RefCell::default(),
            metrics,
            task: RefCell::default(),
        });
        let task = actix_web::rt::spawn(follow(Rc::downgrade(&local), newest));
        local.task.replace(Some(task));
        local
    }

    /// What a socket may be given now.
    pub(crate) fn frames(&self) -> Arc<FrameSet> {
        Arc::clone(&self.frames.borrow())
    }

    /// A name for a new socket.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.replace(self.next_id.get() + 1)
    }

    /// Wakes a socket at the next news.
    pub(crate) fn wait(&self, id: u64, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        match waiting.get_mut(&id) {
            Some(known) => known.clone_from(waker),
            None => drop(waiting.insert(id, waker.clone())),
        }
    }

    /// Wakes one socket now.
    pub(crate) fn wake(&self, id: u64) {
        if let Some(waker) = self.waiting.borrow().get(&id) {
            waker.wake_by_ref();
        }
    }

    pub(crate) fn leave(&self, id: u64) {
        self.waiting.borrow_mut().remove(&id);
    }

    pub(crate) fn count(&self, event: Sent, bytes: usize) {
        let mut sent = self.sent.borrow_mut();
        sent.frames[event as usize] += 1;
        sent.bytes += bytes as u64;
    }

    pub(crate) fn count_conflated(&self) {
        self.sent.borrow_mut().conflated += 1;
    }

    fn show(&self, frames: Arc<FrameSet>) {
        self.frames.replace(frames);
        self.hand_counts_on();
        // Wakers only note that a task is to run; none runs in here.
        self.waiting.borrow().values().for_each(Waker::wake_by_ref);
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
    }
}

async fn follow(local: Weak<LocalGroup>, mut newest: watch::Receiver<Arc<FrameSet>>) {
    while newest.changed().await.is_ok() {
        let Some(local) = local.upgrade() else { return };
        let frames = Arc::clone(&newest.borrow_and_update());
        local.show(frames);
    }
}
