//! The frames of a group, each encoded once for everybody: when somebody needs it first.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use board_view::{BoardViews, Move, View, moves};
use bytes::Bytes;
use common::clock::Timestamp;
use common::ids::BoardId;
use common::standing::TopList;
use common::state::{StatePoint, Version};
use parking_lot::Mutex;
use wire::frames::{CurveJson, DeltaJson, Frame, HeartbeatJson, MoveJson, OpJson, SnapshotJson, StaleJson, UpdateJson};
use wire::json::entries;

use crate::curve::Curve;
use crate::encoding::Format;
use crate::group::GroupKey;
use crate::list_ops::{checksum, is_checked, list_ops};
use crate::metrics::Sent;

/// Updates of one set for clients that stand elsewhere than most do. Whoever comes when there are so many gets the
/// snapshot.
const OTHER_UPDATES: usize = 256;

/// What is said with `scoreboard:stale`.
const STALE: &str = "this node cannot be sure to show what was committed a second ago";

/// What sockets of a group may be given now. Its state is immutable: the next set replaces it.
pub(crate) struct FrameSet {
    key: GroupKey,
    views: Arc<BoardViews>,
    view: Arc<View>,
    /// The visible list at the board's newest state.
    top: Arc<TopList>,
    /// The list has looked like this since this version.
    since: Version,
    /// The list before this one.
    step: Option<Arc<Step>>,
    /// Grows whenever sockets have to hear of something.
    pub(crate) told: u64,
    /// Where sockets stand that took every change they were told of.
    told_at: Version,
    /// Grows with every heartbeat that is due.
    pub(crate) beat: u64,
    /// Grows when the board's history was replaced by an older state of the same epoch: no socket may follow that.
    pub(crate) history: u64,
    /// Over how long a time the clients that cannot follow should come back, milliseconds.
    pub(crate) return_window_ms: u64,
    /// Grows when the list turned out to have been wrong at the version that it was shown with.
    pub(crate) repaired: u64,
    /// The newest curve, in groups that watch it.
    curve: Option<Arc<Curve>>,
    /// Grows with every curve.
    pub(crate) curves: u64,
    /// The board shows its stream to whoever has a token: sockets that showed none are to be closed.
    pub(crate) demands_token: bool,
    /// Every socket is to be closed.
    pub(crate) bye: Option<Goodbye>,
    made: Made,
}

/// The visible list before the newest.
struct Step {
    top: Arc<TopList>,
    /// Whoever has seen the list from here on saw this one.
    base: Version,
    /// Where most sockets stood on it.
    stood: Version,
}

/// An encoded event.
pub(crate) type Event = (Sent, Bytes);

/// What was encoded already.
#[derive(Default)]
struct Made {
    ops: OnceLock<Vec<OpJson>>,
    checksum: OnceLock<String>,
    step: [OnceLock<Event>; Format::COUNT],
    snapshot: [OnceLock<Bytes>; Format::COUNT],
    heartbeat: [OnceLock<Bytes>; Format::COUNT],
    stale: [OnceLock<Bytes>; Format::COUNT],
    curve: [OnceLock<Bytes>; Format::COUNT],
    /// For clients that stand elsewhere, by what they have seen. Locked for lookups and encodings, never across an
    /// await, and not on the way that most sockets take.
    others: Mutex<HashMap<(Version, Format), Option<Event>>>,
}

/// Why sockets are closed, and over how long a time (milliseconds) their clients should come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Goodbye {
    pub(crate) reason: &'static str,
    pub(crate) window_ms: u64,
}

/// What the next set means for sockets.
pub(crate) struct Moved {
    pub(crate) frames: FrameSet,
    /// Sockets have to hear of it.
    pub(crate) told: bool,
    /// When the newest visible change was made.
    pub(crate) changed_at: Option<Timestamp>,
}

/// How a client is brought from what it has seen to the newest state.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Lead {
    /// It sees the list as it is, or a newer one than this node shows yet.
    Nothing,
    /// By what most sockets are given: [`FrameSet::step`].
    Step,
    /// By this.
    Frame(Sent, Bytes),
    /// By [`FrameSet::snapshot`].
    Snapshot,
}

