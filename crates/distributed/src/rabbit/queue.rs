//! The gateway's end of the queue: publish, confirm, and the fast answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::clock::Clock;
use common::ids::SubmissionId;
use common::ports::{SubmitError, Submitted, UpdateQueue};
use common::receipt::Answer;
use common::score_update::ScoreUpdate;
use lapin::message::Delivery;
use lapin::types::ShortString;
use parking_lot::Mutex;
use runtime::mailbox::{self, oneshot};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::Core;
use super::backpressure::{self, Pace};
use super::confirm_window::Outgoing;
use super::connection::RabbitConnection;
use super::error::RabbitError;
use super::message::{self, ANSWERS_TYPE, Lasting, UPDATES_TYPE};
use super::metrics::Metrics;
use super::publisher::{self, Feed, REPLY_TO};
use super::topology::default_exchange;

/// The most updates of one message.
const MAX_BATCH: usize = 100;

/// With fewer messages on their way an update is published at once; with more, those that come until the next confirm share
/// a message. So messages grow with the load by themselves, and nobody waits for company: only for a broker that is busy
/// with the ones before.
const AT_ONCE: usize = 4;

/// For so long at most, after the message before.
const COMPANY: Duration = Duration::from_millis(10);

/// The most updates that wait to be published; with more, the broker has stopped keeping up.
const MAX_WAITING: usize = 4_096;

/// `score.updates` as the gateway sees it.
///
/// Updates that wait at the same moment travel in one message; several messages are outstanding at once. An update is
/// accepted when the broker has confirmed its message and has not returned it. The answer comes by direct reply-to,
/// which is fast and forgets: without one the update is pending, and the database knows.
pub struct RabbitQueue {
    connection: Arc<RabbitConnection>,
    submissions: mpsc::Sender<Submission>,
    answers: Arc<Answers>,
    pace: Pace,
    core: Arc<Core>,
}

struct Submission {
    update: ScoreUpdate,
    confirmed: Confirmed,
}

type Confirmed = mailbox::Sender<Result<(), RabbitError>>;

impl RabbitQueue {
    pub(super) fn start(core: Arc<Core>) -> Self {
        let (submissions, receiver) = mpsc::channel(MAX_WAITING);
        let answers = Arc::new(Answers::default());
        let batches = Batches {
            submissions: receiver,
            gathered: Vec::new(),
            answers: Arc::clone(&answers),
            queue: core.names.updates.clone(),
            clock: Arc::clone(&core.clock),
            metrics: Arc::clone(&core.metrics),
        };
        let connection = core.publishing();
        core.tasks.spawn(publisher::run(Arc::clone(&connection), batches, core.stop.clone()));
        let queue = core.names.updates.clone();
        let watching =
            backpressure::watch(Arc::clone(&connection), queue, Arc::clone(&core.depth), Arc::clone(&core.metrics));
        let stop = core.stop.clone();
        core.tasks.spawn(async move { stop.run_until_cancelled(watching).await });
        Self { core, connection, submissions, answers, pace: Pace::default() }
    }

    async fn submit_within(&self, update: ScoreUpdate, wait: Duration) -> Result<Submitted, RabbitError> {
        self.connection.ready()?;
        self.core.depth.admit()?;
        let wait = self.pace.wait(wait);
        let started = Instant::now();
        let patience = self.core.settings.confirm_timeout;
        let mut expected = self.answers.expect(update.submission);
        let (confirmed, mut outcome) = oneshot();
        self.submissions.try_send(Submission { update, confirmed }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RabbitError::Full(MAX_WAITING),
            mpsc::error::TrySendError::Closed(_) => RabbitError::Closed,
        })?;
        let settled = async {
            tokio::select! {
                // Decided is committed: no confirm can add to that.
                Some(answer) = expected.answer(), if !wait.is_zero() => Ok(Some(answer)),
                outcome = &mut outcome => outcome.unwrap_or_else(|_| Err(RabbitError::lost())).map(|()| None),
            }
        };
        match timeout(patience, settled).await {
            Err(_) => return Err(RabbitError::TimedOut(patience)),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(Some(answer))) => {
                self.pace.heard(true);
                return Ok(Submitted::Decided(answer));
            }
            Ok(Ok(None)) => self.core.metrics.confirmed(started.elapsed()),
        }
        if wait.is_zero() {
            return Ok(Submitted::Pending);
        }
        let answered = timeout_at(started + wait, expected.answer()).await;
        self.pace.heard(matches!(answered, Ok(Some(_))));
        match answered {
            Ok(Some(answer)) => Ok(Submitted::Decided(answer)),
            // Too late, or lost with its connection, in which case nobody will tell any more.
            Ok(None) | Err(_) => Ok(Submitted::Pending),
        }
    }
}

#[async_trait]
impl UpdateQueue for RabbitQueue {
    async fn submit(&self, update: ScoreUpdate, wait: Duration) -> Result<Submitted, SubmitError> {
        self.submit_within(update, wait).await.map_err(|error| {
            self.core.metrics.submit_failed(&error);
            match error {
                RabbitError::Behind(_, retry_after_s) => SubmitError::Behind { retry_after_s },
                error => SubmitError::Unavailable(Box::new(error)),
            }
        })
    }
}

/// Who waits for which answer. As large as the number of submissions under way: whoever stops waiting takes its
/// entry along.
#[derive(Default)]
struct Answers(Mutex<HashMap<SubmissionId, mailbox::Sender<Answer>>>);

/// A place in [`Answers`], given up when dropped.
struct Expected<'a> {
    submission: SubmissionId,
    answers: &'a Answers,
    /// `None` when there will be no answer.
    receiver: Option<mailbox::Receiver<Answer>>,
}

