//! Decides a batch: waits out a database that is away, splits a batch that is refused or goes on losing races until the
//! one update that it is about stands alone. What is refused is put aside; what loses its races even alone goes back to
//! the queue for a while, so that it holds nobody up.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use common::clock::Clock;
use common::decision::receipt_of;
use common::error_code::ErrorCode;
use common::ports::{AppliedBatch, QueueError, StoreError};
use common::receipt::{Outcome, ReceiptStatus};
use common::score_update::ScoreUpdate;
use runtime::backoff::Backoff;
use runtime::exit::causes;
use tokio_util::sync::CancellationToken;

use crate::settings::{WorkerPorts, WorkerSettings};
use crate::suspicion::Suspicion;

/// Lost races that are tried again at once; one more, and the batch is split.
const CONFLICTS_AT_ONCE: u32 = 4;

pub(crate) struct Committer {
    pub(crate) ports: WorkerPorts,
    pub(crate) settings: WorkerSettings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) suspicion: Arc<Suspicion>,
}

/// Why a range of a batch was not applied.
enum NotApplied {
    /// The stop was asked for while the database was away. What is not acknowledged comes again.
    Stopped,
    /// The data itself cannot be taken.
    Refused(StoreError),
    /// Lost every race, although the database answers.
    Contested(StoreError),
}

/// What was decided of a batch.
#[derive(Default)]
pub(crate) struct Decided {
    /// An outcome for each update but those that are postponed, in the batch's order.
    pub(crate) applied: AppliedBatch,
    /// Updates by their place in the batch, ascending, that went back to the queue: another delivery brings them.
    pub(crate) postponed: Vec<usize>,
}

impl Committer {
    /// Decides every update, each exactly once whatever happened to it before. `None` when `stop` came while a
    /// server was away: some of the batch may be committed, none of it may be acknowledged.
    pub(crate) async fn decide(&self, updates: &[ScoreUpdate], stop: &CancellationToken) -> Option<Decided> {
        let mut decided = Decided::default();
        // Ranges that are left, the next one last. Each is split at most log2 times, so this is bounded.
        let mut left: Vec<Range<usize>> = std::iter::once(0..updates.len()).collect();
        while let Some(range) = left.pop() {
            match self.apply(&updates[range.clone()], stop).await {
                Ok(applied) => {
                    decided.applied.outcomes.extend(applied.outcomes);
                    decided.applied.changes.extend(applied.changes);
                }
                Err(NotApplied::Stopped) => return None,
                Err(NotApplied::Refused(error)) if range.len() == 1 => {
                    let outcome = self.put_aside(&updates[range.start], &error, stop).await?;
                    decided.applied.outcomes.push(outcome);
                }
                Err(NotApplied::Contested(error)) if range.len() == 1 => {
                    match self.postpone(&updates[range.start], &error, stop).await? {
                        true => decided.postponed.push(range.start),
                        false => {
                            let outcome = self.put_aside(&updates[range.start], &error, stop).await?;
                            decided.applied.outcomes.push(outcome);
                        }
                    }
                }
                Err(NotApplied::Refused(error) | NotApplied::Contested(error)) => {
                    tracing::warn!(updates = range.len(), error = %causes(&error), "a batch was refused; splitting it");
                    let middle = range.start + range.len() / 2;
                    left.push(middle..range.end);
                    left.push(range.start..middle);
                }
            }
        }
        Some(decided)
    }

