//! The steps after a commit: project, publish, answer, acknowledge. Each is bounded; what fails is marked for repair.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use common::clock::Clock;
use common::ids::{BoardId, UserId};
use common::ports::{Delivery, DeliveryTag, Event, IndexState, Projected, StoreError};
use common::receipt::{Answer, Outcome};
use common::score_update::{ScoreUpdate, TraceContext};
use common::standing::BoardChange;
use common::state::Version;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use runtime::exit::causes;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use crate::batch::DecidedBatch;
use crate::catch_up::{Paged, by_one_page};
use crate::metrics::Metrics;
use crate::positions::Positions;
use crate::repairs::Repairs;
use crate::settings::{WorkerPorts, WorkerSettings};

/// Calls of one step that are under way at the same time.
const CALLS_AT_ONCE: usize = 16;

/// The most traces that an event carries: enough to follow a frame back, without making every event of a busy
/// board large.
const TRACES_PER_EVENT: usize = 16;

pub(crate) struct Announcer {
    pub(crate) ports: WorkerPorts,
    pub(crate) settings: WorkerSettings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) repairs: Arc<Repairs>,
    pub(crate) metrics: Arc<Metrics>,
}

/// What one change's projection came to: the ranks of its rows' users, or nothing in time.
type ChangeRanks = Option<Vec<Option<u64>>>;

impl Announcer {
    /// Announces one batch. Never fails, never takes longer than its four bounds.
    pub(crate) async fn announce(&self, decided: DecidedBatch) {
        let DecidedBatch { batch, outcomes, changes, span } = decided;
        let tags = batch.tags();
        async {
            let (ranks, positions) = self
                .project(batch.updates(), &outcomes, &changes)
                .instrument(tracing::info_span!("project", boards = changes.len()))
                .await;
            let traces = changes.iter().map(|change| traces_of(change, batch.updates(), &outcomes)).collect();
            self.publish(changes, ranks, traces).instrument(tracing::info_span!("publish")).await;
            let answers =
                batch.updates().iter().zip(outcomes).map(|(update, outcome)| answer(update, outcome, &positions));
            let answers = answers.collect();
            self.answer(batch.into_answered(answers)).instrument(tracing::info_span!("answer")).await;
            self.acknowledge(&tags).await;
        }
        .instrument(span)
        .await;
    }

    /// A gateway that hears nothing has its receipt to ask for.
    async fn answer(&self, answered: Vec<(Delivery, Vec<Answer>)>) {
        let deadline = self.deadline();
        let one = |(delivery, answers): (Delivery, Vec<Answer>)| async move {
            if let Err(error) = self.ports.source.answer(&delivery, answers).await {
                self.metrics.step_failed("answer");
                tracing::warn!(error = %causes(&error), "an answer was not sent");
            }
        };
        let answering = several(answered.into_iter().map(|answered| one(answered).boxed()));
        if timeout_at(deadline, answering).await.is_err() {
            self.metrics.step_failed("answer");
            tracing::warn!("answers took too long; the rest is not sent");
        }
    }

