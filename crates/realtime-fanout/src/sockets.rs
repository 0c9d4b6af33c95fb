//! How many sockets are open, by address and in all.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::metrics::Metrics;

/// The open sockets of a node.
pub(crate) struct Sockets {
    limit_per_address: u32,
    by_address: Mutex<HashMap<String, u32>>,
    open: watch::Sender<usize>,
    metrics: Arc<Metrics>,
}

impl Sockets {
    pub(crate) fn new(limit_per_address: u32, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { limit_per_address, by_address: Mutex::default(), open: watch::Sender::new(0), metrics })
    }

    /// Counts a socket in until the permit is dropped. `None` when its address has as many as it may.
    pub(crate) fn admit(self: &Arc<Self>, address: String) -> Option<SocketPermit> {
        {
            let mut by_address = self.by_address.lock();
            let open = by_address.entry(address.clone()).or_default();
            if self.limit_per_address > 0 && *open >= self.limit_per_address {
                return None;
            }
            *open += 1;
        }
        self.open.send_modify(|open| *open += 1);
        self.metrics.sockets.add(1, &[]);
        Some(SocketPermit { sockets: Arc::clone(self), address })
    }

    pub(crate) fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// Resolves when no socket is open.
    pub(crate) async fn all_closed(&self) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
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

    #[test]
    fn an_address_has_its_limit_and_gets_places_back() {
        let sockets = Sockets::new(2, Arc::new(Metrics::new()));
        let (first, _second) = (sockets.admit("a".into()).unwrap(), sockets.admit("a".into()).unwrap());
        assert!(sockets.admit("a".into()).is_none());
        assert!(sockets.admit("b".into()).is_some(), "another address has its own");
        drop(first);
        assert!(sockets.admit("a".into()).is_some());
        assert_eq!(sockets.open(), 1);
    }

    #[test]
    fn zero_is_no_limit() {
        let sockets = Sockets::new(0, Arc::new(Metrics::new()));
        let all: Vec<_> = (0..1000).filter_map(|_| sockets.admit("a".into())).collect();
        assert_eq!((all.len(), sockets.open()), (1000, 1000));
        drop(all);
        assert!(sockets.by_address.lock().is_empty());
    }
}
