//! How one board is followed: what events, heads and reads of the truth do to its window. No I/O in here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use common::standing::{BoardChange, TopList};
use common::state::StatePoint;
use common::top_window::{Advance, TopWindow};
use tokio::time::Instant;

/// Changes that wait for one before them. More mean that waiting does not help.
const MAX_WAITING: usize = 256;

/// How long a missing change may take: events of two workers overtake each other by milliseconds.
const OVERTAKING_GRACE: Duration = Duration::from_millis(50);

/// How long the event of a change that the truth's head shows may be under way.
const EVENT_GRACE: Duration = Duration::from_millis(100);

/// Waits between reads of the truth that fail.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);

/// Why the truth is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// Nothing is known yet.
    Start,
    /// A change is missing between two that were told.
    Gap,
    /// The truth's head shows a change that was not told.
    Missed,
    /// More lines fell out of the window than it had spare.
    Depleted,
    /// The board's history was replaced.
    Epoch,
    /// The view is ahead of the truth.
    Ahead,
    /// It is time to compare.
    SelfCheck,
    /// A client says that it has seen a newer state.
    Asked,
}

impl Reason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Gap => "gap",
            Self::Missed => "missed",
            Self::Depleted => "depleted",
            Self::Epoch => "epoch",
            Self::Ahead => "ahead",
            Self::SelfCheck => "self_check",
            Self::Asked => "asked",
        }
    }
}

/// What a read of the truth found out about the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Checked {
    /// The window is as the truth says, or was brought there.
    Sound,
    /// It differed at the same version, and was replaced.
    Mismatch,
}

#[derive(Debug)]
pub(crate) struct Follower {
    window: Option<TopWindow>,
    moved_at: Instant,
    /// Changes that start above the window.
    waiting: VecDeque<Arc<BoardChange>>,
    read_due: Option<(Instant, Reason)>,
    reading: Option<Reason>,
    retry: Duration,
    /// After a read that failed: when the next may begin.
    not_before: Instant,
    /// Where the truth stood, and when that was asked.
    head: Option<(StatePoint, Instant)>,
    /// Times in a row that the truth stood below a window that had not moved since it was asked.
    seen_ahead: u32,
    fresh_at: Option<Instant>,
}

