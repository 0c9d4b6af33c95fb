//! Answers to tasks of threads that run their tasks by themselves, as those of an HTTP server do.
//!
//! To wake such a thread costs a system call for each task that is woken from outside, asleep or not (tokio's scheduler of
//! one thread writes to its event file descriptor each time). Answers come in crowds: a batch has one for each of its
//! updates. So each of these threads has a mailbox: whatever is put into it until the thread looks wakes it once, and
//! the tasks are woken from within.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;
use tokio::sync::oneshot::{self, error::RecvError};

/// A channel for one value, as tokio's. Made on the thread that will wait for it.
#[must_use]
pub fn oneshot<T: Send + 'static>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = oneshot::channel();
    (Sender { sender, mailbox: mailbox_here() }, Receiver(receiver))
}

/// Gives the value.
pub struct Sender<T> {
    sender: oneshot::Sender<T>,
    /// `None`: who waits is on a runtime of many threads, whose threads are not woken in vain.
    mailbox: Option<Arc<Mailbox>>,
}

/// Waits for the value: a future, cancel-safe. An error says that the sender is gone.
#[derive(Debug)]
pub struct Receiver<T>(oneshot::Receiver<T>);

impl<T: Send + 'static> Sender<T> {
    /// Gives the value to the one that waits, if it still does.
    pub fn send(self, value: T) {
        let Self { sender, mailbox } = self;
        match mailbox {
            // An error only says that nobody waits any more.
            Some(mailbox) => mailbox.put(Box::new(move || drop(sender.send(value)))),
            None => drop(sender.send(value)),
        }
    }

    /// Whether nobody waits any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("by_mailbox", &self.mailbox.is_some()).finish_non_exhaustive()
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, RecvError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

type Letter = Box<dyn FnOnce() + Send>;

/// Of one thread. As many letters as there are answers that its tasks wait for.
#[derive(Default)]
struct Mailbox {
    letters: Mutex<Vec<Letter>>,
    arrived: Notify,
    /// Nobody opens what is put in any more.
    is_left: AtomicBool,
}

/// Whoever opens a mailbox is gone when this is dropped.
struct Opener(Arc<Mailbox>);

impl Drop for Opener {
    fn drop(&mut self) {
        self.0.is_left.store(true, Ordering::Release);
    }
}

impl Mailbox {
    fn put(&self, letter: Letter) {
        self.letters.lock().push(letter);
        self.arrived.notify_one();
    }

    /// Opens what arrives, on the thread whose tasks it is for; for as long as that thread's runtime lives.
    async fn open(opener: Opener) {
        let Self { letters, arrived, .. } = &*opener.0;
        loop {
            arrived.notified().await;
            let arrived = std::mem::take(&mut *letters.lock());
            arrived.into_iter().for_each(|letter| letter());
        }
    }
}

thread_local! {
    static MAILBOX: RefCell<Weak<Mailbox>> = const { RefCell::new(Weak::new()) };
}

/// The runtime of the calling task, if it is one of this thread alone.
#[must_use]
pub fn runtime_of_this_thread() -> Option<Handle> {
    Handle::try_current().ok().filter(|runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread)
}

/// The mailbox of the calling task's thread, if that runs its tasks by itself.
fn mailbox_here() -> Option<Arc<Mailbox>> {
    let runtime = runtime_of_this_thread()?;
    MAILBOX.with_borrow_mut(|here| {
        // One of an earlier runtime on this thread may still be held by senders.
        let opened = here.upgrade().filter(|mailbox| !mailbox.is_left.load(Ordering::Acquire));
        Some(opened.unwrap_or_else(|| {
            let mailbox = Arc::new(Mailbox::default());
            runtime.spawn(Mailbox::open(Opener(Arc::clone(&mailbox))));
            *here = Arc::downgrade(&mailbox);
            mailbox
        }))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};
    use std::thread;

    use super::*;

    fn runtime_of_one_thread() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn whatever_comes_until_it_is_opened_wakes_once() {
        let (mailbox, wakes, opened) =
            (Arc::new(Mailbox::default()), Arc::new(Wakes::default()), Arc::new(Wakes::default()));
        let waker = Waker::from(Arc::clone(&wakes));
        let mut opening = Box::pin(Mailbox::open(Opener(Arc::clone(&mailbox))));
        for round in 1..=3 {
            assert!(opening.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            assert_eq!(opened.0.load(Ordering::SeqCst), 100 * (round - 1));
            for _ in 0..100 {
                let opened = Arc::clone(&opened);
                mailbox.put(Box::new(move || opened.wake()));
            }
            assert_eq!(wakes.0.load(Ordering::SeqCst), round);
        }
        drop(opening);
        assert!(mailbox.is_left.load(Ordering::SeqCst));
    }

    #[test]
    fn a_thousand_tasks_hear_from_other_threads() {
        let sum: u64 = runtime_of_one_thread().block_on(async {
            let mut waiting = tokio::task::JoinSet::new();
            for n in 0..1000_u64 {
                let (sender, receiver) = oneshot();
                assert!(sender.mailbox.is_some());
                waiting.spawn(receiver);
                thread::spawn(move || sender.send(n));
            }
            waiting.join_all().await.into_iter().map(|heard| heard.expect("sent")).sum()
        });
        assert_eq!(sum, 999 * 1000 / 2);
    }

    #[tokio::test]
    async fn whoever_waits_for_a_sender_that_is_gone_hears_of_it_and_the_other_way_round() {
        let (sender, receiver) = oneshot::<()>();
        drop(sender);
        assert!(receiver.await.is_err());
        let (sender, receiver) = oneshot::<()>();
        assert!(!sender.is_closed());
        drop(receiver);
        assert!(sender.is_closed());
        sender.send(());
    }

    #[test]
    fn the_next_runtime_of_a_thread_does_not_wait_for_the_last_ones_mail() {
        // Kept: it holds the mailbox of the runtime that ends.
        let (late, _) = runtime_of_one_thread().block_on(async { oneshot::<()>() });
        runtime_of_one_thread().block_on(async {
            let (sender, receiver) = oneshot();
            thread::spawn(move || sender.send(7));
            let heard = tokio::time::timeout(std::time::Duration::from_secs(5), receiver);
            assert_eq!(heard.await.expect("somebody opens it"), Ok(7));
        });
        late.send(());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_runtime_of_many_threads_needs_no_mailbox() {
        let (sender, receiver) = oneshot();
        assert!(sender.mailbox.is_none());
        sender.send(7);
        assert_eq!(receiver.await, Ok(7));
    }
}
