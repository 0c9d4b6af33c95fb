//! Switches in front of the ports.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use common::clock::Timestamp;
use common::decision::Watch;
use common::error_code::ErrorCode;
use common::ids::{BoardId, UserId};
use common::ports::{
    AppliedBatch, Event, EventBus, EventStream, FillStart, FillStep, Gain, IndexState, Ledger, Projected, QueueError,
    RankIndex, ScoresAt, StoreError,
};
use common::score_update::ScoreUpdate;
use common::standing::{BoardChange, Neighborhood, Placement, ScoreRow};
use common::state::{Epoch, StatePoint, Version};
use embedded::{MemoryRanks, SqliteStore};
use parking_lot::{Mutex, RwLock};
use testkit::clock::ManualClock;
use tokio::sync::Notify;
use uuid::Uuid;

/// Stops whoever comes to a named step, for ever: dropping the worker then kills it exactly there.
#[derive(Default)]
pub(crate) struct Gate {
    at: Mutex<Option<&'static str>>,
    hit: Notify,
}

impl Gate {
    pub(crate) fn close_at(&self, step: &'static str) {
        *self.at.lock() = Some(step);
    }

    pub(crate) fn open(&self) {
        *self.at.lock() = None;
    }

    pub(crate) async fn hit(&self) {
        self.hit.notified().await;
    }

    pub(crate) async fn pass(&self, step: &'static str) {
        let closed = *self.at.lock() == Some(step);
        if closed {
            self.hit.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// What a port does instead of its work.
#[derive(Default)]
pub(crate) struct Sickness {
    pub(crate) fails: AtomicBool,
    pub(crate) hangs: AtomicBool,
    pub(crate) calls: AtomicU64,
}

impl Sickness {
    /// `true`: the call is to fail.
    async fn strikes(&self) -> bool {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.fails.load(Ordering::SeqCst)
    }

    pub(crate) fn heal(&self) {
        self.fails.store(false, Ordering::SeqCst);
        self.hangs.store(false, Ordering::SeqCst);
    }
}

fn away() -> StoreError {
    StoreError::Unavailable { store: "test", source: "switched off".into() }
}

pub(crate) struct FaultyLedger {
    pub(crate) inner: Arc<SqliteStore>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) sickness: Sickness,
    /// Commits, then says that it could not.
    pub(crate) lies: AtomicBool,
    /// Lost races before a batch is taken.
    pub(crate) conflicts: AtomicU64,
    /// Actions whose batches lose every race.
    pub(crate) contested: Mutex<HashSet<String>>,
    /// Actions that no batch may hold.
    pub(crate) refused: Mutex<HashSet<String>>,
    /// Sizes of the batches that were committed.
    pub(crate) committed: Mutex<Vec<usize>>,
}

#[async_trait]
impl Ledger for FaultyLedger {
    async fn apply_watched(
        &self,
        updates: &[ScoreUpdate],
        watch: &Watch,
        now: Timestamp,
    ) -> Result<AppliedBatch, StoreError> {
        self.gate.pass("before the commit").await;
        if self.sickness.strikes().await {
            return Err(away());
        }
        if self.conflicts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(StoreError::Conflict { store: "test", source: "a lost race".into() });
        }
        if updates.iter().any(|update| self.contested.lock().contains(update.action_id.as_str())) {
            return Err(StoreError::Conflict { store: "test", source: "a lost race".into() });
        }
        if updates.iter().any(|update| self.refused.lock().contains(update.action_id.as_str())) {
            return Err(StoreError::Refused { store: "test", source: "bad data".into() });
        }
        let applied = self.inner.apply_watched(updates, watch, now).await?;
        self.committed.lock().push(updates.len());
        if self.lies.swap(false, Ordering::SeqCst) {
            return Err(away());
        }
        self.gate.pass("after the commit").await;
        Ok(applied)
    }

    async fn gains(&self, after: Timestamp, until: Timestamp, slot_ms: i64) -> Result<Vec<Gain>, StoreError> {
        self.inner.gains(after, until, slot_ms).await
    }

    async fn record_refusal(&self, update: &ScoreUpdate, code: ErrorCode, now: Timestamp) -> Result<(), StoreError> {
        self.inner.record_refusal(update, code, now).await
    }
}

pub(crate) struct FaultyRanks {
    inner: RwLock<Arc<MemoryRanks>>,
    clock: ManualClock,
    pub(crate) gate: Arc<Gate>,
    pub(crate) sickness: Sickness,
    /// Waits up to so long before each change, so that workers overtake each other.
    pub(crate) jitter_ms: AtomicU64,
    pub(crate) fills: AtomicU64,
}

impl FaultyRanks {
    pub(crate) fn new(clock: ManualClock, gate: Arc<Gate>) -> Self {
        Self {
            inner: RwLock::new(Arc::new(MemoryRanks::new(Arc::new(clock.clone())))),
            clock,
            gate,
            sickness: Sickness::default(),
            jitter_ms: AtomicU64::new(0),
            fills: AtomicU64::new(0),
        }
    }

