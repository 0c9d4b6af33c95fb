//! The keys of game servers at the door: read from auth every few seconds, and once more when an update names one that
//! is not known. No update asks auth by itself: however many name unknown keys, they share few questions.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use common::error_code::Refusal;
use common::ports::Authority;
use common::signature::SigningKey;
use tokio::sync::{Notify, watch};

/// How often the keys are read again. With the time of a call, a revoked key is refused within 5 s.
const INTERVAL: Duration = Duration::from_secs(2);

/// The shortest time between two questions, whatever updates name.
const SHORTEST_GAP: Duration = Duration::from_millis(250);

/// The longest that an update waits for its key to be looked up.
const LOOK_UP_LIMIT: Duration = Duration::from_millis(1500);

/// A question to auth that has its answer.
#[derive(Clone, Copy, Default)]
struct Answered {
    /// The questions are numbered from 1.
    number: u64,
    /// The keys are as auth said then.
    succeeded: bool,
}

/// Knows which issuer keys are in use.
pub(crate) struct IssuerKeyRing {
    authority: Arc<dyn Authority>,
    keys: ArcSwapOption<HashMap<String, SigningKey>>,
    /// Questions that were begun.
    begun: AtomicU64,
    answered: watch::Sender<Answered>,
    /// Told when an update names a key that is not known.
    wanted: Notify,
}

impl IssuerKeyRing {
    pub(crate) fn new(authority: Arc<dyn Authority>) -> Self {
        Self {
            authority,
            keys: ArcSwapOption::empty(),
            begun: AtomicU64::new(0),
            answered: watch::Sender::new(Answered::default()),
            wanted: Notify::new(),
        }
    }

    /// The key of this id. `None`: there is none in use.
    ///
    /// # Errors
    /// `unavailable` when the key is not known here and auth cannot say: nobody is refused by mistake.
    pub(crate) async fn find(&self, key_id: &str) -> Result<Option<SigningKey>, Refusal> {
        if let Some(key) = self.known(key_id) {
            return Ok(Some(key));
        }
        let mut answered = self.answered.subscribe();
        // Only a question that begins from now on is sure to hear of a key that was made before this update.
        let before = self.begun.load(Ordering::SeqCst);
        self.wanted.notify_one();
        let next = tokio::time::timeout(LOOK_UP_LIMIT, answered.wait_for(|answered| answered.number > before)).await;
        match next {
            Ok(Ok(answered)) if answered.succeeded => Ok(self.known(key_id)),
            _ => Err(Refusal::unavailable()),
        }
    }

    fn known(&self, key_id: &str) -> Option<SigningKey> {
        self.keys.load().as_ref().and_then(|keys| keys.get(key_id).cloned())
    }

    /// Follows the keys for ever.
    pub(crate) async fn run(&self) {
        loop {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let read = self.authority.issuer_keys().await;
            let succeeded = read.is_ok();
            match read {
                Ok(keys) => {
                    let keys = keys.into_iter().map(|key| (key.key_id, key.secret)).collect();
                    self.keys.store(Some(Arc::new(keys)));
                }
                // Those that are known go on verifying: an auth that is away locks no game server out.
                Err(refusal) => {
                    tracing::warn!(error.code = refusal.code.as_str(), "the issuer keys cannot be read from auth");
                }
            }
            self.answered.send_replace(Answered { number, succeeded });
            tokio::time::sleep(SHORTEST_GAP).await;
            // An error means that nobody asked.
            let _ = tokio::time::timeout(INTERVAL, self.wanted.notified()).await;
        }
    }
}

#[cfg(test)]
mod tests;
