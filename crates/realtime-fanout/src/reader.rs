//! Where a stream's client stands, and what it is given next.

use bytes::Bytes;
use common::state::{Epoch, StatePoint};
use tokio::time::Instant;
use wire::frames::{Frame, OwnChangeJson};

use crate::encoding::{Format, shut_out};
use crate::frames::{Event, FrameSet, Lead};
use crate::hub::Shown;
use crate::metrics::Sent;
use crate::own_changes::OwnChange;
use crate::stream_body::{Opening, Socket};

/// How far a client has come. A stream's state is this and no queue: whatever it has missed meanwhile is one frame.
pub(crate) struct Reader {
    format: Format,
    holds_token: bool,
    /// The history that versions are of.
    epoch: Epoch,
    /// No event of that history may carry a lower version.
    floor: u64,
    /// The newest state that the client was given; `None` before the first snapshot.
    seen: Option<StatePoint>,
    /// It was given its first state, or stood at the newest when it came.
    answered: bool,
    /// What stands before everything else: a greeting, or what the connection did not take of a frame.
    pub(crate) rest: Option<Bytes>,
    beat: u64,
    curves: u64,
    /// Up to where it has everything that it was told of.
    pub(crate) told: Option<u64>,
    history: u64,
    repaired: u64,
    told_stale: bool,
    /// Whatever comes after this is nothing.
    pub(crate) ended: bool,
    /// When it last could take something.
    pub(crate) asked_at: Instant,
}

impl Reader {
    pub(crate) fn new(opening: Opening, set: &FrameSet) -> Self {
        let Opening { format, seen, floor, greeting, holds_token } = opening;
        Self {
            format,
            holds_token,
            epoch: set.state().epoch.clone(),
            floor: floor.filter(|floor| floor.epoch == set.state().epoch).map_or(0, |floor| floor.version.0),
            answered: seen.as_ref() == Some(set.state()),
            seen,
            rest: greeting,
            beat: set.beat,
            curves: 0,
            told: None,
            history: set.history,
            repaired: set.repaired,
            told_stale: false,
            ended: false,
            asked_at: Instant::now(),
        }
    }

    /// Whether the client does not see the newest list.
    pub(crate) fn is_behind(&self, set: &FrameSet) -> bool {
        self.seen.as_ref().is_none_or(|seen| !set.is_shown_by(seen))
    }

    /// The next bytes, if the client lacks something.
    pub(crate) fn next_bytes(&mut self, socket: &Socket, shown: &Shown) -> Option<Bytes> {
        if let Some(rest) = self.rest.take() {
            return Some(rest);
        }
        if let Some(pong) = socket.pong.take() {
            return Some(pong);
        }
        if let Some(close) = socket.close.take() {
            self.ended = true;
            return Some(close);
        }
        if shown.set.demands_token && !self.holds_token {
            self.ended = true;
            return shut_out(self.format);
        }
        let (event, bytes) = self.next_frame(socket, shown)?;
        socket.group.count(event, bytes.len());
        Some(bytes)
    }

