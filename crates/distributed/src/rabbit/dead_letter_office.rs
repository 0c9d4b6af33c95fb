//! The operator's look at the dead letters.
//!
//! A queue has no places to look up, so a look takes messages without settling them, on a channel of its own whose end
//! gives back what was not settled. What is taken meanwhile is invisible to another look.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::ids::SubmissionId;
use common::ports::{DeadContent, DeadLetter, DeadLetters, QueueError};
use lapin::message::BasicGetMessage;
use lapin::options::{BasicAckOptions, BasicGetOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel};
use tokio::time::timeout;
use uuid::Uuid;

use super::Core;
use super::confirm_window::Outgoing;
use super::connection::RabbitConnection;
use super::error::RabbitError;
use super::message::{self, Failures, Lasting, REASON_HEADER, UPDATES_TYPE};
use super::publisher::Publisher;
use super::topology::{DEAD, default_exchange};

/// All of one look. The operator waits for it.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// All of one pass that sends again or throws away, each letter with a confirm of its own.
const PASS_TIMEOUT: Duration = Duration::from_secs(300);

/// How deep a letter is looked for. Each costs a round trip and its bytes.
const SEARCH_DEPTH: usize = 10_000;

/// The dead-letter queue as the operator works on it.
pub struct RabbitDeadLetters {
    consuming: Arc<RabbitConnection>,
    publisher: Publisher,
    core: Arc<Core>,
}

