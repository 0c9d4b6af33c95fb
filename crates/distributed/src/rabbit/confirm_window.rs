//! Messages that were published and are not confirmed yet.
//!
//! The driver hands a returned (unroutable) message to whichever confirm it completes next. With several confirms
//! outstanding, or one that covers many (`multiple`), that can be the confirm of another message, and the unroutable
//! one looks confirmed. So returned messages are matched by their id here: the broker sends the return before the
//! confirm, and the driver completes confirms in order, hence the confirm that took a return was completed no later
//! than the returned message's own, and is ready when that one is looked at: all ready confirms are taken together.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::time::Instant;

use super::error::RabbitError;

/// Messages outstanding at once. More only adds latency.
pub(super) const WINDOW: usize = 100;

/// Without a single confirm for so long, although not blocked, the connection is given up.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(5);

/// A message to publish.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    /// Whether a message that no queue takes is a failure.
    pub(super) mandatory: bool,
    pub(super) body: Vec<u8>,
    /// With a `message_id` of its own.
    pub(super) properties: BasicProperties,
}

struct Settled<T> {
    id: Option<ShortString>,
    token: T,
    outcome: lapin::Result<Confirmation>,
}

/// The outstanding messages of one channel in confirm mode, which nobody else may publish on (the driver counts
/// delivery tags and queues frames in two steps). Each carries a token.
pub(super) struct ConfirmWindow<T> {
    pending: FuturesUnordered<BoxFuture<'static, Settled<T>>>,
    /// Ids of returned messages whose own confirms are still to come.
    returned: HashSet<ShortString>,
    last_progress: Instant,
}

impl<T: Send + 'static> ConfirmWindow<T> {
    pub(super) fn new() -> Self {
        Self { pending: FuturesUnordered::new(), returned: HashSet::new(), last_progress: Instant::now() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= WINDOW
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether confirms have been awaited in vain for [`STUCK_AFTER`].
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        !self.is_empty() && now.saturating_duration_since(self.last_progress) >= STUCK_AFTER
    }

    /// Publishes a message; its outcome comes from [`Self::settled`].
    pub(super) fn publish(&mut self, channel: &Channel, message: Outgoing, token: T) {
        let id = message.properties.message_id().clone();
        let channel = channel.clone();
        self.track(id, token, async move { confirmed(&channel, message).await });
    }

    fn track(
        &mut self,
        id: Option<ShortString>,
        token: T,
        confirm: impl Future<Output = lapin::Result<Confirmation>> + Send + 'static,
    ) {
        if self.is_empty() {
            self.last_progress = Instant::now();
        }
        self.pending.push(async move { Settled { id, token, outcome: confirm.await } }.boxed());
    }

    /// Waits for confirms and gives all that are there. Pending for ever when nothing is outstanding. Cancel-safe.
    pub(super) async fn settled(&mut self) -> Vec<(T, Result<(), RabbitError>)> {
        let Some(first) = self.pending.next().await else { return std::future::pending().await };
        let mut all = vec![first];
        while let Some(Some(more)) = self.pending.next().now_or_never() {
            all.push(more);
        }
        self.last_progress = Instant::now();
        for settled in &all {
            if let Ok(Confirmation::Ack(Some(message)) | Confirmation::Nack(Some(message))) = &settled.outcome {
                // Without an id it is none of ours; everything that we publish has one.
                self.returned.extend(message.delivery.properties.message_id().clone());
            }
        }
        all.into_iter()
            .map(|settled| (settled.token, verdict(&mut self.returned, settled.id, settled.outcome)))
            .collect()
    }
}

async fn confirmed(channel: &Channel, message: Outgoing) -> lapin::Result<Confirmation> {
    let Outgoing { exchange, routing_key, mandatory, body, properties } = message;
    let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
    channel.basic_publish(exchange, routing_key, options, &body, properties).await?.await
}

