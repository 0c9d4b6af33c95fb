//! What the worker holds of the queue: deliveries of one session that are not settled yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::ids::SubmissionId;
use futures_util::future::try_join_all;
use lapin::Channel;
use lapin::options::BasicAckOptions;
use lapin::types::ShortString;
use parking_lot::Mutex;

use super::connection::Session;
use super::error::RabbitError;
use super::message::Failures;

/// Where the answers of a delivery go.
#[derive(Clone, Debug)]
pub(super) struct ReplyAddress {
    pub(super) reply_to: ShortString,
    pub(super) correlation_id: Option<ShortString>,
}

/// The consumer's channel of one session with its unsettled deliveries, of which prefetch bounds the number.
pub(super) struct Life {
    pub(super) generation: u64,
    pub(super) session: Arc<Session>,
    pub(super) channel: Channel,
    pub(super) open: Open,
}

impl Life {
    /// Acknowledges deliveries.
    ///
    /// # Errors
    /// Of the driver. Nobody knows then which of them the broker has heard of.
    pub(super) async fn settle(&self, tags: impl IntoIterator<Item = u64>) -> Result<(), RabbitError> {
        let acknowledgements = self.open.settle(tags);
        if let Some(tag) = acknowledgements.up_to {
            self.acknowledge(tag, true).await?;
        }
        try_join_all(acknowledgements.single.iter().map(|tag| self.acknowledge(*tag, false))).await?;
        self.open.settled(&acknowledgements);
        Ok(())
    }

    async fn acknowledge(&self, tag: u64, multiple: bool) -> Result<(), RabbitError> {
        self.channel.basic_ack(tag, BasicAckOptions { multiple }).await?;
        Ok(())
    }
}

/// Unsettled deliveries by tag, in the order of their arrival.
#[derive(Default)]
pub(super) struct Open(Mutex<BTreeMap<u64, Arrived>>);

/// What is kept of a delivery until it is settled.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrived {
    /// Where its answers go.
    pub(super) reply: Option<ReplyAddress>,
    /// Only a message that was handed back, which carries one update: which, and what it says of its failures.
    pub(super) retried: Option<(SubmissionId, Failures)>,
    /// Its acknowledgement is being written.
    settling: bool,
}

impl Arrived {
    pub(super) fn new(reply: Option<ReplyAddress>, retried: Option<(SubmissionId, Failures)>) -> Self {
        Self { reply, retried, settling: false }
    }
}

/// How to settle deliveries with the fewest frames.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Acknowledgements {
    /// Everything up to and including this tag.
    pub(super) up_to: Option<u64>,
    /// These, one by one.
    pub(super) single: Vec<u64>,
}

impl Open {
    /// A delivery has arrived.
    pub(super) fn insert(&self, tag: u64, arrived: Arrived) {
        self.0.lock().insert(tag, arrived);
    }

    /// What an open update's message says of its earlier failures. Looks at all that prefetch allows: for what is rare.
    pub(super) fn failures(&self, submission: SubmissionId) -> Option<Failures> {
        let open = self.0.lock();
        let mut retried = open.values().filter_map(|arrived| arrived.retried.as_ref());
        retried.find(|(found, _)| *found == submission).map(|(_, failures)| failures.clone())
    }

    /// Where a delivery's answers go. `None`: settled, or nobody asked for them.
    pub(super) fn reply_address(&self, tag: u64) -> Option<ReplyAddress> {
        self.0.lock().get(&tag).and_then(|arrived| arrived.reply.clone())
    }

    /// How to acknowledge these deliveries. They stay until [`Self::settled`] says that the frames are written: several
    /// tasks settle, and an acknowledgement of many must not reach over one that is still on its way, which would then
    /// name a delivery that the broker does not know any more and cost the channel. So it is used only as far as all
    /// older ones are settled here.
    pub(super) fn settle(&self, tags: impl IntoIterator<Item = u64>) -> Acknowledgements {
        let mut open = self.0.lock();
        let own: BTreeSet<u64> =
            tags.into_iter().filter(|tag| open.get(tag).is_some_and(|arrived| !arrived.settling)).collect();
        let up_to = open.keys().take_while(|tag| own.contains(tag)).last().copied();
        let single = own.iter().copied().filter(|tag| Some(*tag) > up_to).collect();
        for tag in own {
            open.entry(tag).and_modify(|arrived| arrived.settling = true);
        }
        Acknowledgements { up_to, single }
    }

    /// These acknowledgements are written.
    pub(super) fn settled(&self, acknowledgements: &Acknowledgements) {
        let mut open = self.0.lock();
        while let Some(first) = open.first_entry()
            && Some(*first.key()) <= acknowledgements.up_to
        {
            first.remove();
        }
        for tag in &acknowledgements.single {
            open.remove(tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(tags: impl IntoIterator<Item = u64>) -> Open {
        let open = Open::default();
        tags.into_iter().for_each(|tag| open.insert(tag, Arrived::default()));
        open
    }

    fn settle(open: &Open, tags: impl IntoIterator<Item = u64>) -> Acknowledgements {
        let acknowledgements = open.settle(tags);
        open.settled(&acknowledgements);
        acknowledgements
    }

    #[test]
    fn a_prefix_is_settled_at_once() {
        let acknowledgements = settle(&open(1..=5), [3, 1, 2]);
        assert_eq!(acknowledgements, Acknowledgements { up_to: Some(3), single: vec![] });
    }

    #[test]
    fn an_older_delivery_that_is_still_open_is_never_covered() {
        let open = open(1..=5);
        assert_eq!(settle(&open, [2, 4, 5]), Acknowledgements { up_to: None, single: vec![2, 4, 5] });
        assert_eq!(settle(&open, [1, 3]), Acknowledgements { up_to: Some(3), single: vec![] });
    }

    #[test]
    fn what_is_settled_or_unknown_is_not_settled_again() {
        let open = open(1..=2);
        assert_eq!(settle(&open, [1, 9]), Acknowledgements { up_to: Some(1), single: vec![] });
        assert_eq!(settle(&open, [1, 9]), Acknowledgements::default());
    }

    #[test]
    fn one_whose_acknowledgement_is_being_written_is_never_covered_either() {
        let open = open(1..=4);
        let first = open.settle([2]);
        assert_eq!(first, Acknowledgements { up_to: None, single: vec![2] });
        // The broker may hear of these first.
        let second = open.settle([1, 2, 3]);
        assert_eq!(second, Acknowledgements { up_to: Some(1), single: vec![3] });
        open.settled(&first);
        open.settled(&second);
        assert_eq!(settle(&open, [4]), Acknowledgements { up_to: Some(4), single: vec![] });
    }
}