    /// What is not acknowledged comes again, finds its rows and is answered again.
    async fn acknowledge(&self, tags: &[DeliveryTag]) {
        let failure = match timeout_at(self.deadline(), self.ports.source.acknowledge(tags)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => causes(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        self.metrics.step_failed("acknowledge");
        tracing::warn!(deliveries = tags.len(), error = failure, "deliveries were not acknowledged; they come again");
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.settings.after_commit_bound
    }

    /// Ranks of each change's users, and of every other applied update of the batch.
    async fn project(
        &self,
        updates: &[ScoreUpdate],
        outcomes: &[Outcome],
        changes: &[BoardChange],
    ) -> (Vec<ChangeRanks>, Positions) {
        let deadline = self.deadline();
        let ranks = several(changes.iter().map(|change| self.project_change(change, deadline).boxed())).await;
        let mut positions = Positions::default();
        for (change, ranks) in changes.iter().zip(&ranks) {
            positions.learn(change, ranks.as_deref().unwrap_or_default());
        }
        let earlier = self.decided_earlier(updates, outcomes, changes);
        let found = several(earlier.iter().map(|(board, users)| self.look_up(board, users, deadline).boxed())).await;
        for (board, places) in earlier.keys().zip(found) {
            for (user, as_of, rank) in places {
                positions.learn_one(board, user, as_of, rank);
            }
        }
        (ranks, positions)
    }

    async fn project_change(&self, change: &BoardChange, deadline: Instant) -> ChangeRanks {
        if self.repairs.index_is_sick() {
            self.repairs.projection(&change.board);
            return None;
        }
        let failure = match timeout_at(deadline, self.project_or_catch_up(change)).await {
            Ok(Ok(Some(ranks))) => {
                if let Some(last) = change.rows.last() {
                    let lag_ms = self.clock.now().millis_since(last.updated_at);
                    self.metrics.projection_lag_seconds.record(seconds(lag_ms), &[]);
                }
                return Some(ranks);
            }
            Ok(Ok(None)) => {
                self.repairs.projection(&change.board);
                return None;
            }
            Ok(Err(error)) => causes(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        self.index_failed(&change.board, &failure);
        None
    }

    fn index_failed(&self, board: &BoardId, failure: &str) {
        self.repairs.index_seen(true);
        self.repairs.projection(board);
        self.metrics.step_failed("project");
        tracing::warn!(%board, error = failure, "a change was not projected; the board is marked for repair");
    }

    /// `None` when the index needs a fill: that is the projector's work.
    async fn project_or_catch_up(&self, change: &BoardChange) -> Result<ChangeRanks, StoreError> {
        let (truth, index) = (&*self.ports.truth, &*self.ports.ranks);
        match index.apply(change).await? {
            Projected::Standing(ranks) => return Ok(Some(ranks)),
            Projected::Behind(IndexState::At(at)) if at.epoch == change.epoch => {}
            Projected::Behind(_) => return Ok(None),
        }
        // Another worker committed before us and has not projected yet: what is missing is small.
        match by_one_page(truth, index, &change.board, self.settings.page_rows).await? {
            Paged::Caught(caught, ranks) => {
                let ranks: HashMap<UserId, Option<u64>> = caught.rows.iter().map(|row| row.user).zip(ranks).collect();
                let of_change = change.rows.iter().map(|row| ranks.get(&row.user).copied().flatten());
                Ok(Some(of_change.collect()))
            }
            // The other worker was faster; our change is old by now, and its ranks are those of now.
            Paged::AtHead => match index.apply(change).await? {
                Projected::Standing(ranks) => Ok(Some(ranks)),
                Projected::Behind(_) => Ok(None),
            },
            Paged::NeedsFill(..) | Paged::NoBoard => Ok(None),
        }
    }

    /// Applied updates that moved nothing in this batch: redelivered work, and requests that were answered before.
    /// Whoever had the first in hand may have died right after the commit, so they are announced again.
    fn decided_earlier(
        &self,
        updates: &[ScoreUpdate],
        outcomes: &[Outcome],
        changes: &[BoardChange],
    ) -> BTreeMap<BoardId, BTreeMap<UserId, Version>> {
        let mut earlier: BTreeMap<BoardId, BTreeMap<UserId, Version>> = BTreeMap::new();
        let mut oldest: BTreeMap<&BoardId, Version> = BTreeMap::new();
        for (update, outcome) in updates.iter().zip(outcomes) {
            let Some((board, version, replayed)) = applied(outcome) else { continue };
            if changes.iter().any(|change| holds(change, board, version)) {
                continue;
            }
            let newest = earlier.entry(board.clone()).or_default().entry(update.user).or_default();
            *newest = version.max(*newest);
            if !replayed {
                let oldest = oldest.entry(board).or_insert(version);
                *oldest = version.min(*oldest);
            }
        }
        for (board, version) in oldest {
            self.repairs.projection(board);
            self.repairs.announcement(board, Version(version.0.saturating_sub(1)));
        }
        earlier
    }

    /// Positions of users, each at its version or later; those that the index cannot say are left out.
    async fn look_up(
        &self,
        board: &BoardId,
        users: &BTreeMap<UserId, Version>,
        deadline: Instant,
    ) -> Vec<(UserId, Version, Option<u64>)> {
        let mut places = Vec::new();
        if self.repairs.index_is_sick() {
            return places;
        }
        let work = async {
            let newest = users.values().max().copied().unwrap_or_default();
            let behind = matches!(self.ports.ranks.state(board).await?, IndexState::At(at) if at.version < newest);
            if behind {
                by_one_page(&*self.ports.truth, &*self.ports.ranks, board, self.settings.page_rows).await?;
            }
            let answers = several(users.keys().map(|user| self.ports.ranks.neighborhood(board, *user, 0))).await;
            for (user, answer) in users.keys().zip(answers) {
                if let Some((state, place)) = answer? {
                    let rank = place.and_then(|place| place.lines.get(place.own).map(|line| line.rank));
                    places.push((*user, state.version, rank));
                }
            }
            Ok::<_, StoreError>(())
        };
        let failure = match timeout_at(deadline, work).await {
            Ok(Ok(())) => return places,
            Ok(Err(error)) => causes(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        self.index_failed(board, &failure);
        places
    }

    /// One event for each change.
    async fn publish(&self, changes: Vec<BoardChange>, ranks: Vec<ChangeRanks>, traces: Vec<Vec<TraceContext>>) {
        let deadline = self.deadline();
        let events = changes.into_iter().zip(ranks).zip(traces);
        several(events.map(|((change, ranks), traces)| {
            self.publish_one(change, ranks.unwrap_or_default(), traces, deadline).boxed()
        }))
        .await;
    }

    async fn publish_one(
        &self,
        change: BoardChange,
        ranks: Vec<Option<u64>>,
        traces: Vec<TraceContext>,
        deadline: Instant,
    ) {
        let change = Arc::new(change);
        if self.repairs.bus_is_sick() {
            self.repairs.announcement(&change.board, change.from);
            return;
        }
        let event = Event::BoardChanged { change: Arc::clone(&change), ranks, traces };
        let failure = match timeout_at(deadline, self.ports.events.publish(event)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => causes(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        self.repairs.bus_seen(true);
        self.repairs.announcement(&change.board, change.from);
        self.metrics.step_failed("publish");
        let board = &change.board;
        tracing::warn!(%board, error = failure, "an event was not taken; the board is marked to be announced again");
    }
}

/// The outputs of calls that are begun in order, some of them under way together.
async fn several<'a, T>(calls: impl Iterator<Item = BoxFuture<'a, T>>) -> Vec<T> {
    // Boxed and listed first: a stream that borrows from closures hides from the compiler that the task is `Send`.
    let calls: Vec<_> = calls.collect();
    stream::iter(calls).buffered(CALLS_AT_ONCE).collect().await
}

fn answer(update: &ScoreUpdate, outcome: Outcome, positions: &Positions) -> Answer {
    let rank =
        applied(&outcome).and_then(|(board, version, _)| positions.rank_at(board, update.user, version).flatten());
    Answer { outcome, rank }
}

/// Board, version and whether an earlier request did it.
fn applied(outcome: &Outcome) -> Option<(&BoardId, Version, bool)> {
    match outcome {
        Outcome::Applied { receipt, replayed } => Some((&receipt.board, receipt.version?, *replayed)),
        Outcome::Rejected { .. }
        | Outcome::DuplicateAction { .. }
        | Outcome::KeyReused
        | Outcome::Quarantined { .. } => None,
    }
}

pub(crate) fn holds(change: &BoardChange, board: &BoardId, version: Version) -> bool {
    change.board == *board && change.from < version && version <= change.to
}

fn traces_of(change: &BoardChange, updates: &[ScoreUpdate], outcomes: &[Outcome]) -> Vec<TraceContext> {
    let did_it = |outcome| applied(outcome).is_some_and(|(board, version, _)| holds(change, board, version));
    let traces = updates.iter().zip(outcomes).filter(|(_, outcome)| did_it(outcome)).map(|(update, _)| &update.trace);
    traces.filter(|trace| !trace.traceparent.is_empty()).take(TRACES_PER_EVENT).cloned().collect()
}

/// Milliseconds as a metric takes them; a clock that was set back counts as no time.
#[allow(clippy::cast_precision_loss)] // a wait that long is not measured to the millisecond
pub(crate) fn seconds(millis: i64) -> f64 {
    millis.max(0) as f64 / 1000.0
}
