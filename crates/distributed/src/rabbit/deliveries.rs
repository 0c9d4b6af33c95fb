//! What the worker holds of the queue: deliveries of one session that are not settled yet.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use common::ids::SubmissionId;
use lapin::Channel;
use lapin::types::ShortString;
use parking_lot::Mutex;

use super::connection::Session;
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

    /// Takes deliveries out. An acknowledgement of many covers every older one, so it is used only as far as all
    /// older ones are being settled too.
    pub(super) fn settle(&self, tags: impl IntoIterator<Item = u64>) -> Acknowledgements {
        let mut open = self.0.lock();
        let mut settled: HashSet<u64> = tags.into_iter().filter(|tag| open.contains_key(tag)).collect();
        let mut acknowledgements = Acknowledgements::default();
        while let Some(first) = open.first_entry()
            && settled.remove(first.key())
        {
            acknowledgements.up_to = Some(*first.key());
            first.remove();
        }
        for tag in settled {
            open.remove(&tag);
            acknowledgements.single.push(tag);
        }
        acknowledgements.single.sort_unstable();
        acknowledgements
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

    #[test]
    fn a_prefix_is_settled_at_once() {
        let acknowledgements = open(1..=5).settle([3, 1, 2]);
        assert_eq!(acknowledgements, Acknowledgements { up_to: Some(3), single: vec![] });
    }

    #[test]
    fn an_older_delivery_that_is_still_open_is_never_covered() {
        let open = open(1..=5);
        assert_eq!(open.settle([2, 4, 5]), Acknowledgements { up_to: None, single: vec![2, 4, 5] });
        assert_eq!(open.settle([1, 3]), Acknowledgements { up_to: Some(3), single: vec![] });
    }

    #[test]
    fn what_is_settled_or_unknown_is_not_settled_again() {
        let open = open(1..=2);
        assert_eq!(open.settle([1, 9]), Acknowledgements { up_to: Some(1), single: vec![] });
        assert_eq!(open.settle([1, 9]), Acknowledgements::default());
    }
}
