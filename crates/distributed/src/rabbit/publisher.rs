//! Publishing with confirms, over whatever session there is.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, ConfirmSelectOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::confirm_window::{ConfirmWindow, Outgoing, STUCK_AFTER, WINDOW};
use super::connection::{RabbitConnection, Session};
use super::error::RabbitError;

/// The pseudo-queue of direct reply-to: answers come back on the channel that published the question.
pub(super) const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Where a publishing task takes its messages from, and whom it tells what became of them.
pub(super) trait Feed: Send {
    /// Comes back with the message's outcome; dropped when the session ends first.
    type Token: Send + 'static;

    /// Whether the messages ask for direct replies.
    const REPLIES: bool;

    /// With fewer messages outstanding the next one is published at once.
    const AT_ONCE: usize;

    /// With more, it waits for a confirm, or for so long after the one before: a broker that is slow to confirm must not
    /// make it wait twice as long.
    const COMPANY: Duration;

    /// The next message. `None`: there will be none. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Option<(Outgoing, Self::Token)>> + Send;

    /// The broker has decided on a message.
    fn settled(&mut self, token: Self::Token, outcome: Result<(), RabbitError>);

    /// A reply arrived.
    fn replied(&mut self, _reply: &Delivery) {}

    /// The session is gone and with it all replies; what waits to be published waits in vain.
    fn disconnected(&mut self);
}

/// Publishes what `feed` gives until `stop`, or until the feed ends.
pub(super) async fn run<F: Feed>(connection: Arc<RabbitConnection>, mut feed: F, stop: CancellationToken) {
    let mut generation = 0;
    loop {
        let session = tokio::select! {
            () = stop.cancelled() => return,
            session = connection.session_after(generation) => session,
        };
        let Some(session) = session else { return };
        generation = session.generation();
        let served = tokio::select! {
            () = stop.cancelled() => return,
            served = serve(&session, &mut feed) => served,
        };
        feed.disconnected();
        match served {
            Ok(()) => return,
            Err(error) => session.fail(&error),
        }
    }
}

/// Publishes over one session, until it ends (an error) or the feed does.
async fn serve<F: Feed>(session: &Session, feed: &mut F) -> Result<(), RabbitError> {
    let channel = session.channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut replies = if F::REPLIES { Some(consume_replies(&channel).await?) } else { None };
    let mut window = ConfirmWindow::new();
    let mut published_at = Instant::now();
    let mut look = interval(STUCK_AFTER / 5);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let crowded_since = (window.len() >= F::AT_ONCE).then_some(published_at);
        tokio::select! {
            biased;
            () = session.ended() => return Err(RabbitError::lost()),
            outcomes = window.settled(), if !window.is_empty() => {
                let mut unroutable = false;
                for (token, outcome) in outcomes {
                    unroutable |= matches!(outcome, Err(RabbitError::Unroutable));
                    feed.settled(token, outcome);
                }
                // Somebody deleted a queue of ours: the next session declares it again.
                if unroutable {
                    return Err(RabbitError::Unroutable);
                }
            }
            reply = next_reply(&mut replies) => feed.replied(&reply?),
            next = next_message(feed, crowded_since), if !window.is_full() => match next {
                Some((message, token)) => {
                    window.publish(&channel, message, token);
                    published_at = Instant::now();
                }
                None => return Ok(()),
            },
            now = look.tick() => if window.is_stuck(now) && !session.is_blocked() {
                return Err(RabbitError::TimedOut(STUCK_AFTER));
            },
        }
    }
}

/// The next message, not before it is due after the one that was published at `crowded_since`. Cancel-safe.
async fn next_message<F: Feed>(feed: &mut F, crowded_since: Option<Instant>) -> Option<(Outgoing, F::Token)> {
    if let Some(published_at) = crowded_since {
        sleep_until(published_at + F::COMPANY).await;
    }
    feed.next().await
}

async fn consume_replies(channel: &Channel) -> Result<Consumer, RabbitError> {
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    Ok(channel.basic_consume(REPLY_TO.into(), "".into(), options, FieldTable::default()).await?)
}

async fn next_reply(replies: &mut Option<Consumer>) -> Result<Delivery, RabbitError> {
    let Some(replies) = replies else { return std::future::pending().await };
    Ok(replies.next().await.ok_or(RabbitError::ConsumerEnded)??)
}

/// Publishes single messages for any number of callers.
#[derive(Clone)]
pub(super) struct Publisher {
    connection: Arc<RabbitConnection>,
    jobs: mpsc::Sender<Job>,
}

struct Job {
    message: Outgoing,
    outcome: oneshot::Sender<Result<(), RabbitError>>,
}

struct Jobs(mpsc::Receiver<Job>);

impl Feed for Jobs {
    type Token = oneshot::Sender<Result<(), RabbitError>>;
    const REPLIES: bool = false;
    const AT_ONCE: usize = WINDOW;
    const COMPANY: Duration = Duration::ZERO;

    async fn next(&mut self) -> Option<(Outgoing, Self::Token)> {
        loop {
            let job = self.0.recv().await?;
            // Whoever gave up must not be surprised by the message's effect.
            if !job.outcome.is_closed() {
                return Some((job.message, job.outcome));
            }
        }
    }

    fn settled(&mut self, token: Self::Token, outcome: Result<(), RabbitError>) {
        // Nobody listens any more: the caller has given up.
        let _ = token.send(outcome);
    }

    fn disconnected(&mut self) {
        while self.0.try_recv().is_ok() {}
    }
}

impl Publisher {
    /// The most messages that wait to be published.
    const CAPACITY: usize = 1_024;

    pub(super) fn start(connection: Arc<RabbitConnection>, tasks: &TaskTracker, stop: CancellationToken) -> Self {
        let (jobs, receiver) = mpsc::channel(Self::CAPACITY);
        tasks.spawn(run(Arc::clone(&connection), Jobs(receiver), stop));
        Self { connection, jobs }
    }

    /// Publishes; `Ok` when the broker has confirmed it. Fails at once when not connected or blocked.
    pub(super) async fn publish(&self, message: Outgoing, patience: Duration) -> Result<(), RabbitError> {
        self.connection.ready()?;
        let (outcome, settled) = oneshot::channel();
        self.jobs.try_send(Job { message, outcome }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RabbitError::Full(Self::CAPACITY),
            mpsc::error::TrySendError::Closed(_) => RabbitError::Closed,
        })?;
        match timeout(patience, settled).await {
            Ok(outcome) => outcome.unwrap_or_else(|_| Err(RabbitError::lost())),
            Err(_) => Err(RabbitError::TimedOut(patience)),
        }
    }
}
