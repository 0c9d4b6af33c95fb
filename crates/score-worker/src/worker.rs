//! The loop: a batch is decided while the one before it is announced.

use std::sync::Arc;
use std::time::Duration;

use common::clock::Clock;
use common::ports::Delivery;
use runtime::backoff::Backoff;
use runtime::exit::causes;
use runtime::queue_age::Age;
use runtime::telemetry::{link_to, set_parent};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::announcer::{Announcer, seconds};
use crate::batch::{Batch, DecidedBatch};
use crate::committer::{Committer, Decided};
use crate::in_hand::InHand;
use crate::metrics::Metrics;
use crate::projector::Projector;
use crate::repairs::Repairs;
use crate::settings::{WorkerPorts, WorkerSettings};
use crate::suspicion::Suspicion;

/// The most links of a batch's span: a collector drops more.
const LINKS_PER_SPAN: usize = 128;

/// A score worker. Any number of them may run on one queue.
pub struct ScoreWorker {
    ports: WorkerPorts,
    settings: WorkerSettings,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    committer: Committer,
    announcer: Announcer,
    projector: Projector,
    suspicion: Arc<Suspicion>,
    in_hand: Arc<InHand>,
}

impl ScoreWorker {
    /// A worker that does nothing before [`Self::run`].
    #[must_use]
    pub fn new(ports: WorkerPorts, settings: WorkerSettings, clock: Arc<dyn Clock>) -> Self {
        let metrics = Arc::new(Metrics::new());
        let repairs = Arc::new(Repairs::default());
        let suspicion = Arc::new(Suspicion::new(settings.suspicion.clone()));
        Self {
            committer: Committer {
                ports: ports.clone(),
                settings: settings.clone(),
                clock: Arc::clone(&clock),
                suspicion: Arc::clone(&suspicion),
            },
            announcer: Announcer {
                ports: ports.clone(),
                settings: settings.clone(),
                clock: Arc::clone(&clock),
                repairs: Arc::clone(&repairs),
                metrics: Arc::clone(&metrics),
            },
            projector: Projector {
                ports: ports.clone(),
                settings: settings.clone(),
                repairs,
                metrics: Arc::clone(&metrics),
            },
            ports,
            settings,
            clock,
            metrics,
            suspicion,
            in_hand: Arc::default(),
        }
    }

    /// Tells how old the oldest update of the newest batch is; zero when there is no work.
    #[must_use]
    pub fn queue_age(&self) -> Age {
        let (in_hand, clock) = (Arc::downgrade(&self.in_hand), Arc::clone(&self.clock));
        Arc::new(move || in_hand.upgrade().map_or(Duration::ZERO, |in_hand| in_hand.age(clock.as_ref())))
    }

    /// Works until `stop`, then finishes what it has in hand and returns. Dropping the future at any point loses
    /// nothing: what is not acknowledged comes again, and the ledger knows its rows.
    pub async fn run(&self, stop: CancellationToken) {
        // One decided batch may wait while another is announced: the only memory beside the prefetch.
        let (decided, announced) = mpsc::channel(1);
        let projector_stop = CancellationToken::new();
        let work = async {
            tokio::join!(self.decide_batches(decided, &stop), self.announce_batches(announced));
            projector_stop.cancel();
        };
        let followed = self.suspicion.run(self.ports.ledger.as_ref(), self.clock.as_ref(), &stop);
        tokio::join!(work, self.projector.run(projector_stop.clone()), followed);
    }

    async fn decide_batches(&self, decided: mpsc::Sender<DecidedBatch>, stop: &CancellationToken) {
        let mut backoff = Backoff::reconnect();
        // Whoever comes alone is decided at once; only where updates come together is a moment for more worth its wait.
        let mut linger = Duration::ZERO;
        loop {
            let received = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                received = self.ports.source.receive(self.settings.max_updates, linger) => received,
            };
            match received {
                Ok(deliveries) => {
                    backoff.reset();
                    let alone = deliveries.iter().map(|delivery| delivery.updates.len()).sum::<usize>() <= 1;
                    linger = if alone { Duration::ZERO } else { self.settings.linger };
                    let Some(batch) = self.decide(deliveries, stop).await else { return };
                    if decided.send(batch).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let wait = backoff.next_wait();
                    tracing::warn!(error = %causes(&error), retry_in_ms = wait.as_millis(), "no work can be received");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }

    /// `None` when the stop came first.
    async fn decide(&self, deliveries: Vec<Delivery>, stop: &CancellationToken) -> Option<DecidedBatch> {
        let mut batch = Batch::of(deliveries);
        let updates = batch.updates();
        let span = tracing::info_span!("batch", updates = updates.len());
        match updates {
            // Alone, an update stays in its own trace; a batch can only point to those of its updates.
            [update] => set_parent(&span, &update.trace),
            _ => updates.iter().take(LINKS_PER_SPAN).for_each(|update| link_to(&span, &update.trace)),
        }
        self.in_hand.received(updates);
        let now = self.clock.now();
        for update in updates {
            self.metrics.queue_age_seconds.record(seconds(now.millis_since(update.accepted_at)), &[]);
        }
        self.metrics.batch_size.record(updates.len() as u64, &[]);
        let started = Instant::now();
        let applying = self.committer.decide(updates, stop).instrument(tracing::info_span!(parent: &span, "apply"));
        let Decided { applied, postponed } = applying.await?;
        self.in_hand.decided(self.clock.now());
        runtime::failpoint::reached("committed");
        batch.leave_out(&postponed);
        self.metrics.apply_seconds.record(started.elapsed().as_secs_f64(), &[]);
        self.metrics.updates_decided(&applied.outcomes);
        Some(DecidedBatch { batch, outcomes: applied.outcomes, changes: applied.changes, span })
    }

    async fn announce_batches(&self, mut decided: mpsc::Receiver<DecidedBatch>) {
        while let Some(batch) = decided.recv().await {
            self.announcer.announce(batch).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_send<F: Future + Send>(_: &F) {}

    /// A worker can be a task of its own on any runtime: checked by the compiler alone.
    #[allow(dead_code)]
    fn a_worker_can_be_spawned(worker: &ScoreWorker) {
        is_send(&worker.run(CancellationToken::new()));
    }
}