impl FrameSet {
    /// The first of a group.
    pub(crate) fn first(key: &GroupKey, views: Arc<BoardViews>, view: Arc<View>) -> Self {
        let top = Arc::new(view.top(key.limit));
        Self {
            key: key.clone(),
            views,
            since: top.state.version,
            step: None,
            told: 0,
            told_at: top.state.version,
            beat: 0,
            history: 0,
            return_window_ms: 0,
            repaired: 0,
            curve: None,
            curves: 0,
            demands_token: false,
            bye: None,
            made: Made::default(),
            view,
            top,
        }
    }

    /// The same, for somebody to change.
    fn copied(&self) -> Self {
        Self {
            key: self.key.clone(),
            views: Arc::clone(&self.views),
            view: Arc::clone(&self.view),
            top: Arc::clone(&self.top),
            step: self.step.clone(),
            curve: self.curve.clone(),
            made: Made::default(),
            ..*self
        }
    }

    /// The set after the view moved.
    pub(crate) fn moved(&self, view: Arc<View>) -> Moved {
        let top = Arc::new(view.top(self.key.limit));
        let (old, new) = (&self.top.state, &top.state);
        let mut next = self.copied();
        let mut told = view.stale != self.view.stale;
        let mut changed_at = None;
        if old.epoch != new.epoch || new.version < old.version {
            next.history += u64::from(old.epoch == new.epoch);
            (next.since, next.step, told) = (new.version, None, true);
        } else if self.top.entries != top.entries {
            next.repaired += u64::from(old.version == new.version);
            let newest = top.entries.iter().filter(|entry| entry.version > old.version).max_by_key(|e| e.version);
            changed_at = newest.map(|newest| newest.updated_at);
            let step = Step { top: Arc::clone(&self.top), base: self.since, stood: self.told_at };
            (next.since, next.step, told) = (new.version, Some(Arc::new(step)), true);
        }
        if told {
            next.told += 1;
            next.told_at = new.version;
        }
        (next.view, next.top) = (view, top);
        Moved { frames: next, told, changed_at }
    }

    /// The set when a heartbeat is due.
    pub(crate) fn beaten(&self) -> Self {
        let mut next = self.copied();
        next.beat += 1;
        next.told += 1;
        next
    }

    /// The set with a new curve, which must not be of a later state.
    pub(crate) fn with_curve(&self, curve: Arc<Curve>) -> Self {
        let mut next = self.copied();
        next.curve = Some(curve);
        next.curves += 1;
        next.told += 1;
        next
    }

    /// The set once the board demands a token, or none any more: then nobody has to hear of it.
    pub(crate) fn demanding_token(&self, demands_token: bool) -> Self {
        let mut next = self.copied();
        next.demands_token = demands_token;
        next.told += u64::from(demands_token);
        next
    }

    /// The set that closes every socket.
    pub(crate) fn closing(&self, bye: Goodbye) -> Self {
        let mut next = self.copied();
        next.bye = Some(bye);
        next.told += 1;
        next
    }

    pub(crate) const fn board(&self) -> &BoardId {
        &self.key.board
    }

    /// The board's newest state.
    pub(crate) fn state(&self) -> &StatePoint {
        &self.top.state
    }

    /// Whether somebody who has seen `seen` sees the list as it is.
    pub(crate) fn is_shown_by(&self, seen: &StatePoint) -> bool {
        seen.epoch == self.state().epoch && seen.version >= self.since
    }

    /// How somebody who has seen `seen` is led to the newest state. With `to_the_version`, also where the list looks the
    /// same.
    pub(crate) fn lead(&self, seen: &StatePoint, format: Format, to_the_version: bool) -> Lead {
        let newest = self.state();
        if seen.epoch != newest.epoch {
            return Lead::Snapshot;
        }
        if seen.version >= newest.version {
            return Lead::Nothing;
        }
        if seen.version >= self.since {
            return if to_the_version { self.other(seen, format) } else { Lead::Nothing };
        }
        match &self.step {
            // The list stands in an update of `scoreboard.v1`: it does not matter where exactly its reader stood.
            Some(step) if seen.version == step.stood => Lead::Step,
            Some(step) if seen.version >= step.base && format != Format::Delta => Lead::Step,
            _ => self.other(seen, format),
        }
    }

    /// What leads from the list before to this one; the snapshot where nothing else does.
    pub(crate) fn step(&self, format: Format) -> Event {
        let made = self.made.step[format as usize].get_or_init(|| {
            let step = self.step.as_ref();
            let made = match format {
                Format::Delta => step.map(|step| {
                    let ops = self.made.ops.get_or_init(|| list_ops(&step.top, &self.top)).clone();
                    self.delta(step.stood, ops)
                }),
                Format::Text | Format::Sse => step.and_then(|step| self.update(&step.top, format)),
            };
            made.unwrap_or_else(|| (Sent::Snapshot, self.snapshot(format)))
        });
        made.clone()
    }

