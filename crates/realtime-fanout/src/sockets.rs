//! How many sockets are open, by address and in all.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use common::clock::Timestamp;
use common::error_code::{Details, ErrorCode, Refusal};
use common::rate_limit::{Allowance, Quota};
use parking_lot::Mutex;
use runtime::rate_buckets::RateBuckets;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::settings::FanoutSettings;

/// The limit of handshakes, as clients read it.
const NODE_HANDSHAKES: &str = "node-handshakes";

/// How long a client over its limit should wait. A socket may close at any time.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The shortest and the longest window in which clients that are sent away come back.
const RETURN_WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

/// The open sockets of a node.
pub(crate) struct Sockets {
    return_per_socket: Duration,
    limit_per_address: u32,
    limit: u32,
    /// Handshakes within a second.
    rate: Quota,
    handshakes: RateBuckets,
    by_address: Mutex<HashMap<String, u32>>,
    open: watch::Sender<usize>,
    metrics: Arc<Metrics>,
}

impl Sockets {
    pub(crate) fn new(settings: &FanoutSettings, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            return_per_socket: settings.return_per_socket,
            limit_per_address: settings.sockets_per_address,
            limit: settings.sockets_per_node,
            rate: Quota {
                name: NODE_HANDSHAKES,
                limit: settings.handshakes_per_second,
                period: Duration::from_secs(1),
            },
            handshakes: RateBuckets::default(),
            by_address: Mutex::default(),
            open: watch::Sender::new(0),
            metrics,
        })
    }

    /// Counts a socket in until the permit is dropped.
    ///
    /// # Errors
    /// `rate_limited`, naming the limit, when the address or the node has as many as it may, or too many open at once.
    pub(crate) fn admit(self: &Arc<Self>, address: String, now: Timestamp) -> Result<SocketPermit, Refusal> {
        if self.limit > 0 && self.open() >= self.limit as usize {
            let message = "this node has as many open sockets as it may have";
            return Err(over(full("node-sockets", self.limit), message));
        }
        {
            let mut by_address = self.by_address.lock();
            let open = by_address.get(&address).copied().unwrap_or(0);
            if self.limit_per_address > 0 && open >= self.limit_per_address {
                let message = "this address has as many open sockets as it may have";
                return Err(over(full("address-sockets", self.limit_per_address), message));
            }
            // Last, so that one address over its limit takes nothing from the others.
            if let Some(mut asked) = self.handshakes.take(self.rate, "", now).filter(|asked| !asked.allowed) {
                // Those who come back together are spread.
                asked.retry_after = Duration::from_secs(rand::random_range(1..=3));
                return Err(over(asked, "too many sockets are being opened on this node"));
            }
            *by_address.entry(address.clone()).or_default() += 1;
        }
        self.open.send_modify(|open| *open += 1);
        self.metrics.sockets.add(1, &[]);
        Ok(SocketPermit { sockets: Arc::clone(self), address })
    }

    pub(crate) fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// Over how long a time the clients of all open sockets should come back, milliseconds: a node or the place that takes
    /// them next is met by few of them at once. Asked once for everybody who is sent away: as they go, it shrinks.
    pub(crate) fn return_window_ms(&self) -> u64 {
        let open = u32::try_from(self.open()).unwrap_or(u32::MAX);
        let window = self.return_per_socket.saturating_mul(open).clamp(*RETURN_WINDOW.start(), *RETURN_WINDOW.end());
        u64::try_from(window.as_millis()).unwrap_or(u64::MAX)
    }

    /// Resolves when no socket is open.
    pub(crate) async fn all_closed(&self) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

/// What is left of a limit of open sockets that is reached.
const fn full(name: &'static str, limit: u32) -> Allowance {
    let quota = Quota { name, limit, period: RETRY_AFTER };
    Allowance { quota, allowed: false, remaining: 0, retry_after: RETRY_AFTER, reset_after: RETRY_AFTER }
}

fn over(asked: Allowance, message: &str) -> Refusal {
    let mut refusal = Refusal::new(ErrorCode::RateLimited, message).retry_after(asked.retry_after_s());
    refusal.details = Details::Limit(asked.quota.name);
    refusal.allowance = Some(Box::new(asked));
    refusal
}

/// One open socket.
pub(crate) struct SocketPermit {
    sockets: Arc<Sockets>,
    address: String,
}

impl Drop for SocketPermit {
    fn drop(&mut self) {
        {
            let mut by_address = self.sockets.by_address.lock();
            if let Some(open) = by_address.get_mut(&self.address) {
                *open -= 1;
                if *open == 0 {
                    by_address.remove(&self.address);
                }
            }
        }
        self.sockets.open.send_modify(|open| *open -= 1);
        self.sockets.metrics.sockets.add(-1, &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(0);

    fn sockets(per_address: u32, per_node: u32, per_second: u32) -> Arc<Sockets> {
        let settings = FanoutSettings {
            sockets_per_address: per_address,
            sockets_per_node: per_node,
            handshakes_per_second: per_second,
            ..FanoutSettings::default()
        };
        Sockets::new(&settings, Arc::new(Metrics::new()))
    }

    fn refused(sockets: &Arc<Sockets>, address: &str, now: Timestamp) -> Option<Details> {
        sockets.admit(address.into(), now).err().map(|refusal| refusal.details)
    }

    #[test]
    fn an_address_has_its_limit_and_gets_places_back() {
        let sockets = sockets(2, 0, 0);
        let (first, _second) = (sockets.admit("a".into(), NOW).unwrap(), sockets.admit("a".into(), NOW).unwrap());
        assert_eq!(refused(&sockets, "a", NOW), Some(Details::Limit("address-sockets")));
        assert_eq!(refused(&sockets, "b", NOW), None, "another address has its own");
        drop(first);
        assert_eq!(refused(&sockets, "a", NOW), None);
        assert_eq!(sockets.open(), 1);
    }

    #[test]
    fn a_node_has_its_limit_and_takes_only_so_many_in_a_second() {
        let sockets = sockets(0, 3, 4);
        let open: Vec<_> = (0..3).map(|_| sockets.admit("a".into(), NOW).unwrap()).collect();
        assert_eq!(refused(&sockets, "b", NOW), Some(Details::Limit("node-sockets")));
        drop(open);
        assert_eq!(refused(&sockets, "a", NOW), None);
        assert_eq!(refused(&sockets, "b", NOW), Some(Details::Limit("node-handshakes")));
        assert_eq!(refused(&sockets, "b", NOW.plus_millis(250)), None);
        assert!(sockets.by_address.lock().is_empty());
    }

    #[test]
    fn those_who_are_sent_away_come_back_over_a_time_that_grows_with_them() {
        let sockets = sockets(0, 0, 0);
        assert_eq!(sockets.return_window_ms(), 1_000);
        let mut open: Vec<_> = (0..5_000).map(|_| sockets.admit("a".into(), NOW).unwrap()).collect();
        assert_eq!(sockets.return_window_ms(), 10_000);
        open.extend((0..35_000).map(|_| sockets.admit("a".into(), NOW).unwrap()));
        assert_eq!(sockets.return_window_ms(), 60_000);
    }

    #[test]
    fn zero_is_no_limit() {
        let sockets = sockets(0, 0, 0);
        let all: Vec<_> = (0..1000).filter_map(|_| sockets.admit("a".into(), NOW).ok()).collect();
        assert_eq!((all.len(), sockets.open()), (1000, 1000));
        drop(all);
        assert!(sockets.by_address.lock().is_empty());
    }
}