impl Follower {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            window: None,
            moved_at: now,
            waiting: VecDeque::new(),
            read_due: Some((now, Reason::Start)),
            reading: None,
            retry: FIRST_RETRY,
            not_before: now,
            head: None,
            seen_ahead: 0,
            fresh_at: None,
        }
    }

    pub(crate) const fn window(&self) -> Option<&TopWindow> {
        self.window.as_ref()
    }

    /// The view is as new as the truth was within `within`.
    pub(crate) fn is_fresh(&self, within: Duration, now: Instant) -> bool {
        self.fresh_at.is_some_and(|at| now.saturating_duration_since(at) <= within)
    }

    /// An event. `true` when the window moved.
    pub(crate) fn changed(&mut self, change: Arc<BoardChange>, now: Instant) -> bool {
        let Some(window) = &mut self.window else {
            // The first read of the truth is under way and may be older than this.
            self.wait_for_earlier(change, now);
            return false;
        };
        let stood = window.state().version;
        match window.advance(&change) {
            Advance::Old => return false,
            Advance::Moved => {
                self.moved_at = now;
                self.take_waiting(now);
            }
            Advance::Behind if change.epoch != window.state().epoch => self.read_at(now, Reason::Epoch),
            Advance::Behind if change.from > window.state().version => self.wait_for_earlier(change, now),
            Advance::Behind => self.read_at(now, Reason::Depleted),
        }
        self.note_freshness();
        self.window.as_ref().is_some_and(|window| window.state().version != stood)
    }

    fn wait_for_earlier(&mut self, change: Arc<BoardChange>, now: Instant) {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.clear();
            self.read_at(now, Reason::Gap);
            return;
        }
        self.waiting.push_back(change);
        self.read_at(now + OVERTAKING_GRACE, Reason::Gap);
    }

    /// Takes over what waited and starts where the window stands now.
    fn take_waiting(&mut self, now: Instant) {
        let Some(window) = &mut self.window else { return };
        let mut waiting: Vec<_> = std::mem::take(&mut self.waiting).into();
        waiting.sort_by_key(|change| (change.from, change.to));
        let mut read = None;
        for change in waiting {
            match window.advance(&change) {
                Advance::Moved => self.moved_at = now,
                Advance::Old => {}
                Advance::Behind if change.epoch != window.state().epoch => read = Some((now, Reason::Epoch)),
                Advance::Behind if change.from > window.state().version => {
                    self.waiting.push_back(change);
                    read = read.or(Some((now + OVERTAKING_GRACE, Reason::Gap)));
                }
                Advance::Behind => read = Some((now, Reason::Depleted)),
            }
        }
        match read {
            Some((at, reason)) => self.read_at(at, reason),
            None if matches!(self.read_due, Some((_, Reason::Gap))) => self.read_due = None,
            None => {}
        }
    }

    /// Where the truth stood when it was asked at `asked_at`. Returns how far the view is behind it, in versions.
    pub(crate) fn head_seen(&mut self, head: StatePoint, asked_at: Instant, now: Instant) -> u64 {
        let lag = self.compare(&head, asked_at, now);
        self.head = Some((head, asked_at));
        self.note_freshness();
        lag
    }

    fn compare(&mut self, head: &StatePoint, asked_at: Instant, now: Instant) -> u64 {
        let Some(window) = &self.window else {
            self.read_at(now, Reason::Start);
            return head.version.0;
        };
        let state = window.state();
        if head.epoch != state.epoch {
            self.read_at(now, Reason::Epoch);
            return head.version.0;
        }
        // A truth below us that was asked before we moved is only late; after, it has lost something.
        let ahead = head.version < state.version && self.moved_at < asked_at;
        let lag = head.version.0.saturating_sub(state.version.0);
        self.seen_ahead = if ahead { self.seen_ahead + 1 } else { 0 };
        if self.seen_ahead >= 2 {
            self.read_at(now, Reason::Ahead);
        } else if lag > 0 {
            self.read_at(now + EVENT_GRACE, Reason::Missed);
        }
        lag
    }

    /// It is time to compare the whole window with the truth.
    pub(crate) fn check_due(&mut self, now: Instant, reason: Reason) {
        self.read_at(now, reason);
    }

    /// The earlier of two wishes stays; for who asked, the truth is read whatever events bring meanwhile.
    fn read_at(&mut self, at: Instant, reason: Reason) {
        match &mut self.read_due {
            Some((due, wish @ (Reason::Gap | Reason::Missed))) if *due <= at && reason == Reason::Asked => {
                *wish = reason
            }
            Some((due, _)) if *due <= at => {}
            due => *due = Some((at, reason)),
        }
    }

    /// Whether the truth is to be read now; if so, [`Self::read`] or [`Self::read_failed`] must follow.
    pub(crate) fn start_read(&mut self, now: Instant) -> Option<Reason> {
        let may_read = self.reading.is_none() && self.not_before <= now;
        let (_, reason) = self.read_due.filter(|(due, _)| may_read && *due <= now)?;
        if reason == Reason::Missed && self.is_at_head() {
            self.read_due = None;
            return None;
        }
        self.read_due = None;
        self.reading = Some(reason);
        Some(reason)
    }

    pub(crate) fn read_failed(&mut self, now: Instant) {
        if let Some(reason) = self.reading.take() {
            self.not_before = now + self.retry;
            self.read_at(self.not_before, reason);
            self.retry = (self.retry * 2).min(LAST_RETRY);
        }
    }

    /// The truth's answer. `None` when the view stays as it was: the read lost the race against events.
    pub(crate) fn read(&mut self, top: TopList, now: Instant) -> Option<Checked> {
        let reason = self.reading.take();
        self.retry = FIRST_RETRY;
        let read = TopWindow::from_top(top);
        let mut checked = Checked::Sound;
        if let Some(window) = &self.window
            && window.state().epoch == read.state().epoch
        {
            let (stands, says) = (window.state().version, read.state().version);
            // Never back within an epoch, unless the truth itself went back and stays there.
            if says < stands && reason != Some(Reason::Ahead) {
                self.take_waiting(now);
                return None;
            }
            if says == stands {
                if window.agrees_with(&read) && reason != Some(Reason::Depleted) {
                    self.take_waiting(now);
                    self.note_freshness();
                    return None;
                }
                if !window.agrees_with(&read) {
                    checked = Checked::Mismatch;
                }
            }
        }
        self.window = Some(read);
        self.moved_at = now;
        self.seen_ahead = 0;
        self.take_waiting(now);
        if !self.is_at_head() {
            self.read_at(now + EVENT_GRACE, Reason::Missed);
        }
        self.note_freshness();
        Some(checked)
    }

    fn is_at_head(&self) -> bool {
        match (&self.head, &self.window) {
            (Some((head, _)), Some(window)) => {
                window.state().epoch == head.epoch && window.state().version >= head.version
            }
            (None, _) => true,
            (Some(_), None) => false,
        }
    }

    fn note_freshness(&mut self) {
        if let Some((_, asked_at)) = self.head
            && self.is_at_head()
        {
            self.fresh_at = Some(asked_at);
        }
    }
}

#[cfg(test)]
mod tests;