    async fn apply(&self, updates: &[ScoreUpdate], stop: &CancellationToken) -> Result<AppliedBatch, NotApplied> {
        let mut backoff = Backoff::reconnect();
        let (mut attempts, mut conflicts): (u32, u32) = (0, 0);
        loop {
            runtime::failpoint::reached("published");
            let now = self.clock.now();
            let watch = self.suspicion.watch(updates, now);
            let attempt = self.ports.ledger.apply_watched(updates, &watch, now);
            let error = match tokio::time::timeout(self.settings.commit_bound, attempt).await {
                Ok(Ok(applied)) => {
                    self.suspicion.committed(updates, &applied);
                    if attempts > CONFLICTS_AT_ONCE {
                        tracing::info!(attempts, updates = updates.len(), "the ledger takes work again");
                    }
                    return Ok(applied);
                }
                Ok(Err(error @ StoreError::Refused { .. })) => return Err(NotApplied::Refused(error)),
                Ok(Err(error @ StoreError::Conflict { .. })) if conflicts >= CONFLICTS_AT_ONCE => {
                    return Err(NotApplied::Contested(error));
                }
                Ok(Err(error)) => Some(error),
                Err(_) => None,
            };
            attempts += 1;
            let conflict = matches!(error, Some(StoreError::Conflict { .. }));
            conflicts += u32::from(conflict);
            let wait = if conflict { Duration::ZERO } else { backoff.next_wait() };
            tracing::warn!(
                attempts,
                updates = updates.len(),
                retry_in_ms = wait.as_millis(),
                error = error.as_ref().map_or_else(|| "no answer in time".to_owned(), |e| causes(e)),
                "a batch was not committed; it is held and tried again"
            );
            tokio::select! {
                () = stop.cancelled() => return Err(NotApplied::Stopped),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Hands an update back to the queue for a while. `false`: it has come round too often. `None` when `stop` came before
    /// that was durable.
    async fn postpone(&self, update: &ScoreUpdate, error: &StoreError, stop: &CancellationToken) -> Option<bool> {
        let (reason, source) = (causes(error), &self.ports.source);
        let taken = self.until_taken(update, stop, || source.retry_later(update, &reason)).await?;
        let request_id = &update.request_id;
        tracing::warn!(board = %update.board, request_id, taken, reason, "an update is tried again later");
        Some(taken)
    }

    /// Hands an update back to the queue's side until that is durable. `None` when `stop` came before.
    async fn until_taken<T, Taken: Future<Output = Result<T, QueueError>>>(
        &self,
        update: &ScoreUpdate,
        stop: &CancellationToken,
        hand_over: impl Fn() -> Taken,
    ) -> Option<T> {
        let mut backoff = Backoff::reconnect();
        loop {
            let error = match tokio::time::timeout(self.settings.repair_bound, hand_over()).await {
                Ok(Ok(taken)) => return Some(taken),
                Ok(Err(error)) => causes(&error),
                Err(_) => "no answer in time".to_owned(),
            };
            tracing::warn!(request_id = update.request_id, error, "an update was not taken back; trying again");
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
    }

    /// Puts an update aside that no database will ever take. `None` when `stop` came before that was durable.
    async fn put_aside(&self, update: &ScoreUpdate, error: &StoreError, stop: &CancellationToken) -> Option<Outcome> {
        let (reason, source) = (causes(error), &self.ports.source);
        self.until_taken(update, stop, || source.dead_letter(update, &reason)).await?;
        tracing::error!(
            board = %update.board,
            request_id = update.request_id,
            action_id = %update.action_id,
            reason,
            "an update cannot be committed and was put aside as a dead letter"
        );
        self.record(update).await;
        let receipt = receipt_of(update, ReceiptStatus::Rejected(ErrorCode::Internal), self.clock.now());
        Some(Outcome::Rejected { receipt, retry_after_s: None })
    }

    /// Its receipt is to say `rejected`. What the database refuses of the update itself may be refused here too: then the
    /// dead letter is its only record.
    async fn record(&self, update: &ScoreUpdate) {
        let recording = self.ports.ledger.record_refusal(update, ErrorCode::Internal, self.clock.now());
        let failure = match tokio::time::timeout(self.settings.repair_bound, recording).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => causes(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::error!(
            request_id = update.request_id,
            error = failure,
            "a refusal has no receipt, only a dead letter"
        );
    }
}