    fn next_frame(&mut self, socket: &Socket, shown: &Shown) -> Option<Event> {
        let frames = &*shown.set;
        if let Some(bye) = frames.bye {
            return Some(self.goodbye(bye.reason, rand::random_range(0..=bye.window_ms)));
        }
        // The truth itself went back: on this socket no version may, so its client starts anew on another.
        if frames.history != self.history {
            return Some(self.goodbye("the board was restored", rand::random_range(0..=frames.return_window_ms)));
        }
        if frames.state().epoch != self.epoch {
            self.enter_history(socket, &frames.state().epoch);
        }
        let newest = frames.state().version.0;
        // What the player heard of itself may be newer than what this thread was told of the board: that follows.
        if newest < self.floor {
            socket.group.hold(socket.id);
            return None;
        }
        if let Some(own) = self.take_own(socket, newest) {
            return Some(self.own_change(frames, own));
        }
        if self.told_stale && !frames.is_stale() {
            self.told_stale = false;
            return Some(self.given(frames, Sent::Snapshot, frames.snapshot(self.format)));
        }
        if let Some(frame) = self.next_state(socket, shown) {
            return Some(frame);
        }
        if frames.is_stale() && !self.told_stale {
            self.told_stale = true;
            return Some((Sent::Stale, frames.stale(self.format)));
        }
        if frames.curves != self.curves {
            self.curves = frames.curves;
            if let Some(curve) = frames.curve(self.format) {
                self.floor = newest;
                return Some((Sent::Curve, curve));
            }
        }
        if frames.beat > self.beat {
            // It moves no row: the client stands where it stood, and the next delta leads on from there.
            (self.floor, self.beat) = (newest, frames.beat);
            return Some((Sent::Heartbeat, frames.heartbeat(self.format)));
        }
        // Everything else was given, so whatever comes next is newer.
        self.take_own(socket, u64::MAX).map(|own| self.own_change(frames, own))
    }

    /// The untold change, if it is of the history that is shown and not of a later version than this.
    fn take_own(&self, socket: &Socket, newest: u64) -> Option<OwnChange> {
        let told = |own: &mut OwnChange| own.epoch.as_ref() == Some(&self.epoch) && own.version <= newest;
        socket.own.borrow_mut().take_if(told)
    }

    /// Versions of different histories do not compare: nothing that was said of the one before counts any more. Its
    /// snapshot follows, as the client's state is of another epoch.
    fn enter_history(&mut self, socket: &Socket, epoch: &Epoch) {
        self.epoch.clone_from(epoch);
        self.floor = 0;
        socket.own.borrow_mut().take_if(|own| own.epoch.as_ref() != Some(epoch));
    }

    /// The client was given states up to its floor; a change that is told later than that says so.
    fn own_change(&mut self, frames: &FrameSet, own: OwnChange) -> Event {
        self.floor = self.floor.max(own.version);
        let json = OwnChangeJson {
            board: frames.board().as_str(),
            version: self.floor,
            new_score: own.score,
            rank: own.rank,
            previous_rank: own.previous_rank,
        };
        (Sent::Me, self.format.encode(&Frame::Me(json), None))
    }

    /// What leads to the newest state; nothing if the client sees the list as it is.
    fn next_state(&mut self, socket: &Socket, shown: &Shown) -> Option<Event> {
        let frames = &*shown.set;
        let lead = match &self.seen {
            Some(_) if frames.repaired != self.repaired => Lead::Snapshot,
            Some(seen) => frames.lead(seen, self.format, !self.answered),
            None => Lead::Snapshot,
        };
        let (event, bytes) = match lead {
            Lead::Nothing => return None,
            Lead::Step => shown.step(self.format),
            other => {
                if self.answered {
                    socket.group.count_conflated();
                }
                match other {
                    Lead::Frame(event, bytes) => (event, bytes),
                    _ => (Sent::Snapshot, frames.snapshot(self.format)),
                }
            }
        };
        Some(self.given(frames, event, bytes))
    }

    /// The client stands where the frames do; whatever it was given is traffic, so no heartbeat follows at once.
    fn given(&mut self, frames: &FrameSet, event: Sent, bytes: Bytes) -> Event {
        let state = frames.state();
        self.floor = state.version.0;
        match &mut self.seen {
            Some(seen) if seen.epoch == state.epoch => seen.version = state.version,
            seen => *seen = Some(state.clone()),
        }
        self.answered = true;
        self.beat = frames.beat;
        self.repaired = frames.repaired;
        (event, bytes)
    }

    fn goodbye(&mut self, reason: &str, reconnect_in_ms: u64) -> Event {
        self.ended = true;
        (Sent::Bye, self.format.goodbye(reason, reconnect_in_ms))
    }
}