    fn other(&self, seen: &StatePoint, format: Format) -> Lead {
        let mut others = self.made.others.lock();
        let made = match others.get(&(seen.version, format)) {
            Some(made) => made.clone(),
            None if others.len() < OTHER_UPDATES => {
                let made = self.make_other(seen, format);
                others.insert((seen.version, format), made.clone());
                made
            }
            None => None,
        };
        made.map_or(Lead::Snapshot, |(sent, bytes)| Lead::Frame(sent, bytes))
    }

    fn make_other(&self, seen: &StatePoint, format: Format) -> Option<Event> {
        let before = match &self.step {
            _ if seen.version >= self.since => Arc::clone(&self.top),
            Some(step) if seen.version >= step.base => Arc::clone(&step.top),
            _ => Arc::new(self.views.at(&self.key.board, seen)?.top(self.key.limit)),
        };
        match format {
            Format::Delta => Some(self.delta(seen.version, list_ops(&before, &self.top))),
            Format::Text | Format::Sse => self.update(&before, format),
        }
    }

    /// `None` where nobody's change can be named.
    fn update(&self, before: &TopList, format: Format) -> Option<Event> {
        let state = self.state();
        let moves = moves(before, &self.top, &self.view);
        let newest = moves.last()?;
        let json = UpdateJson {
            board: self.key.board.as_str(),
            epoch: state.epoch.as_str(),
            version: state.version.0,
            user_id: newest.user.to_string(),
            new_score: newest.new_score,
            leaderboard: entries(&self.top.entries),
            updates: moves.iter().map(move_json).collect(),
        };
        Some((Sent::Update, format.encode(&Frame::Update(json), Some(state))))
    }

    fn delta(&self, from: Version, ops: Vec<OpJson>) -> Event {
        let (from, version) = (from.0, self.state().version.0);
        let check = is_checked(from, version).then(|| self.made.checksum.get_or_init(|| checksum(&self.top)).clone());
        let json = DeltaJson { from, version, ops, check };
        (Sent::Delta, Format::Delta.encode(&Frame::Delta(json), Some(self.state())))
    }

    /// The whole list.
    pub(crate) fn snapshot(&self, format: Format) -> Bytes {
        once(&self.made.snapshot, format, || {
            let json = SnapshotJson::new(self.key.board.as_str(), &self.top);
            format.encode(&Frame::Snapshot(json), Some(self.state()))
        })
    }

    /// Whether the list may be old.
    pub(crate) fn is_stale(&self) -> bool {
        self.view.stale
    }

    /// Says that the list may be old.
    pub(crate) fn stale(&self, format: Format) -> Bytes {
        once(&self.made.stale, format, || format.encode(&Frame::Stale(StaleJson { reason: STALE }), None))
    }

    /// The newest curve. It says the set's version: on a socket none may go back.
    pub(crate) fn curve(&self, format: Format) -> Option<Bytes> {
        let curve = self.curve.as_ref()?;
        let state = self.state();
        let make = || {
            let json = CurveJson {
                board: self.key.board.as_str(),
                epoch: state.epoch.as_str(),
                version: state.version.0,
                players: curve.players,
                points: curve.points.clone(),
            };
            format.encode(&Frame::Curve(json), None)
        };
        Some(once(&self.made.curve, format, make))
    }

    pub(crate) fn heartbeat(&self, format: Format) -> Bytes {
        once(&self.made.heartbeat, format, || {
            let state = self.state();
            let (board, epoch) = (self.key.board.as_str(), state.epoch.as_str());
            format.encode(&Frame::Heartbeat(HeartbeatJson { board, epoch, version: state.version.0 }), Some(state))
        })
    }
}

fn move_json(one: &Move) -> MoveJson {
    MoveJson {
        user_id: one.user.to_string(),
        username: one.username.to_string(),
        new_score: one.new_score,
        rank: one.rank,
        previous_rank: one.previous_rank,
    }
}

fn once(made: &[OnceLock<Bytes>; Format::COUNT], format: Format, make: impl FnOnce() -> Bytes) -> Bytes {
    made[format as usize].get_or_init(make).clone()
}
