//! What a run of watchers does, and what it shares with whoever runs it.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::stream::screen::Row;
use crate::target::Target;

/// Sockets, and how they are opened.
#[derive(Clone, Debug)]
pub(crate) struct WatchPlan {
    pub(crate) target: Target,
    pub(crate) path: String,
    pub(crate) sockets: usize,
    /// New sockets per second.
    pub(crate) ramp_per_second: u32,
    pub(crate) board: String,
    pub(crate) limit: usize,
    pub(crate) protocol: String,
    /// Sockets that share one source address.
    pub(crate) per_address: usize,
    /// So many of the sockets stop reading when they are told to.
    pub(crate) stalled: usize,
    /// Their receive buffer, bytes: with the system's default a reader that stopped is noticed only after minutes.
    pub(crate) stalled_receive_bytes: usize,
}

/// The engine's thread writes the numbers, the one that runs it the wishes.
#[derive(Debug)]
pub(crate) struct Shared {
    /// All times are microseconds since then.
    pub(crate) began: Instant,
    pub(crate) open: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) problems: AtomicU64,
    pub(crate) evicted: AtomicU64,
    /// Sockets that do not show the truth; `u64::MAX` before they were compared.
    pub(crate) behind: AtomicU64,
    pub(crate) measuring: AtomicBool,
    pub(crate) stalling: AtomicBool,
    pub(crate) stop: AtomicBool,
    /// What every socket has to show.
    pub(crate) truth: Mutex<Option<Vec<Row>>>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            open: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            problems: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            behind: AtomicU64::new(u64::MAX),
            measuring: AtomicBool::new(false),
            stalling: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            truth: Mutex::new(None),
        }
    }

    pub(crate) fn now_us(&self) -> u64 {
        us(self.began.elapsed())
    }
}

/// In microseconds.
pub(crate) fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