fn verdict(
    returned: &mut HashSet<ShortString>,
    id: Option<ShortString>,
    outcome: lapin::Result<Confirmation>,
) -> Result<(), RabbitError> {
    let was_returned = id.is_some_and(|id| returned.remove(&id));
    match outcome {
        Err(error) => Err(error.into()),
        Ok(Confirmation::Nack(_)) => Err(RabbitError::Refused),
        // The channel is not in confirm mode: nobody promised anything.
        Ok(Confirmation::NotRequested) => Err(RabbitError::Refused),
        Ok(Confirmation::Ack(_)) if was_returned => Err(RabbitError::Unroutable),
        Ok(Confirmation::Ack(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use lapin::message::{BasicReturnMessage, Delivery};
    use tokio::sync::oneshot;

    use super::*;

    type Confirm = oneshot::Sender<lapin::Result<Confirmation>>;

    fn publish(window: &mut ConfirmWindow<&'static str>, id: &'static str) -> Confirm {
        let (confirm, confirmed) = oneshot::channel();
        window.track(Some(id.into()), id, async move { confirmed.await.expect("the test confirms") });
        confirm
    }

    fn returned(id: &str) -> BasicReturnMessage {
        let mut delivery = Delivery::mock(0, "".into(), "".into(), false, Vec::new());
        delivery.properties = BasicProperties::default().with_message_id(id.into());
        BasicReturnMessage { delivery, reply_code: 312, reply_text: "NO_ROUTE".into() }
    }

    fn is_unroutable(outcome: &Result<(), RabbitError>) -> bool {
        matches!(outcome, Err(RabbitError::Unroutable))
    }

    #[tokio::test]
    async fn a_return_that_came_with_an_earlier_confirm_is_remembered() {
        let mut window = ConfirmWindow::new();
        let (good, lost) = (publish(&mut window, "good"), publish(&mut window, "lost"));
        good.send(Ok(Confirmation::Ack(Some(returned("lost"))))).unwrap();
        let first = window.settled().await;
        assert!(matches!(&first[..], [("good", Ok(()))]), "{first:?}");
        lost.send(Ok(Confirmation::Ack(None))).unwrap();
        let second = window.settled().await;
        assert!(matches!(&second[..], [("lost", outcome)] if is_unroutable(outcome)), "{second:?}");
    }

    #[tokio::test]
    async fn a_return_that_is_looked_at_later_than_its_message_counts_all_the_same() {
        let mut window = ConfirmWindow::new();
        let (lost, good) = (publish(&mut window, "lost"), publish(&mut window, "good"));
        // Completed in this order by the driver, found in the other: neither has been looked at yet.
        good.send(Ok(Confirmation::Ack(Some(returned("lost"))))).unwrap();
        lost.send(Ok(Confirmation::Ack(None))).unwrap();
        let settled = window.settled().await;
        assert_eq!(settled.len(), 2);
        for (id, outcome) in &settled {
            assert_eq!(is_unroutable(outcome), *id == "lost", "{settled:?}");
        }
    }

    #[tokio::test]
    async fn a_message_that_the_broker_refuses_is_no_success() {
        let mut window = ConfirmWindow::new();
        publish(&mut window, "full").send(Ok(Confirmation::Nack(None))).unwrap();
        let settled = window.settled().await;
        assert!(matches!(&settled[..], [("full", Err(RabbitError::Refused))]), "{settled:?}");
        assert!(window.is_empty());
    }

    #[tokio::test]
    async fn a_window_without_progress_is_stuck() {
        let mut window = ConfirmWindow::new();
        assert!(!window.is_stuck(Instant::now() + STUCK_AFTER), "nothing is outstanding");
        let (_slow, fast) = (publish(&mut window, "slow"), publish(&mut window, "fast"));
        let published = Instant::now();
        assert!(!window.is_stuck(published));
        assert!(window.is_stuck(published + STUCK_AFTER));
        fast.send(Ok(Confirmation::Ack(None))).unwrap();
        while Instant::now() == published {
            tokio::task::yield_now().await;
        }
        window.settled().await;
        assert!(!window.is_stuck(published + STUCK_AFTER), "one confirm is progress");
    }
}