    /// Everything is forgotten, as by FLUSHALL.
    pub(crate) fn flush(&self) {
        *self.inner.write() = Arc::new(MemoryRanks::new(Arc::new(self.clock.clone())));
    }

    pub(crate) fn now(&self) -> Arc<MemoryRanks> {
        Arc::clone(&self.inner.read())
    }

    async fn here(&self) -> Result<Arc<MemoryRanks>, StoreError> {
        if self.sickness.strikes().await { Err(away()) } else { Ok(self.now()) }
    }
}

#[async_trait]
impl RankIndex for FaultyRanks {
    async fn state(&self, board: &BoardId) -> Result<IndexState, StoreError> {
        self.here().await?.state(board).await
    }
    async fn apply(&self, change: &BoardChange) -> Result<Projected, StoreError> {
        self.gate.pass("before the projection").await;
        let jitter_ms = self.jitter_ms.load(Ordering::SeqCst);
        if jitter_ms > 0 {
            tokio::time::sleep(Duration::from_millis(u64::from(Uuid::new_v4().as_bytes()[0]) % jitter_ms)).await;
        }
        let projected = self.here().await?.apply(change).await?;
        self.gate.pass("after the projection").await;
        Ok(projected)
    }
    async fn begin_fill(
        &self,
        board: &BoardId,
        epoch: &Epoch,
        head: Version,
        filler: Uuid,
    ) -> Result<FillStart, StoreError> {
        self.here().await?.begin_fill(board, epoch, head, filler).await
    }
    async fn fill(&self, board: &BoardId, filler: Uuid, rows: &[ScoreRow]) -> Result<FillStep, StoreError> {
        self.fills.fetch_add(1, Ordering::SeqCst);
        self.here().await?.fill(board, filler, rows).await
    }
    async fn finish_fill(&self, board: &BoardId, filler: Uuid, state: &StatePoint) -> Result<FillStep, StoreError> {
        self.here().await?.finish_fill(board, filler, state).await
    }
    async fn top(&self, board: &BoardId, limit: usize) -> Result<Option<(StatePoint, Vec<Placement>)>, StoreError> {
        self.here().await?.top(board, limit).await
    }
    async fn neighborhood(
        &self,
        board: &BoardId,
        user: UserId,
        around: usize,
    ) -> Result<Option<(StatePoint, Option<Neighborhood<Placement>>)>, StoreError> {
        self.here().await?.neighborhood(board, user, around).await
    }
    async fn scores_at(&self, board: &BoardId, ranks: &[u64]) -> Result<Option<ScoresAt>, StoreError> {
        self.here().await?.scores_at(board, ranks).await
    }
    async fn count(&self, board: &BoardId) -> Result<Option<(StatePoint, u64)>, StoreError> {
        self.here().await?.count(board).await
    }
}

pub(crate) struct FaultyBus {
    pub(crate) gate: Arc<Gate>,
    pub(crate) sickness: Sickness,
    pub(crate) published: Mutex<Vec<Event>>,
}

impl FaultyBus {
    /// Whether somebody who follows events from `from` would have been told of `to`, or to look at the truth there.
    pub(crate) fn tells(&self, board: &BoardId, from: u64, to: u64) -> bool {
        let mut stands = from;
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for event in &*self.published.lock() {
            if let Event::BoardChanged { change, .. } = event
                && change.board == *board
            {
                ranges.push((change.from.0, change.to.0));
            }
        }
        ranges.sort_unstable();
        for (start, end) in ranges {
            // An empty range above where we stand says: read the truth.
            if start <= stands || start == end {
                stands = stands.max(end);
            }
        }
        stands >= to
    }
}

#[async_trait]
impl EventBus for FaultyBus {
    async fn publish(&self, event: Event) -> Result<(), QueueError> {
        self.gate.pass("before the event").await;
        if self.sickness.strikes().await {
            return Err(QueueError { queue: "events", operation: "publish", source: "switched off".into() });
        }
        self.published.lock().push(event);
        self.gate.pass("after the event").await;
        Ok(())
    }

    fn subscribe(&self) -> Box<dyn EventStream> {
        unimplemented!("a worker publishes only")
    }
}