impl Expected<'_> {
    /// Waits for the answer. `None`: it was lost with its connection. Cancel-safe.
    async fn answer(&mut self) -> Option<Answer> {
        let answer = self.receiver.as_mut()?.await.ok();
        self.receiver = None;
        answer
    }
}

impl Answers {
    fn expect(&self, submission: SubmissionId) -> Expected<'_> {
        let (sender, receiver) = oneshot();
        // A submission is submitted once; should it be twice at a time, the later one hears of it.
        self.0.lock().insert(submission, sender);
        Expected { submission, answers: self, receiver: Some(receiver) }
    }

    fn tell(&self, submission: SubmissionId, answer: Answer) {
        if let Some(sender) = self.0.lock().remove(&submission) {
            sender.send(answer);
        }
    }

    fn clear(&self) {
        self.0.lock().clear();
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        // Marks our own sender, in case a later one has taken the place.
        self.receiver = None;
        if let Entry::Occupied(entry) = self.answers.0.lock().entry(self.submission)
            && entry.get().is_closed()
        {
            entry.remove();
        }
    }
}

/// Makes messages of what waits.
struct Batches {
    submissions: mpsc::Receiver<Submission>,
    /// Kept across a cancelled [`Feed::next`].
    gathered: Vec<Submission>,
    answers: Arc<Answers>,
    queue: ShortString,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Batches {
    /// Those that gave up are left out: what they were told (503) should stay true as far as it can.
    fn gather(&mut self) {
        while self.gathered.len() < MAX_BATCH
            && let Ok(submission) = self.submissions.try_recv()
        {
            self.gathered.push(submission);
        }
        self.gathered.retain(|submission| !submission.confirmed.is_closed());
    }

    fn message(&mut self) -> (Outgoing, Vec<Confirmed>) {
        let (updates, confirmed): (Vec<_>, Vec<_>) =
            self.gathered.drain(..).map(|submission| (submission.update, submission.confirmed)).unzip();
        self.metrics.published(updates.len());
        let properties = message::properties(UPDATES_TYPE, Lasting::Persistent, self.clock.now());
        let correlation = properties.message_id().clone().unwrap_or_default();
        let headers = updates.first().map(|first| message::trace_headers(&first.trace)).unwrap_or_default();
        let outgoing = Outgoing {
            exchange: default_exchange(),
            routing_key: self.queue.clone(),
            mandatory: true,
            body: wire::encode_updates(&updates),
            properties: properties
                .with_correlation_id(correlation)
                .with_reply_to(REPLY_TO.into())
                .with_headers(headers),
        };
        (outgoing, confirmed)
    }
}

impl Feed for Batches {
    type Token = Vec<Confirmed>;
    const REPLIES: bool = true;
    const AT_ONCE: usize = AT_ONCE;
    const COMPANY: Duration = COMPANY;

    async fn next(&mut self) -> Option<(Outgoing, Self::Token)> {
        loop {
            if self.gathered.is_empty() {
                let first = self.submissions.recv().await?;
                self.gathered.push(first);
                // Lets those that are ready to submit right now do so; no timer, hence no delay when there are none.
                tokio::task::yield_now().await;
            }
            self.gather();
            if !self.gathered.is_empty() {
                return Some(self.message());
            }
        }
    }

    fn settled(&mut self, token: Self::Token, outcome: Result<(), RabbitError>) {
        for confirmed in token {
            // Whoever gave up has been told so already.
            confirmed.send(outcome.clone());
        }
    }

    fn replied(&mut self, reply: &Delivery) {
        if !message::has_type(&reply.properties, ANSWERS_TYPE) {
            tracing::warn!("a reply is not of the type {ANSWERS_TYPE}; its submissions stay pending");
            return;
        }
        match wire::decode_answers(&reply.data) {
            Ok(answers) => answers.into_iter().for_each(|(submission, answer)| self.answers.tell(submission, answer)),
            Err(error) => tracing::warn!(error = %error, "a reply is damaged; its submissions stay pending"),
        }
    }

    fn disconnected(&mut self) {
        self.gathered.clear();
        while self.submissions.try_recv().is_ok() {}
        self.answers.clear();
    }
}

#[cfg(test)]
mod tests {
    use common::receipt::Outcome;

    use super::*;

    fn answer() -> Answer {
        Answer { outcome: Outcome::KeyReused, rank: None }
    }

    #[tokio::test]
    async fn an_answer_reaches_the_one_that_waits() {
        let answers = Answers::default();
        let submission = SubmissionId(uuid::Uuid::from_u128(1));
        let mut expected = answers.expect(submission);
        answers.tell(SubmissionId(uuid::Uuid::from_u128(2)), answer());
        answers.tell(submission, answer());
        assert_eq!(expected.answer().await, Some(answer()));
        assert_eq!(expected.answer().await, None, "asking again must not panic");
    }

    #[tokio::test]
    async fn answers_that_are_lost_end_the_wait() {
        let answers = Answers::default();
        let mut expected = answers.expect(SubmissionId(uuid::Uuid::from_u128(1)));
        answers.clear();
        assert_eq!(expected.answer().await, None);
    }

    #[tokio::test]
    async fn whoever_stops_waiting_leaves_nothing_behind() {
        let answers = Answers::default();
        let submission = SubmissionId(uuid::Uuid::from_u128(1));
        drop(answers.expect(submission));
        assert!(answers.0.lock().is_empty());
        let first = answers.expect(submission);
        let mut second = answers.expect(submission);
        drop(first);
        answers.tell(submission, answer());
        assert_eq!(second.answer().await, Some(answer()), "the first one must not take the second one's place along");
    }
}
