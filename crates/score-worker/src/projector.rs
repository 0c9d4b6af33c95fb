//! Repairs what the steps after a commit could not do: indexes that are behind, changes that nobody heard of.
//! Compares every board at the start and once a minute, so that nothing has to be remembered across restarts, and every
//! board that came to rest: somebody beside the workers may have moved it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use common::ids::BoardId;
use common::ports::Event;
use common::standing::BoardChange;
use common::state::{BoardHead, StatePoint, Version};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use runtime::backoff::Backoff;
use runtime::exit::causes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::catch_up::{Fill, Paged, RepairError, by_one_page, change_of, lag};
use crate::metrics::Metrics;
use crate::repairs::{Need, Repairs};
use crate::settings::{WorkerPorts, WorkerSettings};

pub(crate) struct Projector {
    pub(crate) ports: WorkerPorts,
    pub(crate) settings: WorkerSettings,
    pub(crate) repairs: Arc<Repairs>,
    pub(crate) metrics: Arc<Metrics>,
}

/// What the look before saw of a board.
#[derive(Default)]
struct Looked {
    state: Option<StatePoint>,
    /// It was compared while it stood there.
    compared: bool,
}

impl Looked {
    /// Whether a board has come to rest where it was not compared yet. While one moves, the moves bring its index along.
    fn rests_at(&mut self, state: StatePoint) -> bool {
        if self.state.as_ref() != Some(&state) {
            // What was seen first is compared by the first sweep.
            *self = Self { compared: self.state.is_none(), state: Some(state) };
            return false;
        }
        !std::mem::replace(&mut self.compared, true)
    }
}

impl Projector {
    /// Works until `stop`. What is left undone then is found by the next start's comparison.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let work = async { tokio::join!(self.compare_regularly(), self.repair_marked()) };
        tokio::select! {
            () = stop.cancelled() => {}
            _ = work => {}
        }
    }

    async fn compare_regularly(&self) {
        let mut backoff = Backoff::reconnect();
        let mut boards: HashMap<BoardId, Looked> = HashMap::new();
        let mut swept: Option<Instant> = None;
        loop {
            match self.bounded(async { Ok(self.ports.truth.heads().await?) }).await {
                Ok(heads) => {
                    backoff.reset();
                    let sweep = swept.is_none_or(|at| at.elapsed() >= self.settings.sweep_interval);
                    if sweep {
                        swept = Some(Instant::now());
                    }
                    for head in heads {
                        let looked = boards.entry(head.board.clone()).or_default();
                        if looked.rests_at(head.state) || sweep {
                            self.repairs.projection(&head.board);
                        }
                    }
                    tokio::time::sleep(self.settings.look_interval.min(self.settings.sweep_interval)).await;
                }
                Err(error) => {
                    let wait = backoff.next_wait();
                    tracing::warn!(error = %causes(&error), "boards cannot be compared with their indexes; trying again");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    async fn repair_marked(&self) {
        let mut running = FuturesUnordered::new();
        loop {
            let free = self.settings.concurrent_repairs.saturating_sub(running.len());
            for (board, need) in self.repairs.take_ready(free) {
                running.push(self.repair(board, need));
            }
            let full = running.len() >= self.settings.concurrent_repairs;
            let next = self.repairs.next_ready_at().filter(|_| !full);
            tokio::select! {
                Some(()) = running.next(), if !running.is_empty() => {}
                () = self.repairs.changed() => {}
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    async fn repair(&self, board: BoardId, need: Need) {
        let mut left = Need::default();
        if need.project {
            match self.catch_up(&board).await {
                Ok(()) => self.repairs.index_seen(false),
                Err(error) => {
                    left.project = true;
                    self.not_repaired(&board, "projection", &error);
                }
            }
        }
        // After the projection, so that who hears of it finds the ranks.
        if let Some(above) = need.announce_above {
            match self.announce(&board, above).await {
                Ok(()) => {
                    self.repairs.bus_seen(false);
                    self.metrics.repaired("announce", "done");
                }
                Err(error) => {
                    left.announce_above = Some(above);
                    self.not_repaired(&board, "announce", &error);
                }
            }
        }
        let undone = left.project || left.announce_above.is_some();
        self.repairs.finished(&board, undone.then_some(&left));
    }

    fn not_repaired(&self, board: &BoardId, kind: &'static str, error: &RepairError) {
        self.metrics.repaired(kind, "failed");
        if matches!(error, RepairError::Busy | RepairError::Moved) {
            tracing::debug!(%board, kind, error = %causes(error), "a repair has to be tried again");
        } else {
            tracing::warn!(%board, kind, error = %causes(error), "a repair failed; trying again");
        }
    }

    /// Brings a board's index to the truth's head.
    async fn catch_up(&self, board: &BoardId) -> Result<(), RepairError> {
        let (truth, ranks) = (&*self.ports.truth, &*self.ports.ranks);
        let page_rows = self.settings.page_rows;
        let paged = self.bounded(async { Ok(by_one_page(truth, ranks, board, page_rows).await?) }).await?;
        match paged {
            Paged::NoBoard => Ok(()),
            Paged::AtHead => {
                self.metrics.lag_observed(board, 0);
                Ok(())
            }
            Paged::Caught(change, _) => {
                self.metrics.lag_observed(board, change.to.0 - change.from.0);
                self.metrics.repaired("page", "done");
                Ok(())
            }
            Paged::NeedsFill(head, state) => {
                self.metrics.lag_observed(board, lag(&head.state, &state));
                self.fill(head).await
            }
        }
    }

    async fn fill(&self, head: BoardHead) -> Result<(), RepairError> {
        let (board, started) = (head.board.clone(), Instant::now());
        let (truth, ranks) = (&*self.ports.truth, &*self.ports.ranks);
        let mut fill = self.bounded(Fill::begin(truth, ranks, head, self.settings.page_rows)).await?;
        let mut pages: u64 = 1;
        while !self.bounded(fill.step()).await? {
            pages += 1;
        }
        self.metrics.repaired("fill", "done");
        tracing::info!(%board, pages, elapsed_ms = started.elapsed().as_millis(), "a rank index was filled from the truth");
        Ok(())
    }

    /// Tells everybody what happened above a version, as it stands now.
    async fn announce(&self, board: &BoardId, above: Version) -> Result<(), RepairError> {
        let page =
            self.bounded(async { Ok(self.ports.truth.rows_above(board, above, self.settings.page_rows).await?) });
        let Some(page) = page.await? else { return Ok(()) };
        let to = page.head.state.version;
        let change = if page.complete && above < to {
            change_of(page, above)
        } else {
            // Too much for one event: an empty range at the head makes everybody below it read the truth.
            let head = page.head;
            BoardChange { board: head.board, epoch: head.state.epoch, from: to, to, rows: Vec::new() }
        };
        let event = Event::BoardChanged { change: Arc::new(change), ranks: Vec::new(), traces: Vec::new() };
        self.bounded(async { Ok(self.ports.events.publish(event).await?) }).await
    }

    async fn bounded<T>(&self, call: impl Future<Output = Result<T, RepairError>>) -> Result<T, RepairError> {
        let bound = self.settings.repair_bound;
        tokio::time::timeout(bound, call).await.unwrap_or(Err(RepairError::TimedOut(bound.as_millis())))
    }
}