impl RabbitDeadLetters {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { consuming: core.consuming(), publisher: core.publisher(), core }
    }

    async fn within<T>(
        &self,
        limit: Duration,
        operation: &'static str,
        work: impl Future<Output = Result<T, RabbitError>>,
    ) -> Result<T, QueueError> {
        let done = timeout(limit, work).await.unwrap_or(Err(RabbitError::TimedOut(limit)));
        done.map_err(|error| error.at(DEAD, operation))
    }

    /// A channel for one look. Closing it gives everything back that was not settled.
    async fn open(&self) -> Result<Channel, RabbitError> {
        let session = self.consuming.session_after(0).await.ok_or(RabbitError::Closed)?;
        session.channel().await
    }

    async fn next(&self, channel: &Channel) -> Result<Option<BasicGetMessage>, RabbitError> {
        Ok(channel.basic_get(self.core.names.dead.clone(), BasicGetOptions { no_ack: false }).await?)
    }

    /// Takes letters until one is called `id`.
    async fn take(&self, channel: &Channel, id: &str) -> Result<Option<BasicGetMessage>, RabbitError> {
        for _ in 0..SEARCH_DEPTH {
            let Some(message) = self.next(channel).await? else { return Ok(None) };
            if id_of(&message.delivery) == id {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Publishes a letter to the updates, and only then takes it out of the dead ones.
    async fn send_again(&self, message: &BasicGetMessage) -> Result<(), RabbitError> {
        let properties = &message.delivery.properties;
        let message_type = properties.kind().as_ref().map_or("", ShortString::as_str);
        let (body, trace) = match read(&message.delivery) {
            DeadContent::Update(mut update) => {
                // The ledger knows the refusal of the old one.
                update.submission = SubmissionId(Uuid::now_v7());
                (wire::encode_updates([&*update]), message::trace_headers(&update.trace))
            }
            DeadContent::Damaged { body, .. } => (body, properties.headers().clone().unwrap_or_default()),
        };
        let mut headers = trace;
        // Its history stays with it; its attempts begin anew.
        Failures { attempts: 0, ..Failures::of(properties) }.put(&mut headers);
        let properties = message::properties(message_type, Lasting::Persistent, self.core.clock.now());
        let outgoing = Outgoing {
            exchange: default_exchange(),
            routing_key: self.core.names.updates.clone(),
            mandatory: true,
            body,
            properties: properties.with_headers(headers),
        };
        self.publisher.publish(outgoing, self.core.settings.confirm_timeout).await
    }

    /// One pass through the letters that are there. Each that is named is dealt with once and taken out with its copies
    /// (set aside again because a confirm came late); the others are given back. Returns those that were found.
    async fn settle(&self, ids: &[String], verb: Verb) -> Result<Vec<String>, RabbitError> {
        let channel = self.open().await?;
        let settled = self.settle_on(&channel, ids, verb).await;
        // Closing answers only after the acknowledgements were read.
        let closed = close(&channel).await;
        let settled = settled?;
        closed?;
        Ok(settled)
    }

    async fn settle_on(&self, channel: &Channel, ids: &[String], verb: Verb) -> Result<Vec<String>, RabbitError> {
        let wanted: HashSet<&str> = ids.iter().map(String::as_str).collect();
        let (mut met, mut settled) = (HashSet::new(), Vec::new());
        for _ in 0..SEARCH_DEPTH {
            let Some(message) = self.next(channel).await? else { break };
            let Some(id) = wanted.get(id_of(&message.delivery)) else { continue };
            if met.insert(*id) {
                if matches!(verb, Verb::Retry) {
                    self.send_again(&message).await?;
                }
                settled.push((*id).to_owned());
            }
            channel.basic_ack(message.delivery.delivery_tag, BasicAckOptions::default()).await?;
        }
        Ok(settled)
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Retry,
    Discard,
}

async fn close(channel: &Channel) -> Result<(), RabbitError> {
    Ok(channel.close(200, "OK".into()).await?)
}

#[async_trait]
impl DeadLetters for RabbitDeadLetters {
    async fn list(&self, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        let listing = async {
            let channel = self.open().await?;
            let (mut letters, mut known) = (Vec::new(), HashSet::new());
            while letters.len() < limit
                && let Some(message) = self.next(&channel).await?
            {
                // Set aside twice, because the first confirm came too late.
                if known.insert(id_of(&message.delivery).to_owned()) {
                    letters.push(letter(&message.delivery));
                }
            }
            close(&channel).await?;
            Ok(letters)
        };
        self.within(LOOK_TIMEOUT, "list", listing).await
    }

    async fn find(&self, id: &str) -> Result<Option<DeadLetter>, QueueError> {
        let finding = async {
            let channel = self.open().await?;
            let found = self.take(&channel, id).await?.map(|message| letter(&message.delivery));
            close(&channel).await?;
            Ok(found)
        };
        self.within(LOOK_TIMEOUT, "show a letter", finding).await
    }

    async fn retry(&self, ids: &[String]) -> Result<Vec<String>, QueueError> {
        self.within(PASS_TIMEOUT, "send letters again", self.settle(ids, Verb::Retry)).await
    }

    async fn discard(&self, ids: &[String]) -> Result<Vec<String>, QueueError> {
        self.within(PASS_TIMEOUT, "drop letters", self.settle(ids, Verb::Discard)).await
    }
}

/// What the message is called; one that the broker set aside by itself has the name that its publisher gave it.
fn id_of(message: &lapin::message::Delivery) -> &str {
    message.properties.message_id().as_ref().map_or("", ShortString::as_str)
}

fn read(message: &lapin::message::Delivery) -> DeadContent {
    if message::has_type(&message.properties, UPDATES_TYPE)
        && let Ok(wire::DecodedBatch { mut updates, damaged }) = wire::decode_updates(&message.data)
        && damaged.is_empty()
        && updates.len() == 1
        && let Some(update) = updates.pop()
    {
        return DeadContent::Update(Box::new(update));
    }
    let message_type = message.properties.kind().as_ref().map_or("", ShortString::as_str).to_owned();
    DeadContent::Damaged { message_type, body: message.data.clone() }
}

fn letter(message: &lapin::message::Delivery) -> DeadLetter {
    let failures = Failures::of(&message.properties);
    let header = |name| headers(&message.properties, name);
    DeadLetter {
        id: id_of(message).to_owned(),
        reason: header(REASON_HEADER).unwrap_or_else(|| "the broker gave it up: it was delivered too often".to_owned()),
        first_failed_at: failures.first_at,
        attempts: failures.attempts,
        traceparent: header("traceparent").unwrap_or_default(),
        content: read(message),
    }
}

fn headers(properties: &BasicProperties, name: &str) -> Option<String> {
    message::text(properties.headers().as_ref()?, name)
}
