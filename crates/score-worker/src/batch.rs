//! Deliveries that are decided together.

use common::ports::{Delivery, DeliveryTag};
use common::receipt::{Answer, Outcome};
use common::score_update::ScoreUpdate;
use common::standing::BoardChange;

/// Deliveries with their updates side by side, as one transaction takes them.
pub(crate) struct Batch {
    deliveries: Vec<(DeliveryTag, usize)>,
    updates: Vec<ScoreUpdate>,
}

impl Batch {
    pub(crate) fn of(deliveries: Vec<Delivery>) -> Self {
        let mut batch = Self { deliveries: Vec::with_capacity(deliveries.len()), updates: Vec::new() };
        for delivery in deliveries {
            batch.deliveries.push((delivery.tag, delivery.updates.len()));
            batch.updates.extend(delivery.updates);
        }
        batch
    }

    pub(crate) fn updates(&self) -> &[ScoreUpdate] {
        &self.updates
    }

    pub(crate) fn tags(&self) -> Vec<DeliveryTag> {
        self.deliveries.iter().map(|(tag, _)| *tag).collect()
    }

    /// Takes updates out that another delivery will bring; `places` ascend.
    pub(crate) fn leave_out(&mut self, places: &[usize]) {
        if places.is_empty() {
            return;
        }
        let mut first = 0;
        for (_, count) in &mut self.deliveries {
            let end = first + *count;
            *count -= places.iter().filter(|place| (first..end).contains(*place)).count();
            first = end;
        }
        let mut place = 0;
        self.updates.retain(|_| {
            place += 1;
            places.binary_search(&(place - 1)).is_err()
        });
    }

    /// The deliveries as they came, each with its share of `answers` (one for each update, in the batch's order).
    pub(crate) fn into_answered(self, answers: Vec<Answer>) -> Vec<(Delivery, Vec<Answer>)> {
        let (mut updates, mut answers) = (self.updates.into_iter(), answers.into_iter());
        let mut answered = Vec::with_capacity(self.deliveries.len());
        for (tag, count) in self.deliveries {
            let delivery = Delivery { tag, updates: updates.by_ref().take(count).collect() };
            let answers = answers.by_ref().take(count).collect();
            // All of it was left out: nothing to say yet.
            if count > 0 {
                answered.push((delivery, answers));
            }
        }
        answered
    }
}

/// A batch whose every update was decided, and is durable or put aside.
pub(crate) struct DecidedBatch {
    /// What was decided upon.
    pub(crate) batch: Batch,
    /// One for each update.
    pub(crate) outcomes: Vec<Outcome>,
    /// What moved, in commit order. A board is here more than once when the batch had to be split.
    pub(crate) changes: Vec<BoardChange>,
    /// What happens to the batch is told under this span.
    pub(crate) span: tracing::Span,
}
